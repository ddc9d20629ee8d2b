"""Hand-drawn references with photos of the natural world, for duet's tower."""

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.data.world import NaturalParts, PairBatches, World
from composer.strategies.duet import DuetModel
from composer.training.losses import multi_positive_nce
from composer.training.pairs import HeldClasses, encode_photos, numbers

NATURAL_SHARES = {"sketchy": 0.6, "chairv2": 0.4}
_PER_CLASS = 4


class NaturalReferences:
    """Sketchy's and ChairV2's training parts, photos seen once by the frozen tower.

    Attributes:
        held: Sketchy's validation classes.
    """

    def __init__(
        self,
        parts: NaturalParts,
        backbone: Backbone,
        accelerator: Accelerator,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """Encodes the photos."""
        self._world = World(parts.train)
        self._batches = PairBatches(
            self._world,
            num_classes=max(1, batch_size // _PER_CLASS),
            per_class=_PER_CLASS,
            shares=NATURAL_SHARES,
            seed=seed,
        )
        with accelerator.autocast():
            self._gallery = encode_photos(backbone, self._world.photos)
            self.held = HeldClasses(World(parts.validation), backbone)
        self._classes = torch.from_numpy(self._world.photo_classes).to(backbone.device)
        self._instances = torch.from_numpy(self._world.photo_instances).to(backbone.device)

    def loss(self, model: DuetModel, draw: int, *, temperature: float) -> Float[Tensor, ""]:
        """InfoNCE of drawings' prompts `[P_L; s_w]` against all photos of the natural world.

        The mean of two: photos of the very thing are right, where there are any; photos of its
        class are right. Drawings of ChairV2, all of one class, say nothing in the second.
        """
        batch = self._batches.draw(draw)
        backbone = model.backbone
        pixels = backbone.normalise_pixels(batch.drawings)
        q = model.read_alone(model.encode_image(pixels).features)
        cosines = q @ self._gallery.T
        is_class = numbers(batch.classes, q.device).unsqueeze(1) == self._classes
        is_thing = numbers(batch.instances, q.device).unsqueeze(1) == self._instances
        nothing = torch.zeros_like(is_class)
        terms = [
            multi_positive_nce(cosines, right, nothing, temperature=temperature)
            for right in (is_class, is_thing)
        ]
        return torch.stack(terms).mean()
