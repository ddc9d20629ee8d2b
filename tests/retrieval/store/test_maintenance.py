"""Checking and mending: each kind of damage is made, found, mended and gone."""

from dataclasses import replace

import pytest

from retrieval.errors import GalleryError
from retrieval.indexing.encode import index_folder
from retrieval.store import maintenance, versions
from retrieval.store.maintenance import check_index
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture
from tests.retrieval.stores import contents


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(6):
        picture(number).save(root / f"{number}.png")
    update(root)
    return root


def update(root):
    return index_folder(root, root / ".duet", tiny_backbone(), kit="tiny")


def whats(report):
    return [finding.what for finding in report.findings]


def assert_mended(photos):
    assert check_index(photos / ".duet", repair=True).is_sound
    assert check_index(photos / ".duet").findings == ()
    update(photos)
    assert len(Store.open(photos / ".duet")) == len(list(photos.glob("*.png")))
    assert check_index(photos / ".duet").findings == ()


def test_a_sound_index_is_sound(photos):
    report = check_index(photos / ".duet")
    assert (report.is_sound, report.findings, report.num_items) == (True, (), 6)


def test_missing_files(photos):
    (photos / "3.png").unlink()
    report = check_index(photos / ".duet")
    assert whats(report) == ["1 pictures no longer exist."]
    assert report.findings[0].examples == ("3.png",)
    assert not report.is_sound
    assert len(Store.open(photos / ".duet")) == 6
    assert_mended(photos)


def test_vectors_without_unit_length_and_rows_that_share_a_path(photos):
    store = Store.open(photos / ".duet")
    items, vectors = contents(store)
    codes = store.read_regions([item.id for item in items])
    vectors[1] *= 2
    vectors[2] = 0
    items[4] = replace(items[4], path="5.png")
    store.add(items, vectors, codes)
    assert whats(check_index(photos / ".duet")) == [
        "2 rows share their path with another.",
        "2 vectors do not have unit length.",
    ]
    assert_mended(photos)


def test_rows_that_share_an_id(photos):
    store = Store.open(photos / ".duet")
    store._table.add(store._table.search().where("path = '2.png'").to_arrow())
    assert whats(check_index(photos / ".duet")) == [
        "2 rows share their id with another.",
        "2 rows share their path with another.",
    ]
    assert_mended(photos)


def test_groups_without_their_first(photos):
    store = Store.open(photos / ".duet")
    store.mark_near([store.items()[0].id], ["f" * 32])
    assert whats(check_index(photos / ".duet")) == [
        "1 near-duplicates refer to a picture that does not exist."
    ]
    assert_mended(photos)


def test_an_index_of_ids_that_fell_behind(photos, monkeypatch):
    for module in (maintenance, versions):
        monkeypatch.setattr(module, "INDEXED_ROWS", 3)
    assert whats(check_index(photos / ".duet")) == ["The index of ids holds 0 of 6 rows."]
    assert_mended(photos)


def test_a_table_whose_last_rows_cannot_be_read_goes_back_to_what_can(photos):
    data = photos / ".duet/items.lance/data"
    there = set(data.iterdir())
    picture(9).save(photos / "9.png")
    update(photos)
    for file in set(data.iterdir()) - there:
        file.write_bytes(b"\0" * file.stat().st_size)
    assert "cannot be read" in whats(check_index(photos / ".duet"))[0]
    report = check_index(photos / ".duet", repair=True)
    assert "Restored version" in report.findings[0].mended
    assert report.num_items == 6
    assert_mended(photos)


def test_an_index_of_which_nothing_can_be_read_is_reported(photos):
    for file in (photos / ".duet/items.lance/data").iterdir():
        file.write_bytes(b"\0" * file.stat().st_size)
    assert not check_index(photos / ".duet").is_sound
    # The empty table it began as can always be read.
    assert check_index(photos / ".duet", repair=True).num_items == 0
    assert_mended(photos)


def test_pictures_of_a_missing_folder_are_not_deleted(photos, tmp_path):
    moved = tmp_path / "moved"
    (photos / ".duet").rename(moved)
    with pytest.raises(GalleryError, match=r"must be below .*, and none is"):
        check_index(moved, repair=True)
    assert len(Store.open(moved)) == 6
