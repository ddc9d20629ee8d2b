"""What every engine must do: give the ranking of all cosines, which numpy computes here."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from composer.composed import ComposedQuery
from composer.fusion import Fusion
from composer.layout import NUM_CODES
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.engines.milvus import MilvusIndex, connect
from retrieval.engines.protocol import Index
from retrieval.filters.language import parse
from retrieval.filters.targets import matches
from retrieval.filters.tree import And, Contains, Filter, FilterError, Not, Or
from retrieval.indexing.publish import publish
from retrieval.search import Gallery
from retrieval.store.address import MilvusAddress
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store
from tests.contracts.milvus_server import milvus_server
from tests.retrieval.filters.filter_world import Thing, random_filter, random_things
from tests.retrieval.queries import query_of

DIM = 48
CLOSE = 2e-6  # sums of float32 in another order
MANIFEST = Manifest(gallery_hash="tower", dim=DIM, kit="tiny", root="..")
_NUMBERS = count()


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How a store is searched; `ranks_all` where every item is compared."""

    open: Callable[[Store, str], Index]
    ranks_all: bool = True
    reads_captions: bool = True


def exact(store: Store, uri: str) -> Index:
    return ExactIndex(store)


def scan_lance(store: Store, uri: str) -> Index:
    return LanceIndex(store)


def build_lance(store: Store, uri: str) -> Index:
    index = LanceIndex(store)
    index.build(min_rows=1)
    return index


def scan_milvus(store: Store, uri: str) -> Index:
    publish(store, uri)
    return MilvusIndex.open(uri, MANIFEST.gallery_hash)


def walk_milvus(store: Store, uri: str) -> Index:
    publish(store, uri, min_graph_rows=1)
    return MilvusIndex.open(uri, MANIFEST.gallery_hash)


# One line for each engine; "server" in a name sends it to a real Milvus server.
ENGINES = {
    "exact": Engine(open=exact),
    "lance scan": Engine(open=scan_lance),
    "lance index": Engine(open=build_lance, ranks_all=False),
    "milvus-lite scan": Engine(open=scan_milvus),
    "milvus-lite graph": Engine(open=walk_milvus, ranks_all=False),
    "milvus server scan": Engine(open=scan_milvus, reads_captions=False),
    "milvus server graph": Engine(open=walk_milvus, ranks_all=False, reads_captions=False),
}


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    manager = pytest.importorskip("milvus_lite.server_manager", reason="milvus-lite is missing")
    path = str(tmp_path_factory.mktemp("lite") / "lite.db")
    yield path
    manager.server_manager_instance.release_server(path)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if "server" in name else ()) for name in ENGINES
    ],
    scope="module",
)
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def address(request, engine):
    """Returns a function that makes places of which each is used once."""
    name = next(name for name, candidate in ENGINES.items() if candidate is engine)
    if "milvus" not in name:
        return lambda: ""
    where = request.getfixturevalue("server" if "server" in name else "lite")
    return lambda: f"{where}#c{next(_NUMBERS)}"


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float16)


