"""How well texts find pictures: average precision of class names, recall of captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

CUT = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """How well a query finds the pictures of its class.

    Attributes:
        name: The class.
        query: The words it was asked for with.
        average_precision: At 200, in [0, 1].
    """

    name: str
    query: str
    average_precision: float


def average_precision(
    scores: Float[np.ndarray, " n"], is_right: Bool[np.ndarray, " n"], *, cut: int = CUT
) -> float:
    """Return the average precision of a ranking, cut off; ties count against it.

    The sum of the precisions at the right pictures, over how many there could be before the cut.
    """
    order = np.lexsort((is_right, -scores))[:cut]
    right = is_right[order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    possible = min(cut, int(is_right.sum()))
    return float((precision * right).sum() / possible) if possible else 0.0


def score_classes(
    queries: Float[Tensor, "k d"],
    names: Sequence[tuple[str, str]],
    gallery: Float[Tensor, "n d"],
    labels: Sequence[str],
) -> list[ClassScore]:
    """Score a query for each class: `names` gives class and words of each row of `queries`."""
    held = np.asarray(labels)
    scores = (queries @ gallery.T).float().numpy()
    return [
        ClassScore(name=name, query=query, average_precision=average_precision(line, held == name))
        for line, (name, query) in zip(scores, names, strict=True)
    ]


def mean_average_precision(scores: Sequence[ClassScore]) -> float:
    """Return the mean over the queries."""
    return float(np.mean([score.average_precision for score in scores]))


def caption_ranks(
    captions: Float[Tensor, "n d"], targets: Sequence[int], gallery: Float[Tensor, "m d"]
) -> np.ndarray:
    """Return the rank of each caption's photo, 1 the best; ties count against it."""
    scores = captions @ gallery.T
    reached = scores.gather(1, torch.tensor(list(targets))[:, None])
    return (scores >= reached).sum(1).numpy()


def recall(ranks: np.ndarray, at: int) -> float:
    """Return the share of the captions whose photo is among the first."""
    return float((ranks <= at).mean())


def bootstrap(values: Sequence[float], *, seed: int = 0, rounds: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of the mean, drawn again from the values."""
    rng = np.random.default_rng(seed)
    array = np.asarray(values, dtype=float)
    means = array[rng.integers(0, len(array), (rounds, len(array)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
