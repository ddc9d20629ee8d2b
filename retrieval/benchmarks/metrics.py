"""Metrics of rankings with one target, and bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean and the interval that holds 95 % of its bootstrap replicates."""

    mean: float
    low: float
    high: float


def ranks_of_targets(
    similarities: Float[np.ndarray, "q n"], targets: Int[np.ndarray, " q"]
) -> Int[np.ndarray, " q"]:
    """Return the rank of each query's target, from 1.

    Items as similar as the target count as ahead of it, so that a constant score gains nothing.
    """
    of_target = np.take_along_axis(similarities, targets[:, None], axis=1)
    return (similarities >= of_target).sum(axis=1)


def accuracy_at(ranks: Int[np.ndarray, " q"], k: int) -> float:
    """Return the share of queries whose target is among the first k."""
    return float((ranks <= k).mean())


def average_precision(relevant: Bool[np.ndarray, " n"], num_relevant: int) -> float:
    """Return the plain average precision of one ranking, cut where `relevant` ends.

    Args:
        relevant: Whether the item at each rank is relevant, best first.
        num_relevant: Number of relevant items within reach (min(k, all) for mAP@k).
    """
    if num_relevant == 0:
        return 0.0
    precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
    return float((precision * relevant).sum() / num_relevant)


def bootstrap(
    values: Float[np.ndarray, " q"], *, num_replicates: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of per-query values with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(values), (num_replicates, len(values)))
    means = values[picks].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def paired_bootstrap(
    ours: Float[np.ndarray, " q"], theirs: Float[np.ndarray, " p"], *, seed: int = 0
) -> Interval:
    """Return the mean difference of two methods on the same queries, with its interval.

    Raises:
        ValueError: The numbers of queries differ.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"Both methods need the same queries, got {len(ours)} and {len(theirs)}.")
    return bootstrap(ours - theirs, seed=seed)
