"""Searching a gallery: conditions, refinement, and the matrix that is mapped from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.engines import exact as exact_index
from retrieval.engines.exact import ExactIndex
from retrieval.errors import GalleryError
from retrieval.filters.language import parse
from retrieval.filters.tree import Field
from retrieval.search import Gallery, Refinement
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store
from tests.retrieval.galleries import AXES, DIM, ids, item, numbers, store_of_five, vectors_of
from tests.retrieval.queries import query_of
from tests.retrieval.stores import contents


@pytest.fixture
def store(tmp_path):
    return store_of_five(tmp_path)


@pytest.fixture
def gallery(store):
    return Gallery(store, ExactIndex(store))


def test_a_condition_leaves_the_order_as_it_is(gallery):
    query = query_of(AXES[0], None)
    assert numbers(gallery.search(query, where=parse("kind = 'lamp'"))) == [2, 4]
    assert numbers(gallery.search(query, where=parse("not kind = 'lamp'"), top_k=1)) == [0]
    none = gallery.search(query, where=parse("kind = 'boat'"))
    assert (none.hits, none.standing, none.num_items) == ((), None, 5)


def test_near_duplicates_are_folded_by_default(gallery):
    query = query_of(AXES[0], None)
    ranking = gallery.search(query)
    assert numbers(ranking) == [0, 2, 3, 4]
    assert [hit.rank for hit in ranking.hits] == [1, 2, 3, 4]
    assert ranking.hits[0].near_duplicates == ids(1)
    assert len(gallery.search(query, top_k=4).hits) == 4  # a fold makes room for another
    apart = gallery.search(query, refinement=Refinement(folds=False))
    assert numbers(apart) == [0, 1, 2, 3, 4]


def test_a_search_within_results_compares_these_alone(gallery):
    query = query_of(AXES[0], None)
    within = Refinement(within=ids(4, 9, 3))
    assert numbers(gallery.search(query, refinement=within)) == [3, 4]
    lamps = gallery.search(query, where=parse("kind = 'lamp'"), refinement=within)
    assert numbers(lamps) == [4]
    whole = gallery.search(query, refinement=Refinement(folds=False))
    similarities = {hit.id: hit.similarity for hit in whole.hits}
    again = gallery.search(query, refinement=within)
    assert [hit.similarity for hit in again.hits] == pytest.approx(
        [similarities[h.id] for h in again.hits]
    )


def test_feedback_moves_the_ranking(gallery):
    query = query_of(AXES[0], None)
    liked = gallery.search(query, refinement=Refinement(liked=ids(4)))
    assert numbers(liked)[0] == 2
    plain = gallery.search(query)
    unliked = gallery.search(query, refinement=Refinement(unliked=ids(4)))
    assert numbers(unliked) == numbers(plain) == [0, 2, 3, 4]
    lost = [
        before.similarity - after.similarity
        for before, after in zip(plain.hits, unliked.hits, strict=True)
    ]
    assert lost[-1] > 0.2 > 0.15 > max(lost[:-1])


def test_diversity_brings_what_is_unlike_the_first(gallery):
    query = query_of(AXES[0], None)
    ranking = gallery.search(query, top_k=3, refinement=Refinement(diversity=0.6))
    assert numbers(ranking) == [0, 4, 3]
    with pytest.raises(ValueError, match="`diversity` must be between 0 and 1"):
        gallery.search(query, refinement=Refinement(diversity=2.0))


def test_an_item_deleted_since_is_no_hit(store, gallery):
    store.remove(ids(0, 2))
    assert numbers(gallery.search(query_of(AXES[0], None))) == [1, 3, 4]


def test_the_standing_describes_the_first_hit_and_the_gallery(store, gallery):
    first = gallery.search(query_of(AXES[0], None)).standing
    cosines = contents(store)[1].astype(np.float32) @ AXES[0].numpy()
    assert first.best == pytest.approx(cosines.max(), abs=1e-3)
    assert (first.mean, first.spread) == pytest.approx((cosines.mean(), cosines.std()), abs=1e-3)


def test_a_large_matrix_is_mapped_and_follows_the_store(monkeypatch, store):
    plain = ExactIndex(store)
    monkeypatch.setattr(exact_index, "LEAST_MAPPED", 2)
    query = torch.rand(3, DIM)
    for _ in range(2):  # written, then found
        mapped = ExactIndex(store)
        assert mapped.search(query, 5) == plain.search(query, 5)
        assert isinstance(exact_index._read(store).vectors, np.memmap)
        files = sorted(path.name for path in (store.storage.cache).iterdir())
        assert files == [f"{name}-v{store.version}.npy" for name in ("ids", "vectors")]
    store.add([item(5)], vectors_of([0, 0, 0, 1]), np.zeros((1, 0), np.int8))
    later = ExactIndex(store)
    assert len(later) == 6
    assert later.search(AXES[3:4], 1)[0].ids == ids(5)
    left = sorted(path.name for path in (store.storage.cache).iterdir())
    assert left == [f"{name}-v{store.version}.npy" for name in ("ids", "vectors")]


def test_files_that_another_process_deletes_meanwhile_are_no_error(monkeypatch, store):
    monkeypatch.setattr(exact_index, "LEAST_MAPPED", 2)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: [*listed(self), self / "ids-v0.npy"])
    assert len(ExactIndex(store)) == 5


def test_a_folder_that_cannot_be_written_is_searched_all_the_same(monkeypatch, store):
    monkeypatch.setattr(exact_index, "LEAST_MAPPED", 2)
    (store.storage.cache).write_text("a file where the folder would be")
    assert len(ExactIndex(store)) == 5


def test_listing_is_for_galleries_that_are_searched_exactly(store, gallery):
    assert [item.id for item in gallery.items] == list(ids(0, 1, 2, 3, 4))
    assert {item.id for item in gallery.sample_items(100)} == set(ids(0, 1, 2, 3, 4))

    class Other:
        def __len__(self):
            return 5

        def search(self, queries, k, *, where=None):
            return []

    with pytest.raises(GalleryError, match="can be listed with exact search only"):
        _ = Gallery(store, Other()).items


def test_the_values_of_a_field_are_those_of_the_gallery(gallery):
    assert gallery.values_of(Field.KIND, 2) == ["chair", "lamp"]
    assert gallery.values_of(Field.KIND, 1) == []
    assert gallery.values_of(Field.DOMAIN, 2) == []


def test_a_sample_of_what_matches_a_condition(gallery):
    lamps = parse("kind = 'lamp'")
    assert [item.path for item in gallery.sample_items(5, lamps)] == ["002.png", "004.png"]
    assert [item.path for item in gallery.sample_items(1, lamps)] == ["002.png"]
    assert gallery.sample_items(5, parse("kind = 'boat'")) == []


def test_a_draw_of_a_gallery_is_spread_and_the_same_every_time(tmp_path):
    manifest = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
    store = Store.create(tmp_path / "index", manifest, regions=False)
    rng = np.random.default_rng(0)
    items = [Item(id=rng.bytes(16).hex(), path=f"{number}.png") for number in range(2000)]
    vectors = np.tile(vectors_of([1]), (2000, 1))
    store.add(items, vectors, np.zeros((2000, 0), np.int8))
    drawn = store.sample(200)
    assert 150 < len(drawn) < 250
    assert drawn == store.sample(200)
    assert len(store.sample(5000)) == 2000
