"""Metrics of rankings with several relevant items, per query.

All metrics start from `ranked_relevance`: one row per query with the relevance of the item at each
rank. Ties are pessimistic: of equally similar items the irrelevant ones come first, so that a
constant similarity gains nothing, and figures do not depend on the order of the gallery. A query
without relevant items scores 0; the protocols refuse such queries.
"""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.composed import ComposedQuery
from retrieval.benchmarks.metrics import Interval, bootstrap
from retrieval.fusion import similarities

MAX_ENTRIES = 1 << 22
_MAX_PICKS = 1 << 25
_MIN_REPLICATES = 200


class ApRule(StrEnum):
    """Precision used in an average precision."""

    PLAIN = "plain"
    VOC = "voc"


Queries = Float[Tensor, "_ _"] | Sequence[ComposedQuery]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SimilarityBlock:
    """Consecutive queries: their `rows`, and their similarities with every item."""

    rows: slice
    similarities: Float[np.ndarray, "b n"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelCodes:
    """Labels of queries and gallery as numbers; equal labels have equal numbers."""

    queries: Int[np.ndarray, " q"]
    gallery: Int[np.ndarray, " n"]

    def same(self, rows: slice) -> Bool[np.ndarray, "b n"]:
        """Return a mask of the items with the label of each query in `rows`."""
        return self.queries[rows, None] == self.gallery[None]


def label_codes(queries: Sequence[str], gallery: Sequence[str]) -> LabelCodes:
    """Number the labels of queries and gallery jointly."""
    codes = np.unique(np.array([*queries, *gallery]), return_inverse=True)[1]
    return LabelCodes(queries=codes[: len(queries)], gallery=codes[len(queries) :])


def similarity_blocks(
    queries: Queries,
    gallery: Float[Tensor, "n e"],
    *,
    max_entries: int = MAX_ENTRIES,
) -> Iterator[SimilarityBlock]:
    """Yield similarities with a gallery, in blocks of queries of at most `max_entries`.

    Products are computed in float32 on the gallery's device and returned as numpy arrays.

    Args:
        queries: Features, or composed queries, of which some may have a fusion.
        gallery: Features.
        max_entries: Numbers of a block.

    Raises:
        ValueError: A side is empty, not finite, or of another width.
    """
    if not len(queries) or not len(gallery):
        raise ValueError(
            "A ranking needs at least one query and one item, got "
            f"{len(queries)} and {len(gallery)}."
        )
    features = (
        queries
        if isinstance(queries, Tensor)
        else torch.stack([query.feature.float().cpu() for query in queries])
    )
    if features.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"Queries must have the gallery's width ({gallery.shape[1]}), got {features.shape[1]}."
        )
    if not (features.isfinite().all() and gallery.isfinite().all()):
        raise ValueError("Features must be finite; encode the pictures again in float32.")
    items = gallery.float().T
    size = max(1, max_entries // len(gallery))
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        with torch.inference_mode():
            if isinstance(queries, Tensor):
                products = features[rows].to(items) @ items
            else:
                products = similarities(queries[rows], gallery)
        yield SimilarityBlock(rows=rows, similarities=products.cpu().numpy())


def ranked_relevance(
    similarities: Float[np.ndarray, "q n"],
    relevant: Bool[np.ndarray, "q n"],
    *,
    depth: int | None = None,
) -> Bool[np.ndarray, "q k"]:
    """Return the relevance of the item at each rank, best first, irrelevant first in ties.

    Args:
        similarities: Higher is better; compared in float32.
        relevant: Mask of relevant items.
        depth: Number of ranks, cheaper than sorting all items; None for all.

    Raises:
        ValueError: A similarity is not a number, or `depth` is below one.
    """
    keys = _sort_keys(similarities, relevant)
    if depth is not None:
        _check_k("depth", depth)
        if depth < keys.shape[1]:
            keys = np.partition(keys, depth - 1, axis=1)[:, :depth]
    keys.sort(axis=1)
    return (keys & 1).astype(bool)


def _sort_keys(
    similarities: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]
) -> Int[np.ndarray, "q n"]:
    """Return integers that ascend from best to worst, with relevance in the lowest bit.

    They can be sorted without indices, and the bit breaks ties.
    """
    if np.isnan(similarities).any():
        raise ValueError("Similarities must be numbers, got NaN; check the features.")
    levels = similarities.astype(np.float32) + 0.0  # -0.0 becomes 0.0
    bits = levels.view(np.int32)
    # The bits of floats sort like integers, except that negative ones are reversed.
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    return -2 * ordered + relevant


