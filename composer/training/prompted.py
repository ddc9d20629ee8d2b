"""Training of the prompted composer, at category and at instance level."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from composer.composed import slerp
from composer.data.world import PairBatch
from composer.strategies.prompted import PromptedModel
from composer.training.losses import distance, triplet, weighted_sum
from composer.training.pairs import PairData, PairScores, PairSources, to_device
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)

PATCHES = 2  # a side


class Level(StrEnum):
    """What counts as right: the class, or the same instance."""

    CATEGORY = "category"
    INSTANCE = "instance"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedWeights:
    """Weight of every term; zero switches a term off and saves what it needs.

    The last two belong to the instance level alone.

    Attributes:
        triplet: Margin between right and wrong photos.
        classification: Class of the drawing among captions; the term's part for photos has nothing
            to train here, as photos keep the frozen tower.
        spread: `L_delta`, equal distributions of relative distances in all classes.
        shuffle: `L_PS`, drawing and photo shuffled alike belong together.
    """

    triplet: float = 1.0
    classification: float = 0.5
    spread: float = 0.1
    shuffle: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptedTraining:
    """The recipe of prompted; settings of the run are in `RunSettings`.

    Attributes:
        sources: What is read.
        level: Category or instance.
        norm_rate: Learning rate of the normalisation layers; the paper's 1e-5 is for a large CLIP.
        prompt_rate: Learning rate of the visual prompts.
        margin: Of the triplets and of `L_PS`, whose margin was not published.
        shuffled_share: Share of a batch that `L_PS` is computed for.
        weights: Of the terms.
    """

    sources: PairSources
    level: Level = Level.INSTANCE
    norm_rate: float = 5e-3
    prompt_rate: float = 3e-3
    margin: float = 0.3
    shuffled_share: float = 0.25
    weights: PromptedWeights = field(default_factory=PromptedWeights)


class PromptedObjective:
    """Objective of prompted: model, data, losses, validation.

    Source: docs/papers.md, equations (16) and (17). The photos' tower is frozen here, so negatives
    of an instance come from all photos of its class in the world, not from the batch alone.
    """

    def __init__(self, recipe: PromptedTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Load data and backbone.

        Raises:
            ValueError: One of them cannot be used.
        """
        is_instance = recipe.level is Level.INSTANCE
        self.name = "prompted" if is_instance else "prompted-category"
        self.recipe, self._accelerator, self._seed = recipe, accelerator, seed
        self._data = PairData(recipe.sources, accelerator, seed=seed)
        self.backbone = self._data.backbone
        self.model = PromptedModel(self.backbone)

    def trainable_state(self) -> dict[str, Tensor]:
        """Return normalisation layers and prompts."""
        return self.model.trainable_state()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return normalisation layers and prompts, each at their rate."""
        norms = [p for n, p in self.trainable_state().items() if n.startswith("layer_norms.")]
        return [
            ParameterGroup(parameters=norms, rate=self.recipe.norm_rate),
            ParameterGroup(
                parameters=list(self.model.prompt_state().values()), rate=self.recipe.prompt_rate
            ),
        ]

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch."""
        batch = self._data.batches.draw(draw)
        with self._accelerator.autocast():
            pixels = self.backbone.normalise_pixels(batch.drawings)
            features = self.model.encode_image(pixels).features.float()
        weights, terms = self.recipe.weights, self._terms(batch, features)
        if self.recipe.level is Level.INSTANCE and weights.shuffle > 0:
            rng = np.random.default_rng([self._seed, draw, 1])
            terms["shuffle"] = self._shuffle(batch, rng)
        return Losses(terms=terms, total=weighted_sum(terms, weights))

    def validate(self) -> PairScores:
        """Score the validation split."""
        scores = self._data.validate(self.model.encode_image, slerp)
        return replace(scores, by_category=self.recipe.level is Level.CATEGORY)

    def export(self, path: Path, scores: PairScores, notes: dict[str, str]) -> None:
        """Write the composer's file with the share of the words that validation chose."""
        self.model.alpha = scores.share
        self.model.save(path, half=True, notes={**notes, "level": str(self.recipe.level)})

    def _terms(self, batch: PairBatch, q: Float[Tensor, "n d"]) -> dict[str, Float[Tensor, ""]]:
        data, recipe, device = self._data, self.recipe, self.backbone.device
        classes = to_device(batch.classes, device)
        positives = to_device(batch.positives, device)
        to_positive = distance(q, data.gallery[positives])
        scores = self.backbone.logit_scale * q @ data.class_features.T
        terms = {"classification": functional.cross_entropy(scores, classes)}
        match recipe.level:
            case Level.CATEGORY:
                to_photos = 1 - q @ data.gallery[positives].T
                is_other = classes.unsqueeze(1) != classes
                terms["triplet"] = triplet(to_positive, to_photos, is_other, margin=recipe.margin)
            case Level.INSTANCE:
                to_photos = 1 - q @ data.gallery.T
                is_wrong = self._wrong_instances(batch, classes)
                terms["triplet"] = triplet(to_positive, to_photos, is_wrong, margin=recipe.margin)
                nearest = to_photos.masked_fill(~is_wrong, 4.0).amin(dim=1)
                per_class = recipe.sources.per_class
                terms["spread"] = relative_spread(
                    (to_positive - nearest).unflatten(0, (-1, per_class))
                )
        return terms

    def _wrong_instances(self, batch: PairBatch, classes: Int[Tensor, " n"]) -> Bool[Tensor, "n m"]:
        """Mark photos of a drawing's class that show another instance; none where it has none."""
        data = self._data
        instances = to_device(batch.instances, self.backbone.device).unsqueeze(1)
        is_kin = classes.unsqueeze(1) == data.gallery_classes
        return is_kin & (instances != data.gallery_instances) & (instances >= 0)

    def _shuffle(self, batch: PairBatch, rng: np.random.Generator) -> Float[Tensor, ""]:
        """Return `L_PS` of a part of the batch: drawings with a photo of the same instance."""
        data, backbone = self._data, self.backbone
        paired = np.flatnonzero(batch.is_paired)
        count = max(1, round(self.recipe.shuffled_share * len(batch.instances)))
        if len(paired) == 0:
            return data.gallery.new_zeros(())
        rows = rng.permutation(paired)[:count]
        drawings = backbone.normalise_pixels(batch.drawings[rows])
        photos = backbone.normalise_pixels(data.world.photos[batch.positives[rows]])
        order, other = two_orders(rng)
        with self._accelerator.autocast():
            q = self.model.encode_image(shuffle_patches(drawings, order)).features.float()
            with torch.no_grad():
                right = backbone.encode_image(shuffle_patches(photos, order)).features.float()
                wrong = backbone.encode_image(shuffle_patches(photos, other)).features.float()
        margin = self.recipe.margin
        return functional.relu(margin + distance(q, right) - distance(q, wrong)).mean()


