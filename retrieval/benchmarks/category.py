"""Category-level zero-shot retrieval from sketches: every picture of the query's class is relevant.

The protocol of Sketchy-ext, TU-Berlin-ext and QuickDraw-ext. Queries are sketches of unseen
classes; the gallery holds photos of the unseen classes, and in the generalised mode of the seen
classes too. Rows have both average precisions, the plain one and the interpolated one of the sketch
literature; see `ApRule`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.benchmarks.ranked_metrics import (
    ApRule,
    LabelCodes,
    Queries,
    SimilarityBlock,
    average_precisions,
    check_length,
    label_codes,
    precision_at,
    query_interval,
    ranked_relevance,
    similarity_blocks,
)

_JSON_KEYS = {
    "map_all": "mAP@all",
    "map_200": "mAP@200",
    "p_100": "P@100",
    "p_200": "P@200",
    "map_all_voc": "mAP@all_voc",
    "map_200_voc": "mAP@200_voc",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CategoryTask:
    """Encoded queries and gallery with their classes.

    Attributes:
        query_features: Unit vectors, or composed queries.
        query_classes: Class of each query.
        gallery_features: Unit vectors.
        gallery_classes: Class of each item.
        is_generalised: Whether the gallery holds seen classes too; set by `generalised`.
    """

    query_features: Queries
    query_classes: Sequence[str]
    gallery_features: Float[Tensor, "n _"]
    gallery_classes: Sequence[str]
    is_generalised: bool = False

    def __post_init__(self) -> None:
        """Check that features and classes match.

        Raises:
            ValueError: Their numbers differ, or a query's class is not in the gallery.
        """
        check_length("query_classes", self.query_classes, len(self.query_features))
        check_length("gallery_classes", self.gallery_classes, len(self.gallery_features))
        if missing := sorted(set(self.query_classes) - set(self.gallery_classes)):
            raise ValueError(
                f"The gallery must hold every class of the queries, but lacks {len(missing)}, "
                f"such as {missing[0]!r}; leave those queries out."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryRow:
    """Row of the table; fractions in [0, 1], mAP@200 with its 95 % interval over queries."""

    num_queries: int
    num_gallery: int
    is_generalised: bool
    map_all: float
    map_200: float
    map_200_low: float
    map_200_high: float
    p_100: float
    p_200: float
    map_all_voc: float
    map_200_voc: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row, with metrics named as in papers."""
        return {_JSON_KEYS.get(name, name): value for name, value in asdict(self).items()}


def generalised(
    task: CategoryTask, seen_features: Float[Tensor, "s _"], seen_classes: Sequence[str]
) -> CategoryTask:
    """Return the task with pictures of seen classes added to its gallery.

    Raises:
        ValueError: A seen class has queries, or classes and features differ in number.
    """
    check_length("seen_classes", seen_classes, len(seen_features))
    if both := sorted(set(seen_classes) & set(task.query_classes)):
        raise ValueError(
            f"Seen classes must have no queries, but {both[0]!r} has; check the split."
        )
    return replace(
        task,
        gallery_features=torch.cat(
            [task.gallery_features, seen_features.to(task.gallery_features)]
        ),
        gallery_classes=(*task.gallery_classes, *seen_classes),
        is_generalised=True,
    )


def category_row(task: CategoryTask) -> CategoryRow:
    """Measure a task over all queries, in blocks of bounded memory.

    Raises:
        ValueError: A side is empty, not finite, or of another width.
    """
    codes = label_codes(task.query_classes, task.gallery_classes)
    blocks = similarity_blocks(task.query_features, task.gallery_features)
    measures = np.concatenate([_measure(block, codes) for block in blocks], axis=1)
    map_all, map_200, p_100, p_200, map_all_voc, map_200_voc = measures.mean(axis=1).tolist()
    interval = query_interval(measures[1])
    return CategoryRow(
        num_queries=len(task.query_features),
        num_gallery=len(task.gallery_features),
        is_generalised=task.is_generalised,
        map_all=map_all,
        map_200=map_200,
        map_200_low=interval.low,
        map_200_high=interval.high,
        p_100=p_100,
        p_200=p_200,
        map_all_voc=map_all_voc,
        map_200_voc=map_200_voc,
    )


def _measure(block: SimilarityBlock, codes: LabelCodes) -> Float[np.ndarray, "6 b"]:
    """Return mAP@all, mAP@200, P@100, P@200 and both interpolated precisions of each query."""
    relevant = ranked_relevance(block.similarities, codes.same(block.rows))
    return np.stack(
        [
            average_precisions(relevant, rule=ApRule.PLAIN),
            average_precisions(relevant, rule=ApRule.PLAIN, cut=200),
            precision_at(relevant, 100),
            precision_at(relevant, 200),
            average_precisions(relevant, rule=ApRule.VOC),
            average_precisions(relevant, rule=ApRule.VOC, cut=200),
        ]
    )
