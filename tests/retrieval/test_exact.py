"""Exact search against an independent ranking."""

import numpy as np
import pytest
import torch

from retrieval.exact import ExactIndex


def unit(rng, *shape):
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_the_ranking_is_that_of_numpy_and_follows_a_permutation():
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 500, 16), unit(rng, 7, 16)
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :20]
    nearest = ExactIndex(vectors).nearest(torch.from_numpy(queries), 20)
    np.testing.assert_array_equal(nearest.rows.numpy(), expected)
    order = rng.permutation(500)
    permuted = ExactIndex(vectors[order]).nearest(torch.from_numpy(queries), 20)
    np.testing.assert_array_equal(order[permuted.rows.numpy()], expected)


def test_equal_rows_come_in_order_and_k_is_cut_to_the_gallery():
    index = ExactIndex(np.array([[0.0, 1], [1, 0], [0, 1]], dtype=np.float16))
    nearest = index.nearest(torch.tensor([[0.0, 1]]), 10)
    assert nearest.rows.tolist() == [[0, 2, 1]]
    assert nearest.similarities.tolist() == [[1, 1, 0]]


def test_a_mask_removes_rows_and_never_pads():
    index = ExactIndex(np.eye(4, dtype=np.float32))
    nearest = index.nearest(torch.eye(4)[:1], 3, mask=torch.tensor([False, True, False, True]))
    assert nearest.rows.tolist() == [[1, 3]]


def test_bad_arguments_are_named():
    index = ExactIndex(np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match="`k` must be at least 1, got 0"):
        index.nearest(torch.eye(4), 0)
    with pytest.raises(ValueError, match=r"gallery's width \(4\), got 3"):
        index.nearest(torch.zeros(1, 3), 1)
