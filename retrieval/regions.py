"""Layouts of a gallery's items, in a byte a number, to order a short-list once more.

What a layout is stands in `composer.layout`.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn import functional

from composer.composed import ComposedQuery
from composer.layout import (
    LEARNED_WEIGHT,
    NUM_CODES,
    REGION_WEIGHT,
    region_maps,
    region_projection,
)

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


def query_layout(query: ComposedQuery) -> Float[Tensor, " c"] | None:
    """Return the layout of a query's reference; None where there is nothing to lay out.

    Raises:
        ValueError: The query's patches do not fill a square.
    """
    if query.layout is not None:
        return query.layout.float().cpu()
    patches = query.patch_features
    if patches is None:
        return None
    return region_maps(patches.cpu()[None], region_projection(patches.shape[-1]))[0]


def region_scores(layout: Float[Tensor, " c"], codes: Int8[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Compare the layout of a reference with those of n items, as cosines.

    Args:
        layout: A unit vector.
        codes: What is stored of the items; zeros score 0.

    Raises:
        ValueError: The codes are not of the size that `to_codes` gives.
    """
    return from_codes(codes) @ layout


def region_weight(balance: float, *, has_words: bool, is_learned: bool = False) -> float:
    """Share of the regions at a balance: full up to the middle, none for the words alone.

    Args:
        balance: As in `ComposedQuery`.
        has_words: Whether the query has any.
        is_learned: Whether the kit has learned its regions; they deserve a larger share.
    """
    most = LEARNED_WEIGHT if is_learned else REGION_WEIGHT
    return most * min(1.0, 2 * (1 - balance)) if has_words else most
