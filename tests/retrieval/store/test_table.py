"""The table in pieces: commits and look-ups of many ids, what is replaced, drawn and refused."""

from dataclasses import replace

import numpy as np
import pytest

from composer.layout import NUM_CODES
from retrieval.errors import GalleryError
from retrieval.filters.language import parse
from retrieval.store import table
from retrieval.store.schema import Item
from retrieval.store.table import Store
from studio.kit_file import assets_folder
from tests.retrieval.store.rows import DIM, MANIFEST, rows


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "index", MANIFEST)
    made.add(*rows(range(20)))
    return made


def test_an_index_of_another_encoder_is_refused_with_the_way_to_rebuild_it(tmp_path, store):
    index = tmp_path / "index"
    assert Store.open(index, "h").manifest == MANIFEST
    told = rf"\(kit 'tiny', h, not other\)\. Rebuild it with: duet index {tmp_path} --index {index}"
    with pytest.raises(GalleryError, match=told):
        Store.open(index, "other")
    assert (store.location, store.root) == (str(index), tmp_path)


def test_an_index_without_regions_says_how_to_add_them(tmp_path):
    bare = Store.create(tmp_path / "bare", MANIFEST, regions=False)
    items, vectors, _ = rows(range(2))
    bare.add(items, vectors)
    assert not bare.has_regions
    told = f"has no region codes. Add them with: duet index {tmp_path} --index {tmp_path}/bare"
    with pytest.raises(GalleryError, match=told.replace(".", r"\.")):
        bare.read_regions([items[0].id])
    np.testing.assert_array_equal(bare.vectors_of([items[1].id])[0], vectors[1].astype(np.float16))


def test_a_row_of_the_same_id_is_replaced_in_every_column(store):
    items, vectors, codes = rows(range(20))
    anew = replace(items[3], path="elsewhere.jpg", kind="lamp", tags=("a",))
    store.add([anew], vectors[7:8], codes[9:10])
    assert len(store) == 20
    assert store.items_of([anew.id]) == [anew]
    np.testing.assert_array_equal(store.vectors_of([anew.id]), vectors[7:8].astype(np.float16))
    np.testing.assert_array_equal(store.read_regions([anew.id]), codes[9:10])


@pytest.mark.parametrize("by_address", [False, True])
def test_many_ids_are_looked_up_in_pieces(store, monkeypatch, by_address):
    monkeypatch.setattr(table, "IDS_AT_ONCE", 3)
    items, vectors, codes = rows(range(20))
    if by_address:
        store.ids_and_vectors()
    order = [11, 2, 19, 0, 7, 5, 13]
    asked = [items[number].id for number in order]
    assert store.items_of(asked) == [items[number] for number in order]
    np.testing.assert_array_equal(store.vectors_of(asked), vectors[order].astype(np.float16))
    np.testing.assert_array_equal(store.read_regions(asked), codes[order])
    assert store.vectors_of(asked).dtype == np.float16
    assert store.vectors_of([]).shape == (0, DIM)
    assert store.read_regions([]).shape == (0, NUM_CODES)


def test_many_ids_are_removed_and_marked_in_pieces(store, monkeypatch):
    monkeypatch.setattr(table, "IDS_AT_ONCE", 3)
    monkeypatch.setattr(table, "MARKS_AT_ONCE", 3)
    items, _, _ = rows(range(20))
    ids = [item.id for item in items]
    store.mark_near(ids[:7], ["", *ids[:5], None])
    near = [item.near for item in store.items_of(ids[:8])]
    assert near[:6] == ["", *ids[:5]]
    assert len(store.ids_where_sql("near IS NULL")) == 14  # the last of these, and those after it
    store.remove(ids[:7])
    assert len(store) == 13
    assert [item.id for item in store.items()] == ids[7:]


def test_an_update_of_nothing_commits_nothing(store):
    before = store.version
    store.update([])
    assert store.version == before
    items, _, _ = rows(range(20))
    store.update([replace(items[0], kind="lamp")])
    assert store.version > before
    assert store.items_of([items[0].id])[0].kind == "lamp"


def test_items_come_by_path_with_the_fields_that_are_asked_for(store):
    items, vectors, codes = rows([30, 25])
    store.add([replace(item, kind="lamp", caption="c") for item in items], vectors, codes)
    found = store.items(["id", "path", "kind"])
    assert [item.path for item in found] == [f"p/{n:05}.jpg" for n in (*range(20), 25, 30)]
    assert [(item.kind, item.caption) for item in found[-3:]] == [
        ("", ""),
        ("lamp", ""),
        ("lamp", ""),
    ]


def test_a_draw_is_of_the_lowest_ids(tmp_path):
    store = Store.create(tmp_path / "index", MANIFEST, regions=False)
    rng = np.random.default_rng(0)
    items = [Item(id=rng.bytes(16).hex(), path=f"{number:03}.png") for number in range(200)]
    store.add(items, np.full((200, DIM), DIM**-0.5, np.float32))
    ordered = sorted(item.id for item in items)
    below = [one for one in ordered if int(one[:8], 16) < 2**32 // 4]
    assert store.sample(50) == below
    assert 30 < len(below) < 70
    assert store.sample(200) == store.sample(1000) == ordered
    where = parse("width = 0")
    assert store.sample(50, where) == ordered[:50]
    assert store.ids_where(where).astype(str).tolist() == ordered


def test_values_are_listed_in_order_up_to_a_number(store):
    items, vectors, codes = rows(range(20))
    kinds = ("lamp", "chair", "bench")
    some = [replace(item, kind=kinds[n % 3]) for n, item in enumerate(items)]
    store.add(some, vectors, codes)
    assert store.values_of("kind", 3) == ["bench", "chair", "lamp"]
    assert store.values_of("kind", 2) == []


def test_the_first_layout_knows_no_dates():
    shipped = Store.open(assets_folder() / "gallery" / "index")
    assert len(shipped.ids_where(parse("date > '1900'"))) == 0
    assert len(shipped.ids_where(parse("not date > '1900'"))) == len(shipped)


def test_what_is_committed_later_gets_a_later_version(store):
    items, vectors, codes = rows(range(20, 22))
    before = store.ids_and_vectors()
    assert len(before.ids) == len(before.vectors) == 20
    Store.open(store.storage.path).add(items, vectors, codes)
    after = store.ids_and_vectors()
    assert after.version > before.version
    assert len(after.ids) == 22


def test_going_back_stays_at_the_youngest_version_that_can_be_read(store):
    before = store.version
    assert store.restore_readable() == before
    assert [item.path for item in store.items()] == [f"p/{n:05}.jpg" for n in range(20)]
