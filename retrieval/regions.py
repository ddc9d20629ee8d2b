"""Region codes: layouts of a gallery's items in one byte per number, to re-rank a short-list.

`composer.layout` defines layouts.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn import functional

from composer.composed import ComposedQuery
from composer.layout import (
    NUM_CODES,
    REGION_WEIGHT,
    region_maps,
    region_projection,
)

_LARGEST = 127
_BESIDE_WORDS = 0.7  # of a learned layout's weight: what fits the words, too, comes further ahead


def to_codes(maps: Float[Tensor, "n c"]) -> Int8[Tensor, "n c"]:
    """Round maps to one byte per number; the largest of each map becomes 127.

    The length of a map has no meaning, so no scale is stored.
    """
    largest = maps.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    return (maps / largest * _LARGEST).round().to(torch.int8)


def from_codes(codes: Int8[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Return the unit maps of codes; each number has an error of half a step at most.

    Raises:
        ValueError: The codes are not of the size that `to_codes` returns.
    """
    if codes.shape[1] != NUM_CODES:
        raise ValueError(
            f"The region codes of an item must have {NUM_CODES} numbers, got {codes.shape[1]}; "
            "rebuild the index with: duet index FOLDER --rebuild"
        )
    return functional.normalize(codes.float(), dim=-1)


def query_layout(query: ComposedQuery) -> Float[Tensor, " c"] | None:
    """Return the layout of a query's reference; None without patch features.

    Raises:
        ValueError: The query's patches do not fill a square.
    """
    if query.layout is not None:
        return query.layout.vector.float().cpu()
    patches = query.patch_features
    if patches is None:
        return None
    return region_maps(patches.cpu()[None], region_projection(patches.shape[-1]))[0]


def region_scores(layout: Float[Tensor, " c"], codes: Int8[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Return the cosines between the layout of a reference and those of n items.

    Args:
        layout: A unit vector.
        codes: Region codes of the items; zeros score 0.

    Raises:
        ValueError: The codes are not of the size that `to_codes` returns.
    """
    return from_codes(codes) @ layout


def query_weight(query: ComposedQuery) -> float:
    """Return the weight of layouts in the order of a query's hits."""
    most = REGION_WEIGHT if query.layout is None else query.layout.weight
    has_words = query.words_feature is not None
    if has_words and query.layout is not None:
        most *= _BESIDE_WORDS
    return region_weight(query.balance, has_words=has_words, most=most)


def region_weight(balance: float, *, has_words: bool, most: float = REGION_WEIGHT) -> float:
    """Return the weight of layouts at a balance: full up to the middle, zero for words alone.

    Args:
        balance: As in `ComposedQuery`.
        has_words: Whether the query has words.
        most: The full weight.
    """
    return most * min(1.0, 2 * (1 - balance)) if has_words else most
