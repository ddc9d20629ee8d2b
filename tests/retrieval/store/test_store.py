"""The table of a gallery: what is written is read back, by every way of reading it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import lancedb
import numpy as np
import pytest

from retrieval.errors import GalleryError
from retrieval.store import versions
from retrieval.store.maintenance import discard_index
from retrieval.store.schema import Item, write_manifest
from retrieval.store.table import Store
from retrieval.store.versions import age_to_drop
from tests.retrieval.store.rows import DIM, MANIFEST, rows
from tests.retrieval.stores import contents


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "index", MANIFEST)
    for start in range(0, 300, 100):
        made.add(*rows(range(start, start + 100), seed=start))
    return made


def test_ids_and_vectors_are_those_of_the_items_and_ordered_by_id(store):
    stored = store.ids_and_vectors()
    items, vectors = contents(store)
    assert stored.version == store.version
    assert stored.ids.dtype == "S32"
    assert stored.ids.tolist() == sorted(item.id.encode() for item in items)
    by_id = {item.id.encode(): vector for item, vector in zip(items, vectors, strict=True)}
    np.testing.assert_array_equal(stored.vectors, [by_id[id_] for id_ in stored.ids.tolist()])


def test_compaction_and_commits_keep_the_order_and_raise_the_version(store, monkeypatch):
    before = store.ids_and_vectors()
    monkeypatch.setattr(versions, "MAX_FRAGMENTS", 1)
    store.compact()
    after = store.ids_and_vectors()
    assert after.version > before.version
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.vectors, after.vectors)
    assert store._table.stats()["fragment_stats"]["num_fragments"] == 1


@pytest.mark.parametrize("how", ["by scanning", "by the index of ids", "by address"])
def test_items_and_regions_come_in_the_order_of_the_ids(store, monkeypatch, how):
    items, _, codes = rows(range(100, 200), seed=100)
    if how == "by the index of ids":
        monkeypatch.setattr(versions, "INDEXED_ROWS", 10)
        assert store.indexed_rows() is None
        store.compact()
        assert store.indexed_rows() == 300
    if how == "by address":
        store.ids_and_vectors()
    ids = [items[40].id, "f" * 32, items[3].id, items[99].id, "0" * 31 + "e"]
    assert store.items_of(ids) == [items[40], None, items[3], items[99], None]
    regions = store.read_regions(ids)
    np.testing.assert_array_equal(regions[[0, 2, 3]], codes[[40, 3, 99]])
    assert not regions[[1, 4]].any()
    with pytest.raises(ValueError, match="must be 32 hex digits"):
        store.items_of(["' OR true --"])


def test_changes_after_the_vectors_were_read_take_effect(store):
    items, vectors, codes = rows(range(3))
    store.ids_and_vectors()
    Store.open(store.storage.path).remove([items[0].id])
    store.add([replace(items[1], caption="anew")], vectors[1:2], codes[1:2] // 2)
    first, second, third = store.items_of([item.id for item in items])
    assert (first, second.caption, third) == (None, "anew", items[2])
    assert (store.read_regions([items[1].id])[0] == codes[1] // 2).all()


def test_an_update_leaves_vectors_codes_and_groups_alone(store):
    items, _, _ = rows(range(100))
    before = store.ids_and_vectors()
    codes = store.read_regions([items[5].id])
    store.mark_near([items[5].id], [items[1].id])
    moved = replace(items[5], path="elsewhere.jpg", caption="a chair", tags=("a", "b"))
    store.update([moved, Item(id="f" * 32, path="never-added.jpg")])
    assert len(store) == 300
    assert store.items_of([items[5].id]) == [replace(moved, near=items[1].id)]
    np.testing.assert_array_equal(store.ids_and_vectors().vectors, before.vectors)
    np.testing.assert_array_equal(store.read_regions([items[5].id]), codes)


def test_ids_by_condition_are_ascending(store):
    items = store.items()
    expected = sorted(item.id for item in items if item.path < "p/00120.jpg")
    ids = store.ids_where_sql("path < 'p/00120.jpg'")
    assert ids.astype(str).tolist() == expected
    assert store.ids_where_sql("path = 'none'").tolist() == []


def test_versions_are_dropped_an_hour_after_they_were_superseded():
    moment = datetime.now(UTC)
    ages = {1: timedelta(days=9), 2: timedelta(days=8), 3: timedelta(days=7), 4: timedelta(0)}
    made = [{"version": n, "timestamp": moment - age} for n, age in ages.items()]
    table = SimpleNamespace(list_versions=lambda: made)
    # 3 was superseded just now and may be in use, 2 a week ago.
    assert timedelta(days=7) < age_to_drop(table) < timedelta(days=7, minutes=1)
    del made[:3]
    assert age_to_drop(table) > timedelta(days=365)


LATER = ("taken", "near", "caption_mtime_ns", "ctime_ns", "copies", "folders")


def test_an_index_of_the_first_layout_opens_and_stays_as_it_is(store, tmp_path):
    index = tmp_path / "index"
    lancedb.connect(str(index)).open_table("items").drop_columns(list(LATER))
    write_manifest(index, replace(MANIFEST, schema=1))
    first = Store.open(index)
    assert first.manifest.schema == 1
    assert not first.has_near
    item = first.items()[0]
    assert (item.taken, item.near, item.caption_mtime_ns) == ("", "", 0)
    assert first.items_of([item.id]) == [item]
    _, vectors = contents(first)
    added = replace(item, id="e" * 32, path="added.webp", taken="2020-01-01T00:00:00", near="f")
    first.add([added], vectors[:1], first.read_regions([item.id]))
    assert first.items_of(["e" * 32]) == [replace(added, taken="", near="")]
    assert "taken" not in lancedb.connect(str(index)).open_table("items").schema.names


def test_a_later_layout_is_refused(tmp_path):
    Store.create(tmp_path, MANIFEST)
    write_manifest(tmp_path, replace(MANIFEST, schema=4))
    with pytest.raises(GalleryError, match=r"must be 3 or earlier, got 4.*--rebuild"):
        Store.open(tmp_path)


def test_discarding_an_index_leaves_what_else_is_in_its_folder(store):
    (store.storage.path / "mine.txt").write_text("mine")
    discard_index(store.storage.path)
    with pytest.raises(GalleryError, match="holds no index"):
        Store.open(store.storage.path)
    assert (store.storage.path / "mine.txt").read_text() == "mine"
    assert len(Store.create(store.storage.path, MANIFEST)) == 0


def test_an_empty_index_reads_as_empty(tmp_path):
    store = Store.create(tmp_path, MANIFEST)
    ids = store.ids_and_vectors()
    assert (ids.ids.shape, ids.vectors.shape) == ((0,), (0, DIM))
    assert (store.items(), store.items_of(["f" * 32])) == ([], [None])
    store.compact()


@pytest.mark.slow
def test_a_million_marks(tmp_path):
    many = Store.create(tmp_path / "index", MANIFEST, regions=False)
    for start in range(0, 1_000_000, 100_000):
        ids = [f"{number:032x}" for number in range(start, start + 100_000)]
        items = [Item(id=id_, path=f"p/{id_}.jpg") for id_ in ids]
        many.add(items, np.ones((len(ids), DIM), np.float32))
    many.compact()
    ids = [f"{number:032x}" for number in range(1_000_000)]
    many.mark_near(ids, ["", *ids[:-1]])
    assert not len(many.ids_where_sql("near IS NULL"))
    assert [item.near for item in many.items_of([ids[0], ids[250_000], ids[-1]])] == [
        "", ids[249_999], ids[-2],
    ]  # fmt: skip
