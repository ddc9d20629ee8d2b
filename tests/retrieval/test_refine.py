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
