import math

import pytest
import torch

from composer.training.losses import (
    compositionality,
    distance,
    multi_positive_nce,
    neutrality,
    pool_regions,
    region_triplet,
    text_to_text,
    triplet,
)

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
NO = torch.zeros(1, 2, dtype=torch.bool)


def value(tensor):
    return pytest.approx(tensor, abs=1e-6)


def test_distance_is_one_minus_cosine():
    assert distance(torch.stack([X, X, X]), torch.stack([X, Y, -X])).tolist() == [0, 1, 2]


def test_triplet_takes_the_nearest_negative_or_the_mean():
    positive, negatives = torch.tensor([0.5]), torch.tensor([[0.4, 0.6, 2.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    # hinges with margin 0.2: 0.3, 0.1, 0; the last candidate is no negative
    assert triplet(positive, negatives, mask, margin=0.2).item() == value(0.3)
    assert triplet(positive, negatives, mask, margin=0.2, mining="all").item() == value(0.4 / 3)
    assert triplet(positive, negatives, torch.zeros_like(mask), margin=0.2).item() == 0


def test_regions_are_weighted_by_their_likeness():
    pooled = pool_regions(X[None], torch.stack([X, Y])[None], temperature=1.0)[0, 0]
    shares = torch.tensor([math.e / (1 + math.e), 1 / (1 + math.e)])
    torch.testing.assert_close(pooled, shares / shares.norm())
    sharp = pool_regions(X[None], torch.stack([X, Y])[None], temperature=0.01)[0, 0]
    torch.testing.assert_close(sharp, X)


def test_region_triplet_by_hand():
    query, regions = torch.stack([X, Y]), torch.stack([X, Y]).unsqueeze(1)
    others = ~torch.eye(2, dtype=torch.bool)
    assert region_triplet(query, regions, others, margin=0.2).item() == 0  # 0.2 + 0 - 1
    swapped = region_triplet(query, regions.flip(0), others, margin=0.2)
    assert swapped.item() == value(1.2)  # 0.2 + 1 - 0


def test_missing_text_must_bring_the_query_nearer():
    before, after = torch.tensor([0.5, 0.5]), torch.tensor([0.3, 0.6])
    assert compositionality(before, after, margin=0.1).item() == value((0 + 0.2) / 2)


def test_neutral_text_must_not_move_the_query():
    assert neutrality(torch.tensor([0.5, 0.2]), torch.tensor([0.4, 0.5])).item() == value(0.2)


def test_learned_and_hand_prompts_stay_together():
    assert text_to_text(torch.stack([X, X]), torch.stack([X, Y])).item() == value(0.5)


def test_nce_with_one_positive_is_cross_entropy():
    cosines, positive = torch.tensor([[0.9, 0.1]]), torch.tensor([[True, False]])
    expected = math.log(1 + math.exp(-0.8 / 0.5))
    assert multi_positive_nce(cosines, positive, NO, temperature=0.5).item() == value(expected)


def test_nce_shares_its_target_among_positives_and_skips_the_ignored():
    cosines = torch.tensor([[0.0, 0.0, 5.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    positive = torch.tensor([[True, True, False, False], [False] * 4])
    ignored = torch.tensor([[False, False, True, False], [True, False, False, False]])
    # three equal candidates: log 3; the second query has no answer and costs nothing
    loss = multi_positive_nce(cosines, positive, ignored, temperature=1.0)
    assert loss.item() == value(math.log(3))


def test_nce_has_finite_gradients_where_candidates_are_ignored():
    cosines = torch.zeros(1, 2, requires_grad=True)
    mask = torch.tensor([[True, False]])
    multi_positive_nce(cosines, mask, ~mask, temperature=0.1).backward()
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()
