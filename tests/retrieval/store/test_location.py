"""An index in an object store: the same as in a folder, without a lock and without a sync."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composer.layout import NUM_CODES
from retrieval.engines import exact as exact_index
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.errors import GalleryError
from retrieval.indexing.encode import index_folder
from retrieval.store import location as location_module
from retrieval.store.location import Bucket, storage_at
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture
from tests.retrieval.stores import assert_same_contents

DIM = 8
MANIFEST = Manifest(gallery_hash="h", dim=DIM, kit="tiny", root="/photos")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Through the interface of object stores, which the engine has for a disk too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return f"file-object-store://{tmp_path}/bucket/gallery"


def rows(writer, start, count=20):
    vectors = np.random.default_rng(start).standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(id=f"{writer:016x}{number:016x}", path=f"{writer}/{number}.png")
        for number in range(start, start + count)
    ]
    return items, vectors, np.zeros((count, NUM_CODES), np.int8)


def test_an_index_in_an_object_store_is_that_of_a_folder(bucket, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(6):
        picture(number).save(photos / f"{number}.png")
    backbone = tiny_backbone()
    for location in (bucket, tmp_path / "index"):
        report = index_folder(photos, location, backbone, kit="tiny")
        assert (report.num_added, report.num_kept) == (6, 0)
    (photos / "0.png").rename(photos / "zero.png")
    (photos / "1.png").unlink()
    for location in (bucket, tmp_path / "index"):
        report = index_folder(photos, location, backbone, kit="tiny")
        assert (report.num_kept, report.num_moved, report.num_removed) == (4, 1, 1)
        assert check_index(location).is_sound
    store = Store.open(bucket, backbone.gallery_hash)
    assert_same_contents(store, Store.open(tmp_path / "index"))
    assert (store.root, store.location) == (photos, bucket)


def test_what_is_derived_lies_on_this_machine(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(exact_index, "LEAST_MAPPED", 2)
    store = Store.create(bucket, MANIFEST)
    store.add(*rows(0, 0))
    assert store.storage.cache.is_relative_to(tmp_path / "caches")
    for _ in range(2):  # written, then found
        assert len(ExactIndex(store)) == 20
        assert len(list(store.storage.cache.iterdir())) == 2
    assert LanceIndex(store).build(min_rows=1)
    discard_index(bucket)
    assert not store.storage.cache.exists()


def test_another_encoder_is_refused_and_the_manifest_replaced(bucket):
    Store.create(bucket, MANIFEST)
    with pytest.raises(GalleryError, match=r"another encoder .*duet index /photos --index file-ob"):
        Store.create(bucket, replace(MANIFEST, gallery_hash="other"))
    storage_at(bucket).write_manifest(replace(MANIFEST, root="/elsewhere"))
    assert Store.open(bucket).root == Path("/elsewhere")
    storage_at(bucket).write_manifest(replace(MANIFEST, schema=99))
    with pytest.raises(GalleryError, match="must be 3 or earlier, got 99"):
        Store.open(bucket)


def test_what_is_no_index_is_reported(bucket, tmp_path):
    with pytest.raises(GalleryError, match=r"holds no index\. Make one with: duet index FOLDER"):
        Store.open(bucket)
    with pytest.raises(GalleryError, match=r"object store \(s3://, gs://, az://\), got 'ftp://a'"):
        storage_at("ftp://a")


def test_a_stopped_creation_is_taken_up_and_discarding_spares_the_rest(bucket, tmp_path):
    Bucket.write_manifest, writing = killed, Bucket.write_manifest
    try:
        with pytest.raises(KeyboardInterrupt):
            Store.create(bucket, MANIFEST)
    finally:
        Bucket.write_manifest = writing
    assert not storage_at(bucket).exists
    wider = replace(MANIFEST, dim=2 * DIM)  # by a kit of another width
    assert Store.create(bucket, wider).ids_and_vectors().vectors.shape == (0, 2 * DIM)
    other = tmp_path / "bucket" / "gallery" / "mine.txt"
    other.write_text("mine")
    discard_index(bucket)
    assert not storage_at(bucket).exists
    assert other.read_text() == "mine"


def test_a_manifest_that_another_writer_made_meanwhile_is_kept(bucket, monkeypatch):
    Store.create(bucket, MANIFEST)
    names = location_module._table_names
    monkeypatch.setattr(
        location_module, "_table_names", lambda _: []
    )  # as this writer saw it before
    storage_at(bucket).write_manifest(replace(MANIFEST, kit="late"))
    monkeypatch.setattr(location_module, "_table_names", names)
    assert Store.open(bucket).manifest.kit == MANIFEST.kit


def killed(*_):
    raise KeyboardInterrupt


def write(bucket, writer):
    store = Store.create(bucket, MANIFEST)
    for start in range(0, 200, 20):
        store.add(*rows(writer, start))
    store.compact()


def write_when_ready(bucket, ready):
    ready.set()
    write(bucket, 1)


def test_two_writers_lose_nothing(bucket):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=write_when_ready, args=(bucket, ready))
    other.start()
    assert ready.wait(600)
    write(bucket, 2)
    other.join()
    assert other.exitcode == 0
    ids = Store.open(bucket).ids_and_vectors().ids.tolist()
    assert len(ids) == len(set(ids)) == 400
