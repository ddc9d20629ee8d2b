"""Contents of stores, and their comparison."""

import numpy as np

from retrieval.store.table import Store


def contents(store: Store):
    """Return all items of a store, ordered by path, and their vectors."""
    items = store.items()
    return items, store.vectors_of([item.id for item in items])


def assert_same_contents(actual: Store, expected: Store):
    """Assert equal items and, up to rounding, equal vectors and region codes."""
    items = actual.items()
    assert items == expected.items()
    ids = [item.id for item in items]
    vectors, expected_vectors = actual.ids_and_vectors(), expected.ids_and_vectors()
    np.testing.assert_array_equal(vectors.ids, expected_vectors.ids)
    np.testing.assert_allclose(
        vectors.vectors.astype(np.float32), expected_vectors.vectors.astype(np.float32), atol=1e-3
    )
    codes = actual.read_regions(ids).astype(int) - expected.read_regions(ids)
    assert np.abs(codes).max() <= 1
