"""Fine-grained retrieval: each query has one target, the object that was drawn.

ShoeV2 and ChairV2 search the whole gallery. Sketchy's fine-grained figures search the photos of the
query's class only, which is easier and presumes knowledge of the class; `within_class` tells which.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.benchmarks.metrics import accuracy_at, ranks_of_targets
from retrieval.benchmarks.ranked_metrics import (
    LabelCodes,
    Queries,
    check_length,
    label_codes,
    query_interval,
    similarity_blocks,
)

KS = (1, 5, 10)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FineGrainedTask:
    """Encoded queries and gallery, and the target of each query.

    Attributes:
        query_features: Unit vectors, or composed queries.
        gallery_features: Unit vectors.
        targets: Row of the target in the gallery.
        query_classes: Class of each query; needed for ranking within the class.
        gallery_classes: Class of each item; given together with `query_classes`.
    """

    query_features: Queries
    gallery_features: Float[Tensor, "n _"]
    targets: Int[np.ndarray, " t"]
    query_classes: Sequence[str] | None = None
    gallery_classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check that targets and classes match the features.

        Raises:
            ValueError: Their numbers differ, a target is no row of the gallery, only one side has
                classes, or a target is of another class than its query.
        """
        check_length("targets", self.targets, len(self.query_features))
        if ((self.targets < 0) | (self.targets >= len(self.gallery_features))).any():
            raise ValueError(
                f"Targets must be rows of the gallery (0 to {len(self.gallery_features) - 1})."
            )
        if (self.query_classes is None) != (self.gallery_classes is None):
            raise ValueError("Give the classes of both queries and gallery, or of neither.")
        if self.query_classes is None or self.gallery_classes is None:
            return
        check_length("query_classes", self.query_classes, len(self.query_features))
        check_length("gallery_classes", self.gallery_classes, len(self.gallery_features))
        pairs = zip(self.query_classes, self.targets.tolist(), strict=True)
        for row, (query_class, target) in enumerate(pairs):
            if query_class != self.gallery_classes[target]:
                raise ValueError(
                    f"A target must be of its query's class, but query {row} is of {query_class!r} "
                    f"and its target of {self.gallery_classes[target]!r}; check the pairs."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class FineGrainedRow:
    """Row of the table; fractions in [0, 1], 95 % intervals over queries.

    `num_candidates` is the mean number of candidates per query.
    """

    num_queries: int
    num_gallery: int
    num_candidates: float
    within_class: bool
    acc_1: float
    acc_5: float
    acc_10: float
    acc_1_low: float
    acc_1_high: float
    acc_10_low: float
    acc_10_high: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row with "acc@1", "acc@5" and "acc@10"."""
        fields = asdict(self)
        for k in KS:
            fields[f"acc@{k}"] = fields.pop(f"acc_{k}")
        return fields


def fine_grained_row(task: FineGrainedTask, *, within_class: bool = False) -> FineGrainedRow:
    """Measure a task against the whole gallery, or within each query's class.

    Raises:
        ValueError: `within_class` is set for a task without classes, or a side is empty, not
            finite, or of another width.
    """
    codes = _codes(task) if within_class else None
    ranks, num_candidates = target_ranks(task, codes), float(len(task.gallery_features))
    if codes is not None:
        counts = np.bincount(codes.gallery, minlength=int(codes.queries.max()) + 1)
        num_candidates = float(counts[codes.queries].mean())
    return row_from_ranks(
        ranks,
        num_gallery=len(task.gallery_features),
        num_candidates=num_candidates,
        within_class=within_class,
    )


def row_from_ranks(
    ranks: Int[np.ndarray, " q"], *, num_gallery: int, num_candidates: float, within_class: bool
) -> FineGrainedRow:
    """Return the row for given ranks of targets, counted from 1."""
    first, tenth = (query_interval((ranks <= k).astype(float)) for k in (1, 10))
    return FineGrainedRow(
        num_queries=len(ranks),
        num_gallery=num_gallery,
        num_candidates=num_candidates,
        within_class=within_class,
        acc_1=accuracy_at(ranks, 1),
        acc_5=accuracy_at(ranks, 5),
        acc_10=accuracy_at(ranks, 10),
        acc_1_low=first.low,
        acc_1_high=first.high,
        acc_10_low=tenth.low,
        acc_10_high=tenth.high,
    )


def target_ranks(task: FineGrainedTask, codes: LabelCodes | None = None) -> Int[np.ndarray, " q"]:
    """Return the rank of every target from 1, to compare methods query by query.

    With `codes`, only items with the query's code are ranked.

    Raises:
        ValueError: A side is empty, not finite, or of another width.
    """
    ranks: list[np.ndarray] = []
    for block in similarity_blocks(task.query_features, task.gallery_features):
        similarities = block.similarities
        if codes is not None:
            similarities = np.where(codes.same(block.rows), similarities, -np.inf)
        ranks.append(ranks_of_targets(similarities, task.targets[block.rows]))
    return np.concatenate(ranks)


def _codes(task: FineGrainedTask) -> LabelCodes:
    if task.query_classes is None or task.gallery_classes is None:
        raise ValueError("Ranking within the class needs the classes of queries and gallery.")
    return label_codes(task.query_classes, task.gallery_classes)
