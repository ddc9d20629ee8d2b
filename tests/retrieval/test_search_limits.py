"""Searches at their limits: nothing there, ties, what lies below the first hits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from composer.composed import rebalance
from retrieval.engines.exact import ExactIndex
from retrieval.errors import GalleryError
from retrieval.filters.language import parse
from retrieval.regions import to_codes
from retrieval.search import Gallery, Refinement
from retrieval.store.schema import Manifest
from retrieval.store.table import Store
from tests.retrieval.galleries import (
    AXES,
    DIM,
    gallery_of,
    ids,
    item,
    maps_of,
    numbers,
    patches,
    store_of_five,
    vectors_of,
)
from tests.retrieval.queries import query_of


@pytest.fixture
def store(tmp_path):
    return store_of_five(tmp_path)


@pytest.fixture
def gallery(store):
    return Gallery(store, ExactIndex(store))


def gallery_in(folder, items, vectors):
    manifest = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
    made = Store.create(folder / "index", manifest, regions=False)
    made.add(items, vectors, np.zeros((len(items), 0), np.int8))
    return Gallery(made, ExactIndex(made))


def regional(folder, count):
    """Pictures that are all the same, of one layout each."""
    vectors = torch.zeros(count, 12)
    vectors[:, 0] = 1
    return gallery_of(folder, vectors, to_codes(maps_of(patches(3).expand(count, -1, -1))))


def test_an_empty_gallery_says_how_to_fill_it(tmp_path):
    with pytest.raises(GalleryError, match=r"is empty\. Add pictures with: duet index FOLDER"):
        gallery_in(tmp_path, [], np.zeros((0, DIM), np.float32))


@pytest.mark.parametrize("top_k", [0, -1, 1001])
def test_the_number_of_hits_has_its_range(gallery, top_k):
    with pytest.raises(ValueError, match=f"`top_k` must be between 1 and 1000, got {top_k}"):
        gallery.search(query_of(AXES[0], None), top_k=top_k)


def test_the_largest_number_of_hits_may_be_more_than_there_are(gallery):
    assert len(gallery.search(query_of(AXES[0], None), top_k=1000).hits) == 4
    assert len(gallery.search(query_of(AXES[0], None), top_k=1).hits) == 1


def test_a_query_of_another_encoder_is_refused_by_both_names(gallery):
    query = replace(query_of(AXES[0], None), gallery_hash="mast")
    with pytest.raises(
        GalleryError, match=r"another encoder \(mast\) than the gallery's \(tower\)"
    ):
        gallery.search(query)


def test_a_hit_says_where_its_picture_is_and_what_is_known(gallery, store):
    hit = gallery.search(query_of(AXES[0], None), top_k=3).hits[2]
    assert (hit.rank, hit.id, hit.path, hit.region_similarity) == (3, ids(3)[0], "003.png", None)
    assert hit.file == store.root / "003.png"
    assert hit.metadata["kind"] == "chair"
    assert hit.score == hit.similarity == pytest.approx(1 / np.sqrt(1.81), abs=1e-3)
    assert gallery.root == store.root
    assert len(gallery) == 5


def test_nothing_passes_a_condition_where_layouts_count(tmp_path):
    found = regional(tmp_path, 3)
    query = query_of(torch.eye(12)[0], patches(3)[0])
    assert found.search(query).hits[0].region_similarity is not None
    for ranking in (
        found.search(query, where=parse("kind = 'boat'")),
        found.search(query, refinement=Refinement(within=())),
    ):
        assert (ranking.hits, ranking.standing, ranking.num_items) == ((), None, 3)


def test_ties_come_in_the_order_of_their_ids_where_layouts_count(tmp_path):
    order = regional(tmp_path, 120).order(query_of(torch.eye(12)[0], patches(3)[0]), 120)
    assert list(order.ids) == [f"{number:032x}" for number in range(120)]


def test_diversity_reaches_below_the_hits_that_are_asked_for(tmp_path):
    vectors = vectors_of(*([1, 0.01 * n] for n in range(6)), [1, 0, 0.6])
    made = gallery_in(tmp_path, [item(number) for number in range(7)], vectors)
    query = query_of(AXES[0], None)
    assert numbers(made.search(query, top_k=2)) == [0, 1]
    assert numbers(
        made.search(query, top_k=2, refinement=Refinement(diversity=0.6, folds=False))
    ) == [0, 6]


def test_nothing_but_diversity_passes_over_what_is_alike(tmp_path):
    vectors = vectors_of([1, 0.1], [1, 0.2], [0, 0, 1], [0, 0, 0, 1])
    made = gallery_in(tmp_path, [item(number) for number in range(4)], vectors)
    query = query_of(AXES[0], None)
    assert numbers(made.search(query)) == [0, 1, 2, 3]
    assert numbers(made.search(query, refinement=Refinement(diversity=1.0)))[-1] == 1


def test_an_order_is_as_long_as_is_asked_for_in_every_part(tmp_path):
    order = regional(tmp_path, 12).order(query_of(torch.eye(12)[0], patches(3)[0]), 7)
    parts = (order.ids, order.scores, order.similarities, order.region_similarities)
    assert [len(part) for part in parts] == [7] * 4


def test_near_duplicates_gather_below_the_nearest_of_them(tmp_path):
    """Whichever of a group comes first stands for it; a fold reaches below `top_k` too."""
    items = [
        item(0),
        item(1, near=ids(0)[0]),
        item(2, near=ids(0)[0]),
        item(3),
        item(4, near=ids(0)[0]),
    ]
    vectors = vectors_of([1, 0.3], [1, 0.1], [1, 0.2], [1, 0, 0.5], [1, 0, 0.8])
    ranking = gallery_in(tmp_path, items, vectors).search(query_of(AXES[0], None), top_k=2)
    assert numbers(ranking) == [1, 3]
    assert [hit.near_duplicates for hit in ranking.hits] == [ids(2, 0, 4), ()]


def test_feedback_is_what_the_gallery_is_searched_and_described_with(gallery):
    query = query_of(AXES[0], None)
    refinement = Refinement(liked=ids(4), unliked=ids(3), folds=False)
    vectors = vectors_of([1], [1, 0.05], [1, 0.5], [1, 0, 0.9], [1, 2]).astype(np.float64)
    moved = vectors[0] + 0.5 * vectors[4] - 0.25 * vectors[3]
    cosines = vectors @ (moved / np.linalg.norm(moved))
    ranking = gallery.search(query, refinement=refinement)
    assert numbers(ranking) == np.argsort(-cosines).tolist()
    assert [hit.similarity for hit in ranking.hits] == pytest.approx(-np.sort(-cosines), abs=2e-3)
    assert ranking.standing.mean == pytest.approx(cosines.mean(), abs=2e-3)
    assert ranking.standing.best == pytest.approx(cosines.max(), abs=2e-3)
    assert ranking.standing.num_items == 5


@pytest.mark.parametrize("refinement", [Refinement(liked=ids(0, 9)), Refinement(unliked=ids(9))])
def test_feedback_on_a_picture_that_is_gone_is_named(gallery, refinement):
    with pytest.raises(ValueError, match=f"There is no picture {ids(9)[0]} in "):
        gallery.search(query_of(AXES[0], None), refinement=refinement)


def test_a_search_within_results_takes_as_many_as_are_asked_for(gallery):
    refinement = Refinement(within=ids(4, 2, 3, 0), folds=False)
    query = query_of(AXES[0], None)
    assert numbers(gallery.search(query, top_k=3, refinement=refinement)) == [0, 2, 3]
    assert gallery.order(query, 2, within=ids(4, 2, 3)).ids == ids(2, 3)


def test_layouts_of_words_alone_are_not_even_read(tmp_path):
    found = regional(tmp_path, 3)
    feature = torch.eye(12)[0]
    both = query_of(feature, patches(3)[0], feature)
    assert all(hit.region_similarity is not None for hit in found.search(both).hits)
    for ranking in (found.search(rebalance(both, 1.0)), found.search(both, rerank=False)):
        assert [hit.region_similarity for hit in ranking.hits] == [None] * 3


def test_a_list_of_everything_leaves_out_what_was_deleted_since(store, gallery):
    store.remove(ids(0, 2))
    assert [one.id for one in gallery.items] == list(ids(1, 3, 4))
    assert [one.id for one in gallery.sample_items(10)] == list(ids(1, 3, 4))
