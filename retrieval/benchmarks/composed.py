"""Composed retrieval: CIRR, CIRCO, and domain conversion.

CIRR removes the reference picture from the ranking, since it is in the gallery and never the
target; CIRCO keeps it, and has several targets.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.benchmarks.metrics import accuracy_at, ranks_of_targets
from retrieval.benchmarks.ranked_metrics import (
    Queries,
    check_length,
    hits_at,
    label_codes,
    map_at,
    ranked_relevance,
    recall_at,
    similarity_blocks,
    subset_ranks,
)

_DEPTH = 50
_JSON_PREFIXES = {"subset_recall": "R_subset", "recall": "R", "hits": "hit", "map": "mAP"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CirrTask:
    """CIRR: one target per query, in the whole gallery and among a few similar pictures.

    Attributes:
        query_features: Unit vectors, or composed queries.
        gallery_features: Unit vectors.
        targets: Row of the target in the gallery.
        references: Row of the reference picture, which is excluded from all rankings.
        subsets: Rows of the similar pictures, target included; the reference may be included.
    """

    query_features: Queries
    gallery_features: Float[Tensor, "n _"]
    targets: Int[np.ndarray, " t"]
    references: Int[np.ndarray, " r"]
    subsets: Int[np.ndarray, "s m"]

    def __post_init__(self) -> None:
        """Check that the rows of every query are valid.

        Raises:
            ValueError: Numbers differ, a row is not in the gallery, or a target is its own
                reference.
        """
        for name in ("targets", "references", "subsets"):
            rows = getattr(self, name)
            check_length(name, rows, len(self.query_features))
            _check_rows(name, rows, len(self.gallery_features))
        if (self.targets == self.references).any():
            raise ValueError("A target must not be its query's reference; check the pairs.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CirrRow:
    """Row of CIRR's table; fractions in [0, 1]."""

    num_queries: int
    num_gallery: int
    recall_1: float
    recall_5: float
    recall_10: float
    recall_50: float
    subset_recall_1: float
    subset_recall_2: float
    subset_recall_3: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row with "R@1" ... and "R_subset@1" ...."""
        return _as_json(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CircoTask:
    """CIRCO: `answers` holds the rows of all targets of each query, at least one."""

    query_features: Queries
    gallery_features: Float[Tensor, "n _"]
    answers: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        """Check that every query has answers in the gallery.

        Raises:
            ValueError: Numbers differ, a query has no answer, or one is not in the gallery.
        """
        check_length("answers", self.answers, len(self.query_features))
        if not all(self.answers):
            raise ValueError("Every query needs at least one answer; leave the others out.")
        rows = np.array(list(chain.from_iterable(self.answers)), dtype=np.int64)
        _check_rows("answers", rows, len(self.gallery_features))


@dataclass(frozen=True, kw_only=True, slots=True)
class CircoRow:
    """Row of CIRCO's table; fractions in [0, 1]."""

    num_queries: int
    num_gallery: int
    map_5: float
    map_10: float
    map_25: float
    map_50: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row with "mAP@5" ... "mAP@50"."""
        return _as_json(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConversionTask:
    """Domain conversion: a picture and a target domain; relevant is its class in that domain.

    Attributes:
        query_features: Unit vectors, or composed queries.
        query_classes: Class of the reference picture.
        query_domains: Target domain.
        gallery_features: Unit vectors.
        gallery_classes: Class of each item.
        gallery_domains: Domain of each item.
    """

    query_features: Queries
    query_classes: Sequence[str]
    query_domains: Sequence[str]
    gallery_features: Float[Tensor, "n _"]
    gallery_classes: Sequence[str]
    gallery_domains: Sequence[str]

    def __post_init__(self) -> None:
        """Check that labels match the features and every query has relevant items.

        Raises:
            ValueError: Numbers differ, or the gallery lacks a class in the target domain.
        """
        for name in ("query_classes", "query_domains"):
            check_length(name, getattr(self, name), len(self.query_features))
        for name in ("gallery_classes", "gallery_domains"):
            check_length(name, getattr(self, name), len(self.gallery_features))
        targets = set(zip(self.query_classes, self.query_domains, strict=True))
        existing = set(zip(self.gallery_classes, self.gallery_domains, strict=True))
        if missing := sorted(targets - existing):
            raise ValueError(
                "The gallery must hold the class of every query in its target domain, but lacks "
                f"{len(missing)} pairs, such as {missing[0]}; leave those queries out."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversionRow:
    """Row of domain conversion; fractions in [0, 1].

    `recall_k` is the share of all relevant items among the first k, Pic2Word's R@k; it is low for
    classes with many items. `hits_k` is the share of queries with at least one relevant item among
    the first k.
    """

    num_queries: int
    num_gallery: int
    recall_1: float
    recall_5: float
    recall_10: float
    recall_50: float
    hits_1: float
    hits_5: float
    hits_10: float
    hits_50: float
    map_10: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row with "R@1" ..., "hit@1" ... and "mAP@10"."""
        return _as_json(asdict(self))


