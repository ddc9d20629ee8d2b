"""LanceDB's own search: what the contract of all engines does not ask."""

import shutil

import lancedb
import numpy as np
import pytest
import torch

from composer.layout import NUM_CODES
from retrieval.benchmarks.engines import composed_queries, synthetic_vectors
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.errors import GalleryError
from retrieval.filters.language import parse
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

DIM = 32


def unit(seed, num):
    vectors = np.random.default_rng(seed).standard_normal((num, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def add(store, vectors, seed=0):
    rng = np.random.default_rng(seed)
    items = [
        Item(id=rng.bytes(16).hex(), path=f"{seed}/{n}.png", taken="2024-01-01T00:00:00")
        for n in range(len(vectors))
    ]
    store.add(items, vectors, np.zeros((len(vectors), NUM_CODES), np.int8))
    return items


@pytest.fixture
def store(tmp_path):
    manifest = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
    return Store.create(tmp_path / "index", manifest)


def query_of(vector):
    return torch.from_numpy(vector.astype(np.float32))[None]


def test_similarities_are_those_of_the_exact_engine_to_the_bit(store):
    add(store, unit(0, 400))
    queries = torch.from_numpy(unit(1, 5).astype(np.float32))
    assert LanceIndex(store).search(queries, 20) == ExactIndex(store).search(queries, 20)


def test_half_precision_misleads_no_ranking(store):
    """All items are equally far from the query but for less than half precision tells apart."""
    query = np.random.default_rng(2).standard_normal(DIM)
    query /= np.linalg.norm(query)
    beside = unit(3, 2000).astype(np.float64)
    beside -= (beside @ query)[:, None] * query
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    add(store, (0.6 * query + 0.8 * beside).astype(np.float16))
    queries = torch.from_numpy(query.astype(np.float32))[None]
    assert LanceIndex(store).search(queries, 10) == ExactIndex(store).search(queries, 10)


def test_small_galleries_are_scanned(store):
    add(store, unit(0, 50))
    index = LanceIndex(store)
    assert not index.build()
    assert not index.is_built
    assert index.build(min_rows=50)
    assert index.is_built


def test_what_is_written_beside_an_open_index_takes_effect(store):
    vectors = unit(0, 300)
    items = add(store, vectors)
    index = LanceIndex(store)
    index.build(min_rows=1)
    (later,) = add(store, unit(4, 1), seed=1)
    assert index.search(query_of(unit(4, 1)[0]), 1)[0].ids == (later.id,)
    store.remove([items[7].id])
    assert items[7].id not in index.search(query_of(vectors[7]), 300)[0].ids
    store.compact()
    assert index.search(query_of(unit(4, 1)[0]), 1)[0].ids == (later.id,)
    assert len(index) == 300


def test_narrow_filters_are_filled_from_the_whole_gallery(store):
    add(store, unit(0, 900))
    kept = add(store, unit(5, 6), seed=1)
    index = LanceIndex(store)
    index.build(min_rows=1)
    for query in unit(6, 5):
        (matches,) = index.search(query_of(query), 6, where=parse("folder = '1'"))
        assert set(matches.ids) == {item.id for item in kept}


def test_a_table_without_dates_has_none(store):
    add(store, unit(0, 3))
    lancedb.connect(store.storage.path).open_table("items").drop_columns(["taken"])
    index = LanceIndex(store)
    query = query_of(unit(0, 1)[0])
    assert index.search(query, 3, where=parse("date > '1900'"))[0].ids == ()
    assert len(index.search(query, 3, where=parse("date != '2024'"))[0].ids) == 3


def test_an_index_that_was_deleted_is_reported(store):
    add(store, unit(0, 3))
    index = LanceIndex(store)
    shutil.rmtree(store.storage.path)
    with pytest.raises(GalleryError, match=r"The index .*index cannot be used"):
        index.search(query_of(unit(0, 1)[0]), 3)


def test_a_gallery_is_searched_by_what_was_built(store):
    add(store, unit(0, 400))
    gallery = Gallery.open(store.storage.path, "tower")
    assert isinstance(gallery.index, ExactIndex)
    index = LanceIndex(store)
    assert index.build(min_rows=1)
    opened = Gallery.open(store.storage.path, "tower")
    assert isinstance(opened.index, LanceIndex)
    with pytest.raises(GalleryError, match="can be listed with exact search only"):
        _ = opened.matrix
    index.drop()
    assert not index.is_built
    index.drop()  # nothing is there, and nothing is wrong
    assert isinstance(Gallery.open(store.storage.path, "tower").index, ExactIndex)


def test_composed_queries_find_their_nearest_in_a_small_gallery_too(tmp_path):
    manifest = Manifest(gallery_hash="tower", dim=128, kit="tiny", root="..")
    store = Store.create(tmp_path / "wide", manifest)
    vectors = synthetic_vectors(10_000, 128)
    add(store, vectors)
    queries = torch.from_numpy(composed_queries(vectors, 50))
    index = LanceIndex(store)
    assert index.build()
    approximate, exact = index.search(queries, 10), ExactIndex(store).search(queries, 10)
    shares = [
        len(set(left.ids) & set(right.ids)) for left, right in zip(approximate, exact, strict=True)
    ]
    assert sum(shares) >= 0.98 * 500
