"""Near-duplicates in a store of vectors made by hand, compared in pairs or by pivots."""

import numpy as np
import pytest

from retrieval.indexing import near
from retrieval.indexing.near import mark_near_duplicates
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

DIM = 24
NUM_GROUPS, SIZE = 300, 3


@pytest.fixture
def store(tmp_path):
    """Groups of three that are nearly the same, in an order that mixes them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((NUM_GROUPS, DIM))
    vectors = np.repeat(centres, SIZE, axis=0) + 0.01 * rng.standard_normal(
        (NUM_GROUPS * SIZE, DIM)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = rng.permutation(len(vectors))
    items = [
        Item(id=rng.bytes(16).hex(), path=f"{position:04}-of-{group // SIZE}.png")
        for position, group in enumerate(order)
    ]
    manifest = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
    store = Store.create(tmp_path / "index", manifest, regions=False)
    store.add(items, vectors[order].astype(np.float16))
    return store


@pytest.mark.parametrize("exact_pairs", [near.EXACT_PAIRS, 0], ids=["in pairs", "by pivots"])
def test_the_first_by_path_stands_for_its_group(monkeypatch, store, exact_pairs):
    monkeypatch.setattr(near, "EXACT_PAIRS", exact_pairs)
    monkeypatch.setattr(near, "ROWS_PER_PIVOT", 30)
    assert mark_near_duplicates(store, confirms=False) == NUM_GROUPS * (SIZE - 1)
    groups = {}
    for item in store.items():
        groups.setdefault(item.path.split("-of-")[1], []).append(item)
    for first, *others in groups.values():
        assert first.near == ""
        assert {other.near for other in others} == {first.id}
    assert mark_near_duplicates(store, confirms=False) == NUM_GROUPS * (SIZE - 1)
