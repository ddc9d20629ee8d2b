"""Drawings and photos of the natural world in the training of duet's tower."""

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from composer.data.feature_store import FeatureStore
from composer.data.world import NaturalParts, PairBatches, World
from composer.strategies.duet import DuetModel
from composer.training.losses import multi_positive_nce
from composer.training.pairs import HeldClasses, to_device

NATURAL_SHARES = {"sketchy": 0.4, "chairv2": 0.6}
_PER_CLASS = 4


class NaturalReferences:
    """Training parts of Sketchy and ChairV2; photos encoded once by the frozen tower.

    Attributes:
        held: Sketchy's validation classes.
    """

    def __init__(
        self,
        parts: NaturalParts,
        store: FeatureStore,
        accelerator: Accelerator,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """Encode the photos."""
        self._accelerator, self._world = accelerator, World(parts.train)
        self._batches = PairBatches(
            self._world,
            num_classes=max(1, batch_size // _PER_CLASS),
            per_class=_PER_CLASS,
            shares=NATURAL_SHARES,
            seed=seed,
        )
        with accelerator.autocast():
            seen = store.see(self._world.photos)
        self.held = HeldClasses(World(parts.validation), store)
        self._gallery, self._layouts = seen.features, seen.layouts.float()
        device = store.backbone.device
        self._classes = to_device(self._world.photo_classes, device)
        self._instances = to_device(self._world.photo_instances, device)

    def loss(
        self, model: DuetModel, draw: int, *, temperature: float, layout_temperature: float
    ) -> Float[Tensor, ""]:
        """Return the InfoNCE of drawings against all photos of the natural world.

        The mean of three terms: the prompt `[P_L; s_w]` is near photos of the drawing's class, and
        near those of the same instance, if there are any; the drawing's layout is near theirs.
        Drawings of ChairV2, all of one class, contribute nothing to the first.
        """
        batch = self._batches.draw(draw)
        pixels = model.backbone.normalise_pixels(batch.drawings)
        with self._accelerator.autocast():
            encoding = model.encode_image(pixels)
            q = model.read_alone(encoding.features)
        to_photos = q @ self._gallery.T
        to_layouts = model.backbone.layouts(encoding) @ self._layouts.T
        is_class = to_device(batch.classes, to_photos.device).unsqueeze(1) == self._classes
        is_thing = to_device(batch.instances, to_photos.device).unsqueeze(1) == self._instances
        none_ignored = torch.zeros_like(is_class)
        terms = [
            multi_positive_nce(to_photos, is_class, none_ignored, temperature=temperature),
            multi_positive_nce(to_photos, is_thing, none_ignored, temperature=temperature),
            multi_positive_nce(to_layouts, is_thing, none_ignored, temperature=layout_temperature),
        ]
        return torch.stack(terms).mean()