def clip_like(seed, num):
    """Vectors in a cone, in clusters, as CLIP's: the mean cosine of two is about 0.5."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num // 30 + 2, DIM)) + 1.2 * rng.standard_normal(DIM)
    picked = centres[rng.integers(0, len(centres), num)]
    return unit(picked + 0.7 * rng.standard_normal((num, DIM)))


def composed(seed, vectors, num):
    """Queries unlike any item: between two of them, and a little beside."""
    rng = np.random.default_rng(seed)
    two = vectors[rng.integers(0, len(vectors), (2, num))].astype(np.float32)
    mixed = two.mean(axis=0) + 0.05 * rng.standard_normal((num, DIM))
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return torch.from_numpy(mixed.astype(np.float32))


def items_of(things: list[Thing]) -> list[Item]:
    rng = np.random.default_rng(len(things))
    known = [name for name in Item.__slots__ if name in Thing.__slots__]
    return [
        Item(id=rng.bytes(16).hex(), **{name: getattr(thing, name) for name in known})
        for thing in things
    ]


def codes_of(items: list[Item]) -> np.ndarray:
    return np.stack([np.full(NUM_CODES, int(item.id[:2], 16) - 128, np.int8) for item in items])


def make_store(folder: Path, items: list[Item], vectors: np.ndarray) -> Store:
    store = Store.create(folder, MANIFEST)
    store.add(items, vectors, codes_of(items))
    return store


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    items: list[Item]
    vectors: np.ndarray
    index: Index


@pytest.fixture(scope="module")
def world(engine, address, tmp_path_factory):
    items, vectors = items_of(random_things(seed=5, num=300)), clip_like(1, 300)
    vectors[20:25] = vectors[20]  # pictures that look the same
    store = make_store(tmp_path_factory.mktemp("store") / "index", items, vectors)
    return World(items=items, vectors=vectors, index=engine.open(store, address()))


def cosines(world, query) -> dict[str, float]:
    scores = world.vectors.astype(np.float32) @ query.numpy()
    return {item.id: float(score) for item, score in zip(world.items, scores, strict=True)}


def check_ranking(engine, world, query, nearest, k, where: Filter | None = None):
    """Compares with the ranking of all cosines; equal ones may be off by the order of sums."""
    scores = cosines(world, query)
    passing = [item.id for item in world.items if where is None or passes(where, item)]
    assert len(set(nearest.ids)) == len(nearest.ids)
    assert set(nearest.ids) <= set(passing), str(where)
    assert nearest.similarities == pytest.approx(
        [scores[match] for match in nearest.ids], abs=CLOSE
    )
    assert list(nearest.similarities) == sorted(nearest.similarities, reverse=True)
    assert len(nearest.ids) == min(k, len(passing)), str(where)
    if engine.ranks_all or len(nearest.ids) == len(passing):
        best = sorted((scores[match] for match in passing), reverse=True)[:k]
        assert nearest.similarities == pytest.approx(best, abs=CLOSE), str(where)


def passes(where: Filter, item: Item) -> bool:
    return matches(where, item)


def test_the_ranking_is_that_of_all_cosines(engine, world):
    queries = composed(2, world.vectors, 7)
    for k in (1, 10, 100):
        for query, nearest in zip(queries, world.index.search(queries, k), strict=True):
            check_ranking(engine, world, query, nearest, k)


def test_pictures_that_look_the_same_come_by_id(world):
    query = torch.from_numpy(world.vectors[20].astype(np.float32))[None]
    same = sorted(item.id for item in world.items[20:25])
    assert list(world.index.search(query, 5)[0].ids) == same
    assert list(world.index.search(query, 2)[0].ids) == same[:2]


def test_more_than_there_are_is_all_there_is(engine, world):
    (query,) = queries = composed(3, world.vectors, 1)
    assert len(world.index) == 300
    (nearest,) = world.index.search(queries, 5000)
    check_ranking(engine, world, query, nearest, 5000)
    assert len(nearest.ids) == 300


def asks_caption(where: Filter) -> bool:
    match where:
        case And(parts=parts) | Or(parts=parts):
            return any(map(asks_caption, parts))
        case Not(part=part):
            return asks_caption(part)
        case Contains(text=text):
            return text != ""
        case _:
            return False


@pytest.mark.parametrize("num_filters", [24, pytest.param(120, marks=pytest.mark.slow)])
def test_filters_select_what_python_does(engine, world, num_filters):
    (query,) = queries = composed(4, world.vectors, 1)
    rng, num_asked = Random(num_filters), 0
    for _ in range(num_filters):
        where = random_filter(rng)
        if asks_caption(where) and not engine.reads_captions:
            with pytest.raises(FilterError, match=r"caption contains` needs Milvus 2\.4 or later"):
                world.index.search(queries, 5, where=where)
            continue
        num_asked += 1
        k = rng.choice((5, 400))
        (nearest,) = world.index.search(queries, k, where=where)
        check_ranking(engine, world, query, nearest, k, where)
    assert num_asked > num_filters / 2


@pytest.mark.parametrize(
    "text",
    [
        "domain = 'it''s'",
        "kind != 'photo'",
        "kind in ('photo', '100%')",
        "folder = 'a%'",
        "folder in ('a', 'Ünï')",
        "not folder = ''",
        "tags has 'back\\slash'",
        "tags has any ('photo', 'a_b')",
        "size > 5 and width <= 2 or height = 3",
        "size between 5 and 6",
        "size > 9223372036854775806",
        "date >= '2024-02'",
        "not (date < '2024-01-01 00:00:01' or kind = 'photo')",
    ],
)
def test_every_condition_is_understood(engine, world, text):
    (query,) = queries = composed(5, world.vectors, 1)
    where = parse(text)
    (nearest,) = world.index.search(queries, 50, where=where)
    check_ranking(engine, world, query, nearest, 50, where)


def test_nothing_matches_and_nothing_is_returned(world):
    (nearest,) = world.index.search(composed(5, world.vectors, 1), 5, where=parse("kind = 'none'"))
    assert (nearest.ids, nearest.similarities) == ((), ())


def test_bad_arguments_are_named(world):
    with pytest.raises(ValueError, match=r"gallery's width \(48\), got 9"):
        world.index.search(torch.zeros(1, 9), 1)
    with pytest.raises(ValueError, match="`k` must be at least 1, got 0"):
        world.index.search(torch.zeros(1, DIM), 0)


def test_the_order_of_writing_plays_no_part(engine, address, world, tmp_path):
    order = np.random.default_rng(7).permutation(len(world.items))
    items = [world.items[location] for location in order]
    store = make_store(tmp_path / "index", items, world.vectors[order])
    permuted = replace(world, index=engine.open(store, address()))
    queries = composed(8, world.vectors, 5)
    pairs = zip(world.index.search(queries, 10), permuted.index.search(queries, 10), strict=True)
    for query, (before, after) in zip(queries, pairs, strict=True):
        check_ranking(engine, permuted, query, after, 10)
        if engine.ranks_all:
            assert after.ids == before.ids


def test_removals_and_replacements_take_effect(engine, address, tmp_path):
    items, vectors = items_of(random_things(seed=9, num=60)), clip_like(10, 60)
    store, location = make_store(tmp_path / "index", items, vectors), address()
    engine.open(store, location)
    moved = [replace(item, kind="moved") for item in items[:3]]
    vectors[:3] = clip_like(11, 3)
    store.add(moved, vectors[:3], codes_of(moved))
    store.remove([item.id for item in items[50:]])
    index = engine.open(store, location)
    world = World(items=moved + items[3:50], vectors=vectors[:50], index=index)
    assert len(index) == 50
    for where in (None, parse("kind = 'moved'")):
        (query,) = queries = composed(12, vectors, 1)
        check_ranking(engine, world, query, index.search(queries, 60, where=where)[0], 60, where)


def test_composed_queries_are_answered_nearly_as_if_all_were_compared(engine, address, tmp_path):
    num, k = 3000, 10
    items, vectors = items_of(random_things(seed=13, num=num)), clip_like(14, num)
    index = engine.open(make_store(tmp_path / "index", items, vectors), address())
    queries = composed(15, vectors, 60)
    best = np.argsort(-(queries.numpy() @ vectors.astype(np.float32).T), axis=1)[:, :k]
    hits = [
        len({items[row].id for row in rows} & set(nearest.ids))
        for rows, nearest in zip(best, index.search(queries, k), strict=True)
    ]
    assert sum(hits) / (k * len(hits)) >= (1 if engine.ranks_all else 0.98)


@pytest.mark.slow
def test_a_search_does_not_wait_for_the_clock_of_the_server(server, tmp_path):
    """As the first query does, which sees all that anybody has written."""
    uri, vectors = f"{server}#clock", clip_like(3, 300)
    index = scan_milvus(make_store(tmp_path / "i", items_of(random_things(7, 300)), vectors), uri)
    address = MilvusAddress.parse(uri)
    client = connect(address)

    def median_s(action):
        seconds = []
        for _ in range(9):
            began = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)[4]

    strong = {"output_fields": ["count(*)"], "consistency_level": "Strong"}
    waiting = median_s(lambda: client.query(address.collection, filter="", **strong))
    searching = median_s(lambda: index.search(composed(4, vectors, 1), 10))
    client.close()
    assert searching < waiting / 2


def test_two_sides_are_fused_nearly_as_if_all_pictures_were_compared(engine, address, tmp_path):
    num, k = 3000, 10
    items, vectors = items_of(random_things(seed=16, num=num)), clip_like(17, num)
    store = make_store(tmp_path / "index", items, vectors)
    gallery = Gallery(store, engine.open(store, address()))
    exact = Gallery(store, ExactIndex(store))
    references, words = composed(18, vectors, 20), composed(19, vectors, 20)
    num_hits = 0
    for reference, phrase in zip(references, words, strict=True):
        query = two_sided(reference, phrase)
        expected, given = (g.order(query, k, rerank=False) for g in (exact, gallery))
        num_hits += len(set(expected.ids) & set(given.ids))
        if engine.ranks_all:
            assert given.ids == expected.ids
            torch.testing.assert_close(given.scores, expected.scores, atol=1e-5, rtol=0)
    assert num_hits / (k * 20) >= (1 if engine.ranks_all else 0.98)


def two_sided(reference: torch.Tensor, words: torch.Tensor) -> ComposedQuery:
    fusion = Fusion(reference=reference, words=words, gallery_share=1.0, penalty=0.1)
    return replace(query_of(reference, None, words), fusion=fusion)
