"""Metrics against values counted by hand."""

import numpy as np
import pytest

from retrieval.benchmarks.metrics import (
    accuracy_at,
    average_precision,
    bootstrap,
    paired_bootstrap,
    ranks_of_targets,
)


def test_ranks_count_ties_against_the_method():
    similarities = np.array([[0.9, 0.5, 0.1], [0.2, 0.7, 0.7], [0.3, 0.3, 0.3]])
    assert ranks_of_targets(similarities, np.array([0, 1, 2])).tolist() == [1, 2, 3]
    assert accuracy_at(np.array([1, 2, 3]), 2) == pytest.approx(2 / 3)


def test_average_precision_by_hand():
    relevant = np.array([True, False, True, False])
    assert average_precision(relevant, 2) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(relevant, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(relevant, 0) == 0.0


def test_the_bootstrap_covers_the_mean_and_narrows_with_more_queries():
    few = bootstrap(np.repeat([0.0, 1.0], 20))
    many = bootstrap(np.repeat([0.0, 1.0], 2000))
    assert few.low < few.mean == 0.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_paired_differences_ignore_what_both_methods_share():
    shared = np.random.default_rng(1).random(400)
    gap = paired_bootstrap(shared + 0.1, shared)
    assert (gap.low, gap.mean, gap.high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="got 2 and 3"):
        paired_bootstrap(np.zeros(2), np.zeros(3))
