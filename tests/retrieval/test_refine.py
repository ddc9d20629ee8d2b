"""Feedback and diversity, by hand."""

import pytest
import torch
from torch.nn import functional

from retrieval.refine import diverse_order, moved_by_feedback

NONE = torch.zeros(0, 3)


def test_feedback_moves_the_query_towards_and_away():
    query = torch.tensor([1.0, 0, 0])
    liked, unliked = torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1], [0, 0, 1]])
    torch.testing.assert_close(moved_by_feedback(query, NONE, NONE), query)
    moved = moved_by_feedback(query, liked, unliked)
    torch.testing.assert_close(moved, functional.normalize(torch.tensor([1.0, 0.5, -0.25]), dim=0))


def test_diversity_passes_over_what_is_like_the_first():
    vectors = functional.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0]]), dim=1)
    scores = torch.tensor([0.9, 0.88, 0.7])
    assert diverse_order(scores, vectors, 0.0).tolist() == [0, 1, 2]
    assert diverse_order(scores, vectors, 0.5).tolist() == [0, 2, 1]
    assert diverse_order(scores[:0], vectors[:0], 0.5).tolist() == []


def test_equal_scores_keep_their_order():
    vectors = torch.eye(3)
    assert diverse_order(torch.full((3,), 0.5), vectors, 0.3).tolist() == [0, 1, 2]


def test_diversity_has_its_range():
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        diverse_order(torch.zeros(1), torch.zeros(1, 3), 1.5)


def test_feedback_takes_the_mean_of_what_was_liked_and_of_what_was_not():
    query = torch.tensor([0.6, 0.8, 0])
    liked = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    moved = moved_by_feedback(query, liked, NONE)
    torch.testing.assert_close(moved, functional.normalize(torch.tensor([0.85, 0.8, 0.25]), dim=0))
    away = moved_by_feedback(query, NONE, liked)
    torch.testing.assert_close(
        away, functional.normalize(torch.tensor([0.475, 0.8, -0.125]), dim=0)
    )


def test_feedback_in_half_precision_is_summed_in_full():
    query = torch.tensor([0.6, 0.8, 0]).half()
    liked = torch.tensor([[0.1, 0.995, 0]]).half()
    moved = moved_by_feedback(query, liked, NONE)
    assert moved.dtype is torch.float32
    expected = functional.normalize(query.double() + 0.5 * liked[0].double(), dim=0)
    torch.testing.assert_close(moved.double(), expected, atol=1e-6, rtol=0)


def reference_order(scores, vectors, diversity):
    """Maximal marginal relevance by its definition, in plain Python."""
    left, chosen = list(range(len(scores))), []
    while left:

        def worth(number):
            likeness = max((float(vectors[number] @ vectors[other]) for other in chosen), default=0)
            return (1 - diversity) * float(scores[number]) - diversity * likeness

        first = max(left, key=lambda number: float(scores[number]))
        best = max(left, key=worth) if chosen else first
        left.remove(best)
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("diversity", [0.1, 0.4, 0.7, 1.0])
def test_the_order_is_that_of_the_definition(diversity):
    generator = torch.Generator().manual_seed(3)
    vectors = functional.normalize(torch.randn(30, 5, generator=generator), dim=1)
    scores = torch.rand(30, generator=generator)
    found = diverse_order(scores, vectors, diversity).tolist()
    assert found == reference_order(scores, vectors, diversity)


def test_without_diversity_ties_keep_their_order_and_the_best_comes_first():
    scores = torch.cat([torch.full((40,), 0.5), torch.full((40,), 0.7)])
    vectors = torch.eye(80)
    assert diverse_order(scores, vectors, 0.0).tolist() == [*range(40, 80), *range(40)]


def test_both_ends_of_the_range_are_taken_and_nothing_below():
    scores, vectors = torch.tensor([0.1, 0.9]), torch.eye(2)
    assert diverse_order(scores, vectors, 1.0).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"between 0 and 1, got -0\.1"):
        diverse_order(scores, vectors, -0.1)
