"""Fusion: a query that is compared by two similarities in place of one cosine.

The similarities to the reference and to the words are fused for every picture of a gallery. They
are linear in the picture's feature; the fusion of the two is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jaxtyping import Float
from torch import Tensor

FUSION_TENSORS: Final = ("fusion_reference", "fusion_words", "fusion_projection")
_FIELDS: Final = "fusion"
MAX_NEIGHBOURS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fusion:
    """The two sides of a query, and how their similarities are fused.

    A gallery completes the value: it centres, measures the spread of both similarities among its
    own pictures, and finds the neighbours (`retrieval.fusion`).

    Attributes:
        reference: Feature of the reference, of any length; None without a reference.
        words: Feature of the words, of any length; None without words.
        projection: Orthonormal rows that the reference is compared by; None for all directions.
        gallery_share: Share of the gallery's mean that is taken from the reference; 0 where it has
            been centred, or should not be.
        floor: Standard deviations below the gallery's mean at which a similarity counts as zero.
        penalty: Weight of the squared sum that is taken from the product, in [0, 0.25).
        num_neighbours: Number of the gallery's pictures nearest to the reference that are added to
            it.
    """

    reference: Float[Tensor, " _"] | None
    words: Float[Tensor, " _"] | None
    projection: Float[Tensor, "_ _"] | None = None
    gallery_share: float = 0.0
    floor: float = 2.0
    penalty: float = 0.0
    num_neighbours: int = 0

    def __post_init__(self) -> None:
        """Check the parts.

        Raises:
            ValueError: There is no side, widths differ, or a number is out of range.
        """
        sides = [side for side in (self.reference, self.words) if side is not None]
        if not sides:
            raise ValueError("A fusion needs a reference or words.")
        widths = {side.shape[-1] for side in sides}
        if self.projection is not None:
            widths.add(self.projection.shape[-1])
        if len(widths) > 1:
            raise ValueError(f"The parts of a fusion must have one width, got {sorted(widths)}.")
        if not 0 <= self.gallery_share <= 1:
            raise ValueError(f"`gallery_share` must lie between 0 and 1, got {self.gallery_share}.")
        if not self.floor > 0:
            raise ValueError(f"`floor` must be above 0, got {self.floor}.")
        if not 0 <= self.penalty < 0.25:
            raise ValueError(
                "`penalty` must be at least 0 and below 0.25, where nothing scores above 0, got "
                f"{self.penalty}."
            )
        if not 0 <= self.num_neighbours <= MAX_NEIGHBOURS:
            raise ValueError(
                f"`num_neighbours` must lie between 0 and {MAX_NEIGHBOURS}, got "
                f"{self.num_neighbours}."
            )

    @property
    def width(self) -> int:
        """Return the width of the joint space."""
        side = self.words if self.reference is None else self.reference
        assert side is not None
        return side.shape[-1]


def fusion_tensors(fusion: Fusion | None) -> dict[str, Tensor]:
    """Return the tensors of a fusion under the names of `FUSION_TENSORS`, without missing ones."""
    if fusion is None:
        return {}
    parts = (fusion.reference, fusion.words, fusion.projection)
    named = zip(FUSION_TENSORS, parts, strict=True)
    return {name: part for name, part in named if part is not None}


def fusion_fields(fusion: Fusion | None) -> dict[str, Any]:
    """Return everything of a fusion but its tensors, as values of JSON; empty without a fusion."""
    if fusion is None:
        return {}
    return {
        _FIELDS: {
            "gallery_share": fusion.gallery_share,
            "floor": fusion.floor,
            "penalty": fusion.penalty,
            "num_neighbours": fusion.num_neighbours,
        }
    }


def fusion_of(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Fusion | None:
    """Make a fusion of what `fusion_tensors` and `fusion_fields` returned.

    Raises:
        KeyError: A field is missing.
        ValueError: The parts contradict each other.
        TypeError: A field is of another type.
    """
    if _FIELDS not in fields:
        return None
    known = fields[_FIELDS]
    neighbours = known["num_neighbours"]
    if not isinstance(neighbours, int):
        raise TypeError(f"`num_neighbours` must be a whole number, got {neighbours!r}.")
    reference, words, projection = (tensors.get(name) for name in FUSION_TENSORS)
    return Fusion(
        reference=reference,
        words=words,
        projection=projection,
        gallery_share=float(known["gallery_share"]),
        floor=float(known["floor"]),
        penalty=float(known["penalty"]),
        num_neighbours=neighbours,
    )
