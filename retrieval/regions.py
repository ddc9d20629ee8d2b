"""Layouts of a gallery's items, in a byte a number, to order a short-list once more.

What a layout is stands in `composer.layout`.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn import functional

from composer.layout import NUM_CODES, REGION_WEIGHT, region_maps

_LARGEST = 127


def to_codes(maps: Float[Tensor, "n c"]) -> Int8[Tensor, "n c"]:
    """Round maps to a byte a number, the largest of each becoming 127.

    Length carries nothing, so no scale is kept.
    """
    largest = maps.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    return (maps / largest * _LARGEST).round().to(torch.int8)


def from_codes(codes: Int8[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Return the unit maps of codes; each number is off by half a step at most.

    Raises:
        ValueError: The codes are not of the size that `to_codes` gives.
    """
    if codes.shape[1] != NUM_CODES:
        raise ValueError(
            f"The region codes of an item must have {NUM_CODES} numbers, got {codes.shape[1]}; "
            "rebuild the index with: duet index FOLDER --rebuild"
        )
    return functional.normalize(codes.float(), dim=-1)


def region_scores(
    query: Float[Tensor, "p d"],
    codes: Int8[Tensor, "n c"],
    projection: Float[Tensor, "r w k"],
) -> Float[Tensor, " n"]:
    """Compare the layout of a reference with those of n items, as cosines.

    Args:
        query: Patch features of the reference, row by row of a square grid.
        codes: What is stored of the items; zeros score 0.
        projection: The one that the items were stored with.

    Raises:
        ValueError: The patches do not fill a square, or a size differs from the items'.
    """
    return from_codes(codes) @ region_maps(query.cpu()[None], projection)[0]


def region_weight(balance: float, *, has_words: bool) -> float:
    """Share of the regions at a balance: full up to the middle, none for the words alone."""
    return REGION_WEIGHT * min(1.0, 2 * (1 - balance)) if has_words else REGION_WEIGHT
