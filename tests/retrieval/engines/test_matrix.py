"""Exact search against an independent ranking."""

import numpy as np
import pytest
import torch

from retrieval.engines import matrix as exact
from retrieval.engines.matrix import ExactMatrix


def unit(rng, *shape):
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_the_ranking_is_that_of_numpy_and_follows_a_permutation():
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 500, 16), unit(rng, 7, 16)
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :20]
    nearest = ExactMatrix(vectors).nearest(torch.from_numpy(queries), 20)
    np.testing.assert_array_equal(nearest.rows.numpy(), expected)
    order = rng.permutation(500)
    permuted = ExactMatrix(vectors[order]).nearest(torch.from_numpy(queries), 20)
    np.testing.assert_array_equal(order[permuted.rows.numpy()], expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("num_queries", [1, 3])
def test_the_scan_in_half_precision_loses_nothing(monkeypatch, dtype, num_queries):
    """Vectors so close that half precision confuses them, in several parts and blocks."""
    monkeypatch.setattr(exact, "_CPU_ROWS", 700)
    rng = np.random.default_rng(1)
    vectors = unit(rng, 1, 24) + 0.02 * unit(rng, 3001, 24)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)
    queries = unit(rng, num_queries, 24)
    mask = rng.random(3001) < 0.3
    cosines = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    for allowed in (None, mask):
        for k in (1, 50, 700):
            kept = cosines if allowed is None else np.where(allowed, cosines, -np.inf)
            expected = np.sort(kept, axis=1)[:, ::-1][:, :k]
            given = None if allowed is None else torch.from_numpy(allowed)
            nearest = ExactMatrix(vectors).nearest(torch.from_numpy(queries), k, mask=given)
            np.testing.assert_allclose(nearest.similarities.numpy(), expected, atol=1e-6)
            rows = nearest.rows.numpy()
            assert all(len(set(row)) == k for row in rows.tolist())
            similarities = np.take_along_axis(kept, rows, axis=1)
            np.testing.assert_allclose(similarities, expected, atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 300])
def test_one_query_finds_the_nearest_of_those_that_half_precision_orders_otherwise(k):
    """Cosines about the middle between two of its numbers, where errors decide for one of them."""
    rng = np.random.default_rng(4)
    middle = 1843.5 / 2048
    for query in unit(rng, 10, 24):
        around = rng.standard_normal((8000, 24))
        around -= (around @ query)[:, None] * query
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        vectors = (middle * query + np.sqrt(1 - middle**2) * around).astype(np.float16)
        exactly = vectors.astype(np.float64) @ query.astype(np.float64)
        is_close = np.abs(exactly - middle) < 2e-5
        found = ExactMatrix(vectors[is_close]).nearest(torch.from_numpy(query)[None], k)
        expected = -np.sort(-exactly[is_close])[:k]
        np.testing.assert_allclose(found.similarities[0].numpy(), expected, atol=1e-6)


def test_rounding_to_half_precision_stays_within_what_the_scan_allows():
    rng = np.random.default_rng(2)
    vectors, query = unit(rng, 5000, 8).astype(np.float16), unit(rng, 8)
    rough = torch.mv(torch.from_numpy(vectors), torch.from_numpy(query).half())
    error = np.abs(rough.numpy().astype(np.float64) - vectors.astype(np.float64) @ query)
    assert 0.1 * exact._ROUNDING < error.max() < exact._ROUNDING


def test_vectors_of_half_precision_are_not_copied():
    vectors = unit(np.random.default_rng(3), 10, 8).astype(np.float16)
    matrix = ExactMatrix(vectors)
    query = torch.from_numpy(vectors[4:5]).float()
    assert matrix.nearest(query, 1).rows.item() == 4
    vectors[4] = -vectors[4]
    assert matrix.nearest(query, 10).rows[0, -1].item() == 4


def test_equal_rows_come_in_order_and_k_is_cut_to_the_gallery():
    index = ExactMatrix(np.array([[0.0, 1], [1, 0], [0, 1]], dtype=np.float16))
    nearest = index.nearest(torch.tensor([[0.0, 1]]), 10)
    assert nearest.rows.tolist() == [[0, 2, 1]]
    assert nearest.similarities.tolist() == [[1, 1, 0]]


def test_a_mask_removes_rows_and_never_pads():
    index = ExactMatrix(np.eye(4, dtype=np.float32))
    nearest = index.nearest(torch.eye(4)[:1], 3, mask=torch.tensor([False, True, False, True]))
    assert nearest.rows.tolist() == [[1, 3]]
    none = index.nearest(torch.eye(4)[:1], 3, mask=torch.zeros(4, dtype=torch.bool))
    assert none.rows.shape == none.similarities.shape == (1, 0)


def test_bad_arguments_are_named():
    index = ExactMatrix(np.eye(4, dtype=np.float32))
    with pytest.raises(ValueError, match="`k` must be at least 1, got 0"):
        index.nearest(torch.eye(4), 0)
    with pytest.raises(ValueError, match=r"gallery's width \(4\), got 3"):
        index.nearest(torch.zeros(1, 3), 1)