def cirr_row(task: CirrTask) -> CirrRow:
    """Measure CIRR; the reference is excluded from both rankings.

    Raises:
        ValueError: A side is empty, not finite, or of another width, or a subset lacks its target.
    """
    everywhere: list[np.ndarray] = []
    among: list[np.ndarray] = []
    for block in similarity_blocks(task.query_features, task.gallery_features):
        rows, similarities = block.rows, block.similarities.copy()
        np.put_along_axis(similarities, task.references[rows, None], -np.inf, axis=1)
        everywhere.append(ranks_of_targets(similarities, task.targets[rows]))
        among.append(subset_ranks(similarities, task.targets[rows], task.subsets[rows]))
    whole, subset = np.concatenate(everywhere), np.concatenate(among)
    return CirrRow(
        num_queries=len(task.query_features),
        num_gallery=len(task.gallery_features),
        recall_1=accuracy_at(whole, 1),
        recall_5=accuracy_at(whole, 5),
        recall_10=accuracy_at(whole, 10),
        recall_50=accuracy_at(whole, 50),
        subset_recall_1=accuracy_at(subset, 1),
        subset_recall_2=accuracy_at(subset, 2),
        subset_recall_3=accuracy_at(subset, 3),
    )


def circo_row(task: CircoTask) -> CircoRow:
    """Measure CIRCO; a reference in the gallery is ranked like any other picture.

    Raises:
        ValueError: A side is empty, not finite, or of another width.
    """
    counts = np.array([len(set(rows)) for rows in task.answers])
    ranked: list[np.ndarray] = []
    for block in similarity_blocks(task.query_features, task.gallery_features):
        relevant = np.zeros(block.similarities.shape, dtype=bool)
        for row, answers in zip(relevant, task.answers[block.rows], strict=True):
            row[list(answers)] = True
        ranked.append(ranked_relevance(block.similarities, relevant, depth=_DEPTH))
    first = np.concatenate(ranked)
    return CircoRow(
        num_queries=len(task.query_features),
        num_gallery=len(task.gallery_features),
        map_5=map_at(first, 5, num_relevant=counts),
        map_10=map_at(first, 10, num_relevant=counts),
        map_25=map_at(first, 25, num_relevant=counts),
        map_50=map_at(first, 50, num_relevant=counts),
    )


def conversion_row(task: ConversionTask) -> ConversionRow:
    """Measure domain conversion: relevant items match in class and in domain.

    Raises:
        ValueError: A side is empty, not finite, or of another width.

    Source: Saito et al., CVPR 2023 (Pic2Word), domain conversion on ImageNet-R.
    """
    classes = label_codes(task.query_classes, task.gallery_classes)
    domains = label_codes(task.query_domains, task.gallery_domains)
    ranked: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for block in similarity_blocks(task.query_features, task.gallery_features):
        relevant = classes.same(block.rows) & domains.same(block.rows)
        counts.append(relevant.sum(axis=1))
        ranked.append(ranked_relevance(block.similarities, relevant, depth=_DEPTH))
    first, total = np.concatenate(ranked), np.concatenate(counts)
    recalls = [float(recall_at(first, k, num_relevant=total).mean()) for k in (1, 5, 10, 50)]
    return ConversionRow(
        num_queries=len(task.query_features),
        num_gallery=len(task.gallery_features),
        recall_1=recalls[0],
        recall_5=recalls[1],
        recall_10=recalls[2],
        recall_50=recalls[3],
        hits_1=float(hits_at(first, 1).mean()),
        hits_5=float(hits_at(first, 5).mean()),
        hits_10=float(hits_at(first, 10).mean()),
        hits_50=float(hits_at(first, 50).mean()),
        map_10=map_at(first, 10, num_relevant=total),
    )


def _check_rows(name: str, rows: Int[np.ndarray, "..."], num_gallery: int) -> None:
    if ((rows < 0) | (rows >= num_gallery)).any():
        raise ValueError(f"`{name}` must be rows of the gallery (0 to {num_gallery - 1}).")


def _as_json(fields: dict[str, object]) -> dict[str, object]:
    """Name measures as papers do: "recall_5" becomes "R@5"."""
    renamed: dict[str, object] = {}
    for name, value in fields.items():
        measure, _, k = name.rpartition("_")
        prefix = _JSON_PREFIXES.get(measure)
        renamed[f"{prefix}@{k}" if prefix else name] = value
    return renamed
