"""Pictures of one query in the order of their agreement with its two sides."""

import math

import pytest
import torch

from generation.best_of import (
    LEAST_SPREAD,
    MAX_BEST_OF,
    Agreement,
    Selection,
    agreements,
    best_first,
    selection_of,
)
from tests.generation import tiny

ALONG_X, ALONG_Y, ALONG_Z = torch.eye(16)[:3]


def query(balance=0.5, reference=ALONG_X, words=ALONG_Y):
    return tiny.make_query(balance=balance, reference_feature=reference, words_feature=words)


def pictures(*cosines: tuple[float, float]) -> torch.Tensor:
    """Unit vectors with these cosines to the reference and to the words."""
    rest = [math.sqrt(1 - r * r - w * w) for r, w in cosines]
    return torch.stack(
        [r * ALONG_X + w * ALONG_Y + z * ALONG_Z for (r, w), z in zip(cosines, rest, strict=True)]
    )


def test_the_score_is_the_sum_of_both_sides_each_of_mean_zero_and_deviation_one():
    scored = agreements(query(), pictures((0.2, 0.1), (0.4, 0.1), (0.2, 0.3), (0.4, 0.3)))
    assert [(one.reference, one.words) for one in scored] == [
        (pytest.approx(r, abs=1e-6), pytest.approx(w, abs=1e-6))
        for r, w in ((0.2, 0.1), (0.4, 0.1), (0.2, 0.3), (0.4, 0.3))
    ]
    # Each side is one deviation below or above its mean.
    assert [one.score for one in scored] == pytest.approx([-2, 0, 0, 2], abs=1e-4)
    assert best_first(scored) == [3, 1, 2, 0]


def test_a_side_of_small_cosines_counts_like_one_of_large_ones():
    """Added as they are, the second picture's cosines would be the largest."""
    scored = agreements(query(), pictures((0.50, 0.10), (0.60, 0.10), (0.52, 0.13)))
    assert best_first(scored)[0] == 2


@pytest.mark.parametrize(("balance", "order"), [(0.0, [1, 0, 2]), (1.0, [2, 0, 1])])
def test_at_an_end_of_the_balance_one_side_decides_alone(balance, order):
    scored = agreements(query(balance), pictures((0.3, 0.2), (0.4, 0.1), (0.2, 0.3)))
    assert best_first(scored) == order


def test_a_query_of_one_side_is_scored_by_it():
    features = pictures((0.3, 0.1), (0.5, 0.1))
    (far, near) = agreements(query(words=None), features)
    assert (far.words, near.words) == (None, None)
    assert (far.score, near.score) == (pytest.approx(-1, abs=1e-4), pytest.approx(1, abs=1e-4))
    (same, equal) = agreements(query(reference=None), features)
    assert (same.reference, same.score, equal.score) == (None, 0, 0)


def test_differences_below_rounding_decide_nothing():
    scored = agreements(query(), pictures((0.3, 0.2), (0.3 + LEAST_SPREAD / 100, 0.2)))
    assert max(abs(one.score) for one in scored) < 0.02
    assert best_first([Agreement(reference=None, words=None, score=0.0)] * 3) == [0, 1, 2]


def test_a_selection_comes_back_from_its_fields():
    agreement = Agreement(reference=0.25, words=None, score=1.5)
    selection = Selection(rank=2, num_drawn=8, agreement=agreement)
    assert selection_of(selection.as_fields()) == selection


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0}, {"rank": 9}, {"rank": True}, {"rank": 1.0}, {"num_drawn": MAX_BEST_OF + 1},
        {"score": None}, {"score": math.nan}, {"score": "1"}, {"reference": math.inf},
        {"words": True},
    ],
)  # fmt: skip
def test_a_forged_selection_is_refused(change):
    agreement = Agreement(reference=0.25, words=0.5, score=1.5)
    fields = Selection(rank=2, num_drawn=8, agreement=agreement).as_fields()
    with pytest.raises((TypeError, ValueError)):
        selection_of(fields | change)
