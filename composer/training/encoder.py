"""Training of an encoder's picture side on a frozen trunk: heads by medium and learned regions."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.data.encoder_sets import Part
from composer.medium import Medium
from composer.training.drawing_tower import DrawingTower
from composer.training.encoder_batches import MIRRORED, DrawingBatch, DrawingTable
from composer.training.encoder_heads import EncoderHeads
from composer.training.encoder_scores import PictureScores, picture_scores
from composer.training.encoder_space import Space
from composer.training.losses import multi_positive_nce, weighted_sum
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)
from composer.training.trunk_features import TrunkFeatures
from composer.weights import read_safetensors, write_safetensors

_DRAWN = ("chairs.drawing", "sketchy.drawing")
_PHOTO_MAP = f"heads.{Medium.PHOTO}."


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderWeights:
    """Weight of each term.

    Attributes:
        chair: A drawn chair among all chairs, by feature.
        drawn: Photos of a drawing's class, by feature.
        instance: A drawing's photo among photos of many classes, by feature.
        shown: Photos of a photo's class, by feature.
        kept: How photos lie to each other stays as the trunk saw it.
        chair_cells: A drawn chair, by layout.
        instance_cells: A drawing's photo, by layout.
        drawn_cells: Photos of a drawing's class, by layout.
    """

    chair: float = 1.0
    drawn: float = 1.0
    instance: float = 0.3
    shown: float = 0.0
    kept: float = 2.0
    chair_cells: float = 1.0
    instance_cells: float = 0.3
    drawn_cells: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderTraining:
    """A training of heads and regions.

    Attributes:
        joint_dim: Width of the joint space.
        rate: Learning rate of the heads.
        photo_rate: Of the photos' map to the joint space; 0 leaves it in closed form.
        norm_rate: Of the drawing tower's normalisation layers.
        num_drawings: Drawings of each data set in a step.
        num_photos: Photos of Sketchy among which a step's drawings are to find theirs.
        dropout: Share of a drawing's trunk features that are left out.
        temperature: Of the terms by feature.
        cell_temperature: Of the terms by layout.
        region_weight: Of the layout in the mixture that validation scores.
        weights: Of the terms.
    """

    joint_dim: int = 256
    rate: float = 1e-3
    photo_rate: float = 0.0
    norm_rate: float = 2e-3
    num_drawings: int = 128
    num_photos: int = 400
    dropout: float = 0.1
    temperature: float = 0.07
    cell_temperature: float = 0.05
    region_weight: float = 0.5
    weights: EncoderWeights = field(default_factory=EncoderWeights)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenTrunk:
    """What a run's state must have been made on: the trunk's features, wherever they are."""

    gallery_hash: str
    device: torch.device


class EncoderObjective:
    """What a run of the encoder trains, and on what."""

    name = "encoder"

    def __init__(
        self,
        recipe: EncoderTraining,
        sets: Mapping[str, TrunkFeatures],
        space: Space,
        *,
        seed: int,
        tower: DrawingTower | None = None,
    ) -> None:
        """Take a frozen trunk's features, by the names of `encoder_sets`.

        Args:
            recipe: What to do.
            sets: The features.
            space: Where the maps to the joint space start.
            seed: Of every draw.
            tower: Encodes the drawings anew, and is trained as well; None for the heads alone.
        """
        self.recipe, self._sets, self._seed, self._tower = recipe, sets, seed, tower
        self.backbone = FrozenTrunk(gallery_hash=_hash_of(sets), device=torch.device("cpu"))
        self.heads = EncoderHeads(space, sets)
        self._photo_mean = space.means[Medium.PHOTO]
        self._chairs = DrawingTable(sets["chairs.drawing"], sets["chairs.photo"])
        self._sketchy = DrawingTable(sets["sketchy.drawing"], sets["sketchy.photo"])

    def trainable_state(self) -> dict[str, Tensor]:
        """Return every parameter of the heads, and the drawing tower's normalisation layers."""
        norms = {} if self._tower is None else self._tower.trainable_state()
        return self.heads.trainable_state() | norms

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return heads and normalisation layers, each at its rate."""
        photo = [p for n, p in self.heads.trainable_state().items() if n.startswith(_PHOTO_MAP)]
        others = [
            p for n, p in self.heads.trainable_state().items() if not n.startswith(_PHOTO_MAP)
        ]
        groups = [
            ParameterGroup(parameters=others, rate=self.recipe.rate),
            ParameterGroup(parameters=photo, rate=self.recipe.photo_rate),
        ]
        if self._tower is not None:
            norms = list(self._tower.trainable_state().values())
            groups.append(ParameterGroup(parameters=norms, rate=self.recipe.norm_rate))
        return groups

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch, of pictures of one orientation."""
        recipe, side = self.recipe, step % MIRRORED
        rng = np.random.default_rng((self._seed, draw))
        size = recipe.num_drawings
        chairs = self._chairs.draw(rng, side, num_drawings=size, num_photos=1_000)
        sketchy = self._sketchy.draw(rng, side, num_drawings=size, num_photos=recipe.num_photos)
        chairs = self._encoded("chairs.drawing", chairs)
        sketchy = self._encoded("sketchy.drawing", sketchy)
        terms = self._pair_terms(chairs, sketchy, rng)
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights))

    def validate(self) -> PictureScores:
        """Score the validation chairs and classes."""
        weight = self.recipe.region_weight
        sets = dict(self._sets)
        if self._tower is not None:
            for name in _DRAWN:
                sets[name] = self._tower.encode_in_batches(name, sets[name].of(Part.VALIDATION))
        return picture_scores(self.heads, sets, Part.VALIDATION, weight=weight)

    def export(self, path: Path, scores: PictureScores, notes: dict[str, str]) -> None:
        """Write what was trained, as it is; `encoder_folder` makes a kit of it."""
        write_safetensors(path, self.trainable_state(), {"scores": scores.summary(), **notes})

    def _pair_terms(
        self, chairs: DrawingBatch, sketchy: DrawingBatch, rng: np.random.Generator
    ) -> dict[str, Float[Tensor, ""]]:
        recipe = self.recipe
        features = [self._features(batch, rng) for batch in (chairs, sketchy)]
        layouts = [self._layouts(batch, rng) for batch in (chairs, sketchy)]
        by_feature = [a @ b.T for a, b in features]
        by_cells = [a @ b.T for a, b in layouts]
        warm, hot = recipe.cell_temperature, recipe.temperature
        same_class = sketchy.drawn_classes.unsqueeze(1) == sketchy.shown_classes
        photos = torch.cat([features[0][1], features[1][1]])
        pooled = torch.cat([chairs.photos.pooled, sketchy.photos.pooled])
        return {
            "chair": instance_loss(by_feature[0], chairs.targets, hot),
            "drawn": multi_positive_nce(
                by_feature[1], same_class, torch.zeros_like(same_class), temperature=hot
            ),
            "instance": instance_loss(by_feature[1], sketchy.targets, hot),
            "shown": class_loss(features[1][1], sketchy.shown_classes, hot),
            "kept": kept_loss(photos, self._start(pooled)),
            "chair_cells": instance_loss(by_cells[0], chairs.targets, warm),
            "instance_cells": instance_loss(by_cells[1], sketchy.targets, warm),
            "drawn_cells": multi_positive_nce(
                by_cells[1], same_class, torch.zeros_like(same_class), temperature=warm
            ),
        }

    def _encoded(self, name: str, batch: DrawingBatch) -> DrawingBatch:
        if self._tower is None:
            return batch
        return replace(batch, drawings=self._tower.encode(name, batch.drawings))

    def _features(self, batch: DrawingBatch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = dropped(batch.drawings.pooled, self.recipe.dropout, rng)
        return (
            self.heads.features(drawn, Medium.DRAWING),
            self.heads.features(batch.photos.pooled, Medium.PHOTO),
        )

    def _layouts(self, batch: DrawingBatch, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn = dropped(batch.drawings.cells, self.recipe.dropout, rng)
        return (
            self.heads.layouts(drawn, Medium.DRAWING),
            self.heads.layouts(batch.photos.cells, Medium.PHOTO),
        )

    def _start(self, pooled: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Return the trunk's features of photos, centred."""
        return functional.normalize(pooled - self._photo_mean, dim=-1)


def instance_loss(
    similarities: Float[Tensor, "n m"], targets: Tensor, temperature: float
) -> Float[Tensor, ""]:
    """Return InfoNCE of each drawing's photo against all others; the target -1 costs nothing."""
    if not bool((targets >= 0).any()):
        return similarities.sum() * 0
    return functional.cross_entropy(similarities / temperature, targets, ignore_index=-1)


def class_loss(
    features: Float[Tensor, "m d"], classes: Tensor, temperature: float
) -> Float[Tensor, ""]:
    """Return the InfoNCE of photos against other photos of their class, themselves left out."""
    itself = torch.eye(len(classes), dtype=torch.bool)
    same = (classes.unsqueeze(1) == classes) & ~itself
    return multi_positive_nce(features @ features.T, same, itself, temperature=temperature)


def kept_loss(
    features: Float[Tensor, "m d"], before: Float[Tensor, "m w"], temperature: float = 0.1
) -> Float[Tensor, ""]:
    """Return the divergence of each photo's similarities to the others from those before.

    Args:
        features: Unit vectors in the joint space.
        before: Unit vectors of the same photos as the trunk sees them.
        temperature: Of both softmaxes.
    """
    itself = torch.eye(len(features), dtype=torch.bool)
    wanted = (before @ before.T / temperature).masked_fill(itself, -1e9).softmax(dim=1)
    found = (features @ features.T / temperature).masked_fill(itself, -1e9).log_softmax(dim=1)
    return functional.kl_div(found, wanted, reduction="batchmean")


def dropped(values: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Leave out a share of the values, the rest scaled up."""
    if not share:
        return values
    keep = torch.from_numpy(rng.random(tuple(values.shape), dtype=np.float32) >= share)
    return values * keep / (1 - share)


def encoder_trainer(
    recipe: EncoderTraining,
    sets: Mapping[str, TrunkFeatures],
    space: Space,
    settings: RunSettings,
    *,
    tower: DrawingTower | None = None,
    start: Path | None = None,
) -> Trainer[PictureScores]:
    """Make a run of the encoder, which goes on from its state where there is one.

    Args:
        recipe: What to do.
        sets: What a frozen trunk saw.
        space: Where the maps to the joint space start.
        settings: How the run goes.
        tower: To train as well.
        start: A file of heads to begin with; None for the closed form.

    Raises:
        ValueError: The sets or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    # The heads start in closed form; nothing else is drawn but batches.
    objective = EncoderObjective(recipe, sets, space, seed=settings.seed, tower=tower)
    if start is not None:
        objective.heads.restore(read_safetensors(start).tensors)
    return Trainer(objective, settings, accelerator)


def _hash_of(sets: Mapping[str, TrunkFeatures]) -> str:
    digest = hashlib.sha256()
    for name, features in sorted(sets.items()):
        digest.update(name.encode())
        digest.update(features.pooled.half().numpy().tobytes())
    return digest.hexdigest()[:16]