def average_precisions(
    relevant: Bool[np.ndarray, "q n"],
    *,
    rule: ApRule,
    cut: int | None = None,
    num_relevant: Int[np.ndarray, " q"] | None = None,
) -> Float[np.ndarray, " q"]:
    """Return the average precision of each ranking, within the first `cut` ranks or all of them.

    PLAIN sums the precision at every relevant rank. VOC first replaces each precision by the
    highest one at its rank or later (within the cut), as in the sketch literature; it is never
    lower. Both are divided by min(cut, number of relevant items), so that a perfect ranking scores
    1, as in the scripts of the sketch literature. Other divisors are not comparable: the number of
    relevant items retrieved within the cut (torchmetrics' `top_k`) ignores all that were missed,
    and the number of all relevant items keeps classes larger than the cut below 1.

    Args:
        relevant: Ranked relevance, best first.
        rule: PLAIN or VOC.
        cut: 200 for mAP@200; None for mAP@all.
        num_relevant: Number of relevant items of each query; required if `relevant` is cut off.

    Raises:
        ValueError: `cut` is below one.

    Source: docs/papers.md, "Protocols".
    """
    total = _num_relevant(relevant, num_relevant)
    if cut is not None:
        _check_k("cut", cut)
        relevant, total = relevant[:, :cut], np.minimum(total, cut)
    precision = np.cumsum(relevant, axis=1) / np.arange(1, relevant.shape[1] + 1)
    if rule is ApRule.VOC:
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (precision * relevant).sum(axis=1) / np.maximum(total, 1)


def map_at(
    relevant: Bool[np.ndarray, "q n"], k: int, *, num_relevant: Int[np.ndarray, " q"] | None = None
) -> float:
    """Return the mean over queries of the plain average precision at k, as in CIRCO.

    Raises:
        ValueError: `k` is below one.

    Source: Baldrati et al., ICCV 2023, section on CIRCO: divided by min(k, number of answers).
    """
    values = average_precisions(relevant, cut=k, rule=ApRule.PLAIN, num_relevant=num_relevant)
    return float(values.mean())


def precision_at(relevant: Bool[np.ndarray, "q n"], k: int) -> Float[np.ndarray, " q"]:
    """Return each query's number of relevant items among the first k, divided by k.

    Raises:
        ValueError: `k` is below one.
    """
    _check_k("k", k)
    return relevant[:, :k].sum(axis=1) / k


def recall_at(
    relevant: Bool[np.ndarray, "q n"], k: int, *, num_relevant: Int[np.ndarray, " q"] | None = None
) -> Float[np.ndarray, " q"]:
    """Return the share of each query's relevant items among the first k.

    Raises:
        ValueError: `k` is below one.
    """
    _check_k("k", k)
    return relevant[:, :k].sum(axis=1) / np.maximum(_num_relevant(relevant, num_relevant), 1)


def hits_at(relevant: Bool[np.ndarray, "q n"], k: int) -> Float[np.ndarray, " q"]:
    """Return 1.0 for each query with a relevant item among the first k, else 0.0.

    Raises:
        ValueError: `k` is below one.
    """
    _check_k("k", k)
    return relevant[:, :k].any(axis=1).astype(float)


def subset_ranks(
    similarities: Float[np.ndarray, "q n"],
    targets: Int[np.ndarray, " q"],
    members: Int[np.ndarray, "q m"],
) -> Int[np.ndarray, " q"]:
    """Return the rank of each target among the members of its subset, from 1.

    Members as similar as the target count as ahead of it.

    Raises:
        ValueError: A target is not a member of its subset.
    """
    if not (members == targets[:, None]).any(axis=1).all():
        raise ValueError("Every target must be a member of its subset; check the subsets.")
    of_target = np.take_along_axis(similarities, targets[:, None], axis=1)
    rivals = np.take_along_axis(similarities, members, axis=1) >= of_target
    return (rivals & (members != targets[:, None])).sum(axis=1) + 1


def query_interval(values: Float[np.ndarray, " q"]) -> Interval:
    """Return the mean of per-query values with its 95 % bootstrap interval, in bounded memory.

    There are 2,000 replicates up to about 17,000 queries, and fewer above, but at least 200.
    """
    replicates = max(_MIN_REPLICATES, min(2000, _MAX_PICKS // len(values)))
    return bootstrap(values, num_replicates=replicates)


def check_length(name: str, values: Sized, expected: int) -> None:
    """Check that there is one value per feature.

    Raises:
        ValueError: There are more or fewer.
    """
    if len(values) != expected:
        raise ValueError(
            f"`{name}` must have one value per feature ({expected}), got {len(values)}."
        )


def _check_k(name: str, k: int) -> None:
    if k < 1:
        raise ValueError(f"`{name}` must be at least 1, got {k}.")


def _num_relevant(
    relevant: Bool[np.ndarray, "q n"], num_relevant: Int[np.ndarray, " q"] | None
) -> Int[np.ndarray, " q"]:
    return relevant.sum(axis=1) if num_relevant is None else num_relevant
