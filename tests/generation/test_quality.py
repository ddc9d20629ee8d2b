import numpy as np
import pytest
import torch
from torch.nn import functional

from generation.quality import edge_power, edge_ratios, kernel_distance, variety


def test_a_blurred_picture_has_less_of_its_edges_and_keeps_more_at_half_size():
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert edge_ratios(images, images) == (1.0, 1.0)
    soft = functional.avg_pool2d(images, 3, 1, 1)
    whole, half = edge_ratios(soft, images)
    assert whole < half < 1
    step = torch.zeros(1, 3, 5, 5)
    step[..., 2:] = 1.0
    assert edge_power(step) == pytest.approx(2 / 3)  # one of three columns on each side of the step


def test_the_distance_of_sets_is_near_zero_for_one_distribution_and_grows_with_their_gap():
    rng = np.random.default_rng(0)
    one, two, far = (rng.normal(shift, 1, (150, 16)) for shift in (0, 0, 1))
    near, away = kernel_distance(one, two), kernel_distance(one, far)
    assert abs(near.mean) < 0.1 < away.mean
    assert near.low < near.mean < near.high < away.low
    assert kernel_distance(one, two) == near
    with pytest.raises(ValueError, match="two members"):
        kernel_distance(one[:1], two)


def test_the_distance_is_the_unbiased_estimate_of_the_cubic_kernel():
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 2.0]])
    # k(a, b) = (a b / 2 + 1)^3: within x and within y 1 each, across 8, 1, 1, 8.
    assert kernel_distance(x, y).mean == pytest.approx(1 + 1 - 2 * 4.5)


def test_variety_is_the_mean_distance_between_seeds_of_one_query():
    same = np.ones((1, 3, 4))
    assert variety(same) == pytest.approx(0)
    apart = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    assert variety(apart) == pytest.approx(0.5)
