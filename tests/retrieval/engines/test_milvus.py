"""A gallery published to milvus-lite: what is sent, what is refused, searching from it alone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("milvus_lite", reason="milvus-lite (extra dev) is not installed")

from milvus_lite.server_manager import server_manager_instance

from composer.layout import NUM_CODES
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.slerp import SlerpComposer
from retrieval.engines.milvus import MilvusIndex, connect
from retrieval.engines.milvus_records import Record
from retrieval.engines.protocol import Index, Source
from retrieval.errors import GalleryError
from retrieval.filters.language import parse
from retrieval.indexing.encode import index_folder
from retrieval.indexing.publish import publish
from retrieval.search import Gallery
from retrieval.store.address import MilvusAddress
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.studio.tiny import write_gallery

SKETCH = Sketch.from_strokes([np.array([[0.1, 0.1], [0.9, 0.2]])])
DIM = 8


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("lite") / "lite.db")
    yield path
    server_manager_instance.release_server(path)


def manifest(gallery_hash="tower"):
    return Manifest(gallery_hash=gallery_hash, dim=DIM, kit="tiny", root="..")


def records(num, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    items = [Item(id=rng.bytes(16).hex(), path=f"a/{number}.png", tags=("x",) * (number % 2),
                  caption=f"Ünï 'q' {number}", size_bytes=2**40 + number, near="ab" * number)
             for number in range(num)]  # fmt: skip
    return items, vectors, rng.integers(-128, 128, (num, NUM_CODES)).astype(np.int8)


def filled(folder, num=5):
    store = Store.create(folder, manifest())
    store.add(*records(num))
    return store


def test_a_published_gallery_is_searched_without_its_store(lite, tmp_path):
    backbone = tiny_backbone()
    photos = write_gallery(tmp_path / "photos")
    index_folder(photos, photos / ".duet", backbone, kit="tiny")
    local = Gallery.open(photos / ".duet", backbone.gallery_hash)
    query = SlerpComposer(backbone)
    composed = query.compose(query.encode(Query(sketch=SKETCH)), "red", 0.5)
    expected = local.search(composed, top_k=4)
    uri = f"{lite}#searched"
    publish(Store.open(photos / ".duet"), uri)
    shutil.rmtree(photos / ".duet")
    index = MilvusIndex.open(uri, backbone.gallery_hash)
    ranking = Gallery(index, index).search(composed, top_k=4)
    assert [hit.path for hit in ranking.hits] == [hit.path for hit in expected.hits]
    assert ranking.hits[0].region_similarity is not None
    for hit, other in zip(ranking.hits, expected.hits, strict=True):
        assert hit.score == pytest.approx(other.score, abs=1e-5)
        assert hit.metadata == other.metadata
        assert hit.file == other.file


def test_what_was_stored_is_read_back(lite, tmp_path):
    items, vectors, codes = records(5)
    store, uri = filled(tmp_path / "index"), f"{lite}#read"
    publish(store, uri)
    index = MilvusIndex.open(uri)
    source: Source = index
    engine: Index = index
    assert len(source) == len(engine) == 5
    ids = [items[3].id, "0" * 32, items[0].id]
    assert source.items_of(ids) == [items[3], None, items[0]]
    np.testing.assert_array_equal(source.read_regions(ids)[[0, 2]], codes[[3, 0]])
    np.testing.assert_array_equal(source.vectors_of(ids)[[0, 2]], vectors[[3, 0]])
    assert not source.read_regions(ids)[1].any()
    assert not source.vectors_of(ids)[1].any()
    assert source.items_of([]) == []
    assert source.sample(100) == sorted(item.id for item in items)
    assert source.sample(2) == store.sample(2)
    tagged = parse("tags has 'x'")
    assert source.sample(1, tagged) == store.sample(1, tagged)
    assert source.sample(9, tagged) == sorted(item.id for item in items if item.tags)
    assert (source.root, source.location) == (tmp_path.resolve(), uri)
    with pytest.raises(ValueError, match="32 hex digits"):
        source.items_of(['"] or id != "'])


def test_only_what_changed_is_sent(lite, tmp_path):
    store, uri = filled(tmp_path / "index"), f"{lite}#sent"
    progress = []
    report = publish(store, uri, progress=lambda done, total: progress.append((done, total)))
    assert (report.num_sent, report.num_kept, report.num_removed) == (5, 0, 0)
    assert progress == [(5, 5)]
    items, vectors, codes = records(5)
    store.add([replace(items[1], kind="chair")], vectors[1:2], codes[1:2])
    store.remove([items[2].id])
    report = publish(store, uri)
    assert (report.num_sent, report.num_kept, report.num_removed) == (1, 3, 1)
    report = publish(store, uri)
    assert (report.num_sent, report.num_kept, report.num_removed) == (0, 4, 0)
    assert MilvusIndex.open(uri).items_of([items[1].id])[0].kind == "chair"
    report = publish(store, uri, rebuild=True)
    assert (report.num_sent, report.num_kept) == (4, 0)


def test_several_stores_share_a_collection_and_leave_each_other_alone(lite, tmp_path):
    uri = f"{lite}#shared"
    stores = {}
    for seed, name in enumerate(("one", "two")):
        photos = tmp_path / "photos" / name
        photos.mkdir(parents=True)
        stores[name] = Store.create(tmp_path / name, replace(manifest(), root=photos.as_posix()))
        stores[name].add(*records(5, seed=seed))
        report = publish(stores[name], uri, root=tmp_path / "photos")
        assert (report.num_sent, report.num_removed) == (5, 0)
    stores["one"].remove([records(5)[0][0].id])
    report = publish(stores["one"], uri)
    assert (report.num_sent, report.num_kept, report.num_removed) == (0, 4, 1)
    assert publish(stores["two"], uri).num_kept == 5
    index = MilvusIndex.open(uri)
    assert (len(index), index.root) == (9, tmp_path / "photos")
    first = records(5, seed=1)[0][0]
    assert index.items_of([first.id])[0].path == f"two/{first.path}"

    elsewhere = Store.create(tmp_path / "three", replace(manifest(), root=tmp_path.as_posix()))
    sentence = r"The root of .*#shared is .*photos, not .*: --rebuild --publish-root DIR\."
    with pytest.raises(GalleryError, match=sentence):
        publish(elsewhere, uri)
    with pytest.raises(GalleryError, match=sentence):
        publish(stores["one"], uri, root=tmp_path)
    assert len(MilvusIndex.open(uri)) == 9


class StoppedError(Exception):
    pass


def test_a_stopped_run_goes_on_where_it_was(lite, tmp_path):
    store, uri = filled(tmp_path / "index", num=1100), f"{lite}#stopped"

    def stop(done, total):
        assert total == 1100
        if done >= 1000:
            raise StoppedError

    with pytest.raises(StoppedError):
        publish(store, uri, progress=stop)
    report = publish(store, uri)
    assert (report.num_sent, report.num_kept) == (100, 1000)
    assert len(MilvusIndex.open(uri)) == 1100


def test_any_change_of_a_record_changes_its_digest():
    items, vectors, codes = records(2)
    record = Record(item=items[0], vector=vectors[0], codes=codes[0], source="01234567")
    others = [
        record,
        replace(record, item=replace(items[0], near="cd")),
        replace(record, item=replace(items[0], taken="2024-01-01T00:00:00")),
        replace(record, vector=vectors[1]),
        replace(record, codes=codes[1]),
        replace(record, codes=None),
        replace(record, source="89abcdef"),
    ]
    assert len({record.digest for record in others}) == len(others)


def test_a_store_without_regions_says_how_to_add_them(lite, tmp_path):
    items, vectors, codes = records(3)
    store = Store.create(tmp_path / "index", manifest(), regions=False)
    store.add(items, vectors, codes)
    publish(store, f"{lite}#bare")
    index = MilvusIndex.open(f"{lite}#bare")
    assert not index.has_regions
    with pytest.raises(GalleryError, match=r"no region codes. .* --publish .*#bare --rebuild"):
        index.read_regions([items[0].id])


def test_another_encoder_is_refused_with_the_command_that_rebuilds(lite, tmp_path):
    uri = f"{lite}#encoder"
    publish(filled(tmp_path / "index"), uri)
    sentence = r"another encoder \(kit 'tiny', tower, not other\)\. Rebuild it with: duet index "
    with pytest.raises(GalleryError, match=sentence + r".* --publish .*#encoder --rebuild"):
        MilvusIndex.open(uri, "other")
    other = Store.create(tmp_path / "other", manifest("other"))
    with pytest.raises(GalleryError, match=sentence):
        publish(other, uri)
    assert len(MilvusIndex.open(uri)) == 5
    publish(other, uri, rebuild=True)
    assert len(MilvusIndex.open(uri, "other")) == 0


def test_a_collection_of_others_is_left_alone(lite, tmp_path):
    client = connect(MilvusAddress.parse(f"{lite}#theirs"))
    client.create_collection("theirs", dimension=4)
    for rebuild in (False, True):
        with pytest.raises(GalleryError, match="a collection 'theirs' that duet did not make"):
            publish(filled(tmp_path / "index"), f"{lite}#theirs", rebuild=rebuild)
    assert client.describe_collection("theirs")["fields"][1]["params"]["dim"] == 4
    client.close()


def test_where_nothing_is_the_sentence_says_how_to_publish(lite, tmp_path):
    for uri in (f"{lite}#nothing", str(tmp_path / "none.db")):
        with pytest.raises(GalleryError, match=r"Nothing is published at .*duet index FOLDER"):
            MilvusIndex.open(uri)
    assert not (tmp_path / "none.db").exists()
    for bad in ("ftp://host", "folder", "host:19530"):
        with pytest.raises(GalleryError, match=r"must be like http://host:19530"):
            MilvusAddress.parse(bad)
    with pytest.raises(GalleryError, match="letters, digits and _, got 'a-b'"):
        MilvusAddress.parse("http://host:19530#a-b")


def test_a_server_that_does_not_answer_is_reported():
    with pytest.raises(GalleryError, match=r"Milvus at http://127\.0\.0\.1:9 cannot be used"):
        MilvusIndex.open("http://127.0.0.1:9")
