"""Rows of a store for tests."""

import numpy as np

from composer.layout import NUM_CODES
from retrieval.store.schema import Item, Manifest

DIM = 8
MANIFEST = Manifest(gallery_hash="h", dim=DIM, kit="tiny", root="..")


def rows(numbers, seed=0):
    """Items with ids that do not come in the order of their paths, unit vectors, and codes."""
    rng = np.random.default_rng(seed)
    items = [
        Item(id=f"{number * 7919 % 10007:032x}", path=f"p/{number:05}.jpg") for number in numbers
    ]
    vectors = rng.standard_normal((len(items), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return items, vectors, rng.integers(-127, 128, (len(items), NUM_CODES), dtype=np.int8)
