"""Searches with two sides, against the formulas in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.fusion import Fusion
from retrieval.confidence import standing
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.engines.protocol import Scan
from retrieval.filters.language import parse
from retrieval.fusion import (
    Surroundings,
    neighbours_among,
    resolve,
    search_fused,
    similarities,
)
from retrieval.ranking import Refinement
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store
from tests.retrieval.galleries import LAYOUT_DIM, maps_of, patches
from tests.retrieval.queries import query_of

NUM = 200


def unit(seed, count):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.randn(count, LAYOUT_DIM, generator=generator)
    return functional.normalize(spread + torch.randn(LAYOUT_DIM, generator=generator), dim=-1)


VECTORS = unit(1, NUM).half().float()
REFERENCE, WORDS = unit(2, 2)
PROJECTION = torch.linalg.qr(torch.randn(LAYOUT_DIM, 7, generator=torch.manual_seed(3)))[0].T


def fused_query(balance=0.5, **changes):
    parts = {"reference": REFERENCE, "words": WORDS, "floor": 2.0, "penalty": 0.1, **changes}
    feature = functional.normalize(REFERENCE + WORDS, dim=0)
    query = query_of(feature, patches(4)[0], WORDS)
    return replace(query, balance=balance, fusion=Fusion(**parts))


def by_numpy(vectors, *, projection=None, share=0.0, floor=2.0, penalty=0.1, neighbours=0):
    """The score before it is put on the scale of cosines."""
    pictures, reference = vectors.double().numpy(), REFERENCE.double().numpy()
    centre = pictures.mean(0)
    project = np.eye(LAYOUT_DIM) if projection is None else projection.T.double().numpy()
    project = project @ project.T
    direction = reference - share * centre
    direction = direction / np.linalg.norm(direction)
    if neighbours:
        best = np.argsort(-pictures @ project @ direction)[:neighbours]
        expansion = pictures[best].mean(0) - centre
        direction = direction + expansion / np.linalg.norm(expansion)
    sides = []
    for side in (project @ direction, WORDS.double().numpy()):
        products = (pictures - centre) @ side
        sides.append(np.maximum(0, 1 + products / (floor * products.std())))
    a, b = sides
    return a * b - penalty * (a + b) ** 2


def surroundings(vectors=VECTORS):
    return Surroundings(background=vectors, neighbours=neighbours_among(vectors))


CASES = {
    "plain": ({}, {}),
    "product": ({"penalty": 0.0}, {"penalty": 0.0}),
    "floor": ({"floor": 3.0}, {"floor": 3.0}),
    "projected": ({"projection": PROJECTION}, {"projection": PROJECTION}),
    "centred by the gallery": ({"gallery_share": 1.0}, {"share": 1.0}),
    "centred by half": ({"gallery_share": 0.5}, {"share": 0.5}),
    "expanded": (
        {"num_neighbours": 5, "projection": PROJECTION, "gallery_share": 1.0},
        {"neighbours": 5, "projection": PROJECTION, "share": 1.0},
    ),
}


@pytest.mark.parametrize(("parts", "formula"), CASES.values(), ids=CASES)
def test_the_score_is_that_of_the_formula_on_the_scale_of_cosines(parts, formula):
    query = fused_query(**parts)
    scores = resolve(query, surroundings()).scores(VECTORS).double().numpy()
    raw, cosines = by_numpy(VECTORS, **formula), (VECTORS @ query.feature).numpy()
    expected = (raw - raw.mean()) / raw.std() * cosines.std() + cosines.mean()
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_ends_of_the_balance_are_the_single_sides():
    for balance, alone in ((0.0, {"words": None}), (1.0, {"reference": None})):
        end = resolve(fused_query(balance), surroundings()).scores(VECTORS)
        single = resolve(fused_query(**alone), surroundings()).scores(VECTORS)
        torch.testing.assert_close(end, single, atol=1e-5, rtol=0)
        assert end.argsort().tolist() == single.argsort().tolist()
    middle, near = (resolve(fused_query(b), surroundings()).scores(VECTORS) for b in (0.5, 0.501))
    torch.testing.assert_close(middle, near, atol=5e-3, rtol=0)


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("penalty", [0.0, 0.1, 0.24])
def test_no_picture_scores_more_than_its_products_allow(balance, penalty):
    fused = resolve(fused_query(balance, penalty=penalty), surroundings())
    pictures = unit(9, 2000)
    scores, products = fused.scores(pictures), pictures @ fused.directions.T
    for score, reached in zip(scores.tolist(), products.tolist(), strict=True):
        assert score <= fused.bound(reached) + 1e-4


def test_a_gallery_of_one_picture_or_of_equal_ones_can_be_searched():
    for vectors in (VECTORS[:1], VECTORS[:1].expand(5, -1)):
        scores = resolve(fused_query(), surroundings(vectors)).scores(vectors)
        assert scores.isfinite().all()
        torch.testing.assert_close(scores, scores[:1].expand(len(vectors)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    manifest = Manifest(gallery_hash="tower", dim=LAYOUT_DIM, kit="tiny", root="..")
    store = Store.create(tmp_path_factory.mktemp("fused") / "index", manifest)
    items = [
        Item(id=f"{n:032x}", path=f"{n:03}.png", kind="even" if n % 2 == 0 else "odd")
        for n in range(NUM)
    ]
    codes = (maps_of(patches(5, NUM)) * 127).round().to(torch.int8)
    store.add(items, VECTORS.numpy(), codes.numpy())
    return store


@pytest.fixture(params=["exact", "candidates"])
def gallery(request, store):
    return Gallery(store, ExactIndex(store) if request.param == "exact" else LanceIndex(store))


def numbers(ranking):
    return [int(hit.id, 16) for hit in ranking.hits]


def best(scores, count):
    return np.argsort(-scores, kind="stable")[:count].tolist()


@pytest.mark.parametrize(("parts", "formula"), CASES.values(), ids=CASES)
def test_a_search_ranks_by_the_fused_score(gallery, parts, formula):
    ranking = gallery.search(fused_query(**parts), top_k=20, rerank=False)
    assert numbers(ranking) == best(by_numpy(VECTORS, **formula), 20)
    scores = [hit.score for hit in ranking.hits]
    assert scores == sorted(scores, reverse=True)
    assert scores == [hit.similarity for hit in ranking.hits]


def test_a_condition_and_earlier_hits_narrow_the_search_but_not_the_scale(gallery):
    scores = by_numpy(VECTORS)
    everywhere = gallery.search(fused_query(), top_k=NUM, rerank=False)
    by_number = {int(hit.id, 16): hit.score for hit in everywhere.hits}
    odd = gallery.search(fused_query(), top_k=9, rerank=False, where=parse("kind = 'odd'"))
    assert numbers(odd) == [n for n in best(scores, NUM) if n % 2][:9]
    within = tuple(f"{n:032x}" for n in (5, 8, 13, 21))
    among = gallery.search(fused_query(), rerank=False, refinement=Refinement(within=within))
    assert numbers(among) == [n for n in best(scores, NUM) if n in (5, 8, 13, 21)]
    for ranking in (odd, among):
        for hit in ranking.hits:
            assert hit.score == pytest.approx(by_number[int(hit.id, 16)], abs=1e-5)


def test_the_short_list_is_ranked_again_by_layout(gallery):
    query = fused_query()
    plain, again = (gallery.search(query, top_k=10, rerank=rerank) for rerank in (False, True))
    assert numbers(plain) != numbers(again)
    assert all(hit.region_similarity is not None for hit in again.hits)
    assert all(hit.region_similarity is None for hit in plain.hits)


def test_feedback_moves_both_sides(gallery):
    rank_of = numbers(gallery.search(fused_query(), top_k=NUM, rerank=False)).index
    liked = numbers(gallery.search(fused_query(), top_k=NUM, rerank=False))[60]
    for balance in (0.0, 0.5, 1.0):
        query = fused_query(balance)
        before = numbers(gallery.search(query, top_k=NUM, rerank=False)).index(liked)
        moved = gallery.search(
            query, top_k=NUM, rerank=False, refinement=Refinement(liked=(f"{liked:032x}",))
        )
        away = gallery.search(
            query, top_k=NUM, rerank=False, refinement=Refinement(unliked=(f"{liked:032x}",))
        )
        assert numbers(moved).index(liked) < before < numbers(away).index(liked)
    assert rank_of(liked) == 60


def test_diverse_hits_are_unlike_the_first(gallery):
    plain = gallery.search(fused_query(), top_k=5, rerank=False)
    diverse = gallery.search(
        fused_query(), top_k=5, rerank=False, refinement=Refinement(diversity=0.7)
    )
    assert numbers(diverse)[0] == numbers(plain)[0]

    def likeness(ranking):
        rows = VECTORS[numbers(ranking)]
        return float((rows @ rows.T).mean())

    assert likeness(diverse) < likeness(plain)


def test_the_standing_is_on_the_scale_of_cosines(gallery):
    query = fused_query()
    ranking = gallery.search(query, top_k=1, rerank=False)
    assert ranking.standing is not None
    expected = standing(ranking.hits[0].score, query.feature, VECTORS, NUM)
    for name in ("best", "mean", "spread", "num_items"):
        assert getattr(ranking.standing, name) == pytest.approx(getattr(expected, name), abs=1e-4)


def test_scores_of_many_queries_are_those_of_each_search(store):
    gallery = Gallery(store, ExactIndex(store))
    queries = [fused_query(), replace(fused_query(), fusion=None), fused_query(0.2)]
    together = gallery.similarities(queries)
    torch.testing.assert_close(together, similarities(queries, VECTORS), atol=1e-4, rtol=0)
    for query, scores in zip(queries, together, strict=True):
        ranking = gallery.search(query, top_k=30, rerank=False)
        assert numbers(ranking) == best(scores.numpy(), 30)


def test_an_engine_is_asked_for_more_until_no_other_picture_can_be_better(store, monkeypatch):
    """The nearest to the sum of both sides need not have the best product."""
    index, counts = LanceIndex(store), []
    assert not isinstance(index, Scan)
    search = index.search
    monkeypatch.setattr(
        index, "search", lambda q, k, *, where=None: counts.append(k) or search(q, k, where=where)
    )
    against = functional.normalize(WORDS - 2 * REFERENCE, dim=0)
    fused = resolve(fused_query(words=against), surroundings())
    expected = best(fused.scores(VECTORS).numpy(), 3)
    monkeypatch.setattr("retrieval.fusion.NUM_CANDIDATES", 4)
    matches = search_fused(index, store, fused, 3, None)
    assert [int(id_, 16) for id_ in matches.ids] == expected
    assert counts[0] == 6
    assert 1 < len(counts) < 4
    counts.clear()
    monkeypatch.setattr("retrieval.fusion.MAX_CANDIDATES", 7)
    search_fused(index, store, fused, 3, None)
    assert counts == [6, 7]
