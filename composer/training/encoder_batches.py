"""Pairs of drawings and photos behind a frozen trunk, and which of them belong together."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from composer.data.encoder_sets import Part
from composer.medium import Medium
from composer.training.trunk_features import TrunkFeatures

MIRRORED = 2  # a picture's view is odd where it is mirrored


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidates:
    """The photos of one orientation.

    Attributes:
        photos: In one order, whichever the orientation.
        classes: Number of each photo's class.
        rows: Row of each instance.
    """

    photos: TrunkFeatures
    classes: Int[Tensor, " m"]
    rows: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawingBatch:
    """Drawings, and photos among which to find theirs.

    Attributes:
        drawings: n of them.
        photos: m of them, each drawing's among them where it is known.
        targets: Row of each drawing's photo; -1 where it is unknown.
        drawn_classes: Number of each drawing's class.
        shown_classes: Number of each photo's class.
    """

    drawings: TrunkFeatures
    photos: TrunkFeatures
    targets: Int[Tensor, " n"]
    drawn_classes: Int[Tensor, " n"]
    shown_classes: Int[Tensor, " m"]


class DrawingTable:
    """Drawings and photos of one data set, drawn in batches of one orientation."""

    def __init__(self, drawings: TrunkFeatures, photos: TrunkFeatures) -> None:
        """Take what may be trained on of two sets.

        Raises:
            ValueError: There are no drawings or no photos to train on.
        """
        drawn, shown = drawings.of(Part.TRAIN), photos.of(Part.TRAIN)
        if not drawn.classes or not shown.classes:
            raise ValueError("Training needs drawings and photos; none of the part is there.")
        names = {name: i for i, name in enumerate(sorted({*drawn.classes, *shown.classes}))}
        self.drawings = [_oriented(drawn, side) for side in range(MIRRORED)]
        self.candidates = [_candidates(_oriented(shown, side), names) for side in range(MIRRORED)]
        self._names = names

    def draw(
        self, rng: np.random.Generator, side: int, *, num_drawings: int, num_photos: int
    ) -> DrawingBatch:
        """Draw a batch.

        Args:
            rng: Of the draws.
            side: 0 for pictures as they are, 1 for mirrored ones.
            num_drawings: Drawings, with replacement.
            num_photos: Photos beside theirs; all of them where there are no more.
        """
        drawings, candidates = self.drawings[side], self.candidates[side]
        picked = drawings.select(rng.integers(0, len(drawings.classes), num_drawings).tolist())
        rows = [candidates.rows.get(name, -1) for name in picked.instances]
        size = len(candidates.photos.classes)
        others = rng.permutation(size)[:num_photos].tolist()
        shown = sorted({*others, *(row for row in rows if row >= 0)})
        place = {row: i for i, row in enumerate(shown)}
        return DrawingBatch(
            drawings=picked,
            photos=candidates.photos.select(shown),
            targets=torch.tensor([place.get(row, -1) for row in rows]),
            drawn_classes=torch.tensor([self._names[name] for name in picked.classes]),
            shown_classes=candidates.classes[torch.tensor(shown)],
        )


def _oriented(features: TrunkFeatures, side: int) -> TrunkFeatures:
    return features.select([i for i, view in enumerate(features.views) if view % MIRRORED == side])


def _candidates(photos: TrunkFeatures, names: dict[str, int]) -> Candidates:
    assert photos.medium is Medium.PHOTO
    return Candidates(
        photos=photos,
        classes=torch.tensor([names[name] for name in photos.classes], dtype=torch.long),
        rows={name: i for i, name in enumerate(photos.instances)},
    )