def relative_spread(differences: Float[Tensor, "p k"]) -> Float[Tensor, ""]:
    """Return `L_delta`: mean KL divergence over ordered pairs of classes.

    Args:
        differences: `d(s, p+) - d(s, p-)` of the K triplets of each of P classes; a softmax over
            the K makes the class's distribution.

    Source: docs/papers.md, equation (18).
    """
    shares = differences.log_softmax(dim=1)
    num_classes = len(shares)
    if num_classes < 2:
        return differences.new_zeros(())
    # KL(i || j) = sum_k D_i (log D_i - log D_j)
    divergence = (shares.exp().unsqueeze(1) * (shares.unsqueeze(1) - shares)).sum(dim=-1)
    return divergence.sum() / (num_classes * (num_classes - 1))


def two_orders(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return two different orders of the patches, neither the original."""
    count = PATCHES**2
    plain = list(range(count))
    drawn = [plain]
    while len(drawn) < 3:
        order = rng.permutation(count).tolist()
        if order not in drawn:
            drawn.append(order)
    return drawn[1], drawn[2]


def shuffle_patches(pixels: Float[Tensor, "n c h w"], order: list[int]) -> Float[Tensor, "n c h w"]:
    """Cut pictures into 2 x 2 patches and put patch `order[i]` at position i, row by row."""
    half_h, half_w = pixels.shape[2] // PATCHES, pixels.shape[3] // PATCHES
    patches = [
        pixels[:, :, y * half_h : (y + 1) * half_h, x * half_w : (x + 1) * half_w]
        for y in range(PATCHES)
        for x in range(PATCHES)
    ]
    chosen = [patches[i] for i in order]
    rows = [torch.cat(chosen[at : at + PATCHES], dim=3) for at in range(0, len(chosen), PATCHES)]
    return torch.cat(rows, dim=2)


def prompted_trainer(recipe: PromptedTraining, settings: RunSettings) -> Trainer[PairScores]:
    """Make a run of prompted, which goes on from its state where there is one.

    Raises:
        ValueError: The backbone, the data or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = PromptedObjective(recipe, accelerator, seed=settings.seed)
    return Trainer(objective, settings, accelerator)
