"""How well drawings find photos, and photos photos, by a frozen trunk's features."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.data.encoder_sets import Part
from composer.layout import blend
from composer.medium import Medium
from composer.training.encoder_heads import EncoderHeads
from composer.training.trunk_features import TrunkFeatures

CUT = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureScores:
    """Fractions in [0, 1].

    Attributes:
        chair: Mean reciprocal rank of a drawing's chair by feature alone.
        chair_cells: The same by layout alone.
        chair_both: The same by both, at the weight in use.
        drawing_to_photo: mAP@200 of photos of a drawn class.
        photo_to_photo: mAP@200 of photos of a photographed class, the photo itself left out.
    """

    chair: float
    chair_cells: float
    chair_both: float
    drawing_to_photo: float
    photo_to_photo: float

    @property
    def score(self) -> float:
        """The number a run is selected by."""
        chairs = (self.chair + self.chair_cells + self.chair_both) / 3
        return (chairs + self.drawing_to_photo + self.photo_to_photo) / 3

    def summary(self) -> str:
        """Return a line for the log."""
        return (
            f"chair MRR {self.chair:.3f}, by layout {self.chair_cells:.3f}, by both "
            f"{self.chair_both:.3f}; class mAP@200 of drawings {self.drawing_to_photo:.3f}, of "
            f"photos {self.photo_to_photo:.3f}; score {self.score:.4f}"
        )


@torch.no_grad()
def picture_scores(
    heads: EncoderHeads, sets: Mapping[str, TrunkFeatures], part: Part, *, weight: float
) -> PictureScores:
    """Score a part of the sets.

    A validation chair is looked for among the chairs that were trained on too, or thirty would be
    too easy; held-out chairs among themselves.

    Args:
        heads: What is scored.
        sets: What the trunk saw.
        part: Whose drawings ask.
        weight: Of the layout in the mixture.
    """
    drawings, photos = sets["chairs.drawing"].of(part), sets["chairs.photo"].of(part)
    if part is Part.VALIDATION:
        photos = _joined(photos, sets["chairs.photo"].of(Part.TRAIN, plain=True))
    targets = torch.tensor([photos.instances.index(name) for name in drawings.instances])
    by_feature = _features(heads, drawings) @ _features(heads, photos).T
    by_cells = _layouts(heads, drawings) @ _layouts(heads, photos).T
    rows = zip(by_feature, by_cells, strict=True)
    both = torch.stack([blend(f, c, weight) for f, c in rows])
    asked, shown = sets["sketchy.drawing"].of(part), sets["sketchy.photo"].of(part)
    same = same_names(asked.classes, shown.classes)
    alike = same_names(shown.classes, shown.classes)
    gallery = _features(heads, shown)
    return PictureScores(
        chair=reciprocal_rank(by_feature, targets),
        chair_cells=reciprocal_rank(by_cells, targets),
        chair_both=reciprocal_rank(both, targets),
        drawing_to_photo=mean_average_precision(_features(heads, asked) @ gallery.T, same),
        photo_to_photo=mean_average_precision(
            (gallery @ gallery.T).fill_diagonal_(-2), alike.fill_diagonal_(False)
        ),
    )


def ranks(similarities: Float[Tensor, "q n"], targets: Int[Tensor, " q"]) -> Int[Tensor, " q"]:
    """Return the rank of each query's target, the best being 1; ties count against it."""
    target = similarities.gather(1, targets.unsqueeze(1))
    return (similarities >= target).sum(dim=1)


def reciprocal_rank(similarities: Float[Tensor, "q n"], targets: Int[Tensor, " q"]) -> float:
    """Return the mean reciprocal rank of the target."""
    return float((1 / ranks(similarities, targets)).mean())


def mean_average_precision(
    similarities: Float[Tensor, "q n"], is_relevant: Bool[Tensor, "q n"], cut: int = CUT
) -> float:
    """Return the mean average precision of the first `cut` items."""
    order = similarities.argsort(dim=1, descending=True, stable=True)[:, :cut]
    hits = is_relevant.gather(1, order).float()
    precision = hits.cumsum(dim=1) / torch.arange(1, hits.shape[1] + 1)
    possible = is_relevant.sum(dim=1).clamp(min=1, max=cut)
    return float(((precision * hits).sum(dim=1) / possible).mean())


def same_names(ours: tuple[str, ...], theirs: tuple[str, ...]) -> Bool[Tensor, "q n"]:
    """Tell which of `theirs` equal which of `ours`."""
    numbers = {name: i for i, name in enumerate(sorted({*ours, *theirs}))}
    classes = torch.tensor([numbers[name] for name in ours])
    return classes.unsqueeze(1) == torch.tensor([numbers[name] for name in theirs])


def _features(heads: EncoderHeads, features: TrunkFeatures) -> Float[Tensor, "n d"]:
    return heads.features(features.pooled, Medium(features.medium))


def _layouts(heads: EncoderHeads, features: TrunkFeatures) -> Float[Tensor, "n k"]:
    return heads.layouts(features.cells, Medium(features.medium))


def _joined(a: TrunkFeatures, b: TrunkFeatures) -> TrunkFeatures:
    return TrunkFeatures(
        medium=a.medium,
        pooled=torch.cat([a.pooled, b.pooled]),
        cells=torch.cat([a.cells, b.cells]),
        classes=a.classes + b.classes,
        instances=a.instances + b.instances,
        parts=a.parts + b.parts,
        views=a.views + b.views,
        rows=a.rows + b.rows,
    )
