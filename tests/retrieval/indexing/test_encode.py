"""Indexing a folder of mixed, broken and changing pictures, and searching it."""

import os
import shutil

import lancedb
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from composer.layout import region_maps, region_projection
from composer.query import Query
from composer.strategies.slerp import SlerpComposer
from retrieval.errors import GalleryError
from retrieval.indexing.embed import encode_images
from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.regions import to_codes
from retrieval.search import Gallery
from retrieval.store import location
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.stores import contents


def picture(seed, size=(40, 30)):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    picture(0).save(root / "a.png")
    picture(1).save(root / "b.jpg")
    picture(2).save(root / "sub/c.webp")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:60])
    (root / "text.jpg").write_text("no picture")
    (root / "empty.webp").touch()
    (root / "copy.png").write_bytes((root / "a.png").read_bytes())
    return root


def run(folder, **options):
    return index_folder(
        folder,
        folder / ".duet",
        tiny_backbone(),
        kit="tiny",
        options=IndexOptions(batch_size=2, commit_every=2, **options),
    )


def test_every_file_is_indexed_or_listed_with_a_reason(folder):
    report = run(folder)
    assert (report.num_added, report.num_kept, report.num_removed) == (3, 0, 0)
    reasons = {file.path: file.reason for file in report.skipped}
    assert set(reasons) == {"broken.png", "text.jpg", "empty.webp", "copy.png"}
    assert "damaged" in reasons["broken.png"]
    assert "not a PNG, JPEG, WebP, AVIF or HEIC" in reasons["text.jpg"]
    assert "empty" in reasons["empty.webp"]
    assert reasons["copy.png"].startswith("It has the same content as a.png.")


def test_the_stored_vectors_are_those_of_the_frozen_tower(folder):
    run(folder)
    items, vectors = contents(Store.open(folder / ".duet"))
    assert [item.path for item in items] == ["a.png", "b.jpg", "sub/c.webp"]
    images = [Image.open(folder / item.path).convert("RGB") for item in items]
    expected = encode_images(tiny_backbone(), images)
    torch.testing.assert_close(torch.from_numpy(vectors).float(), expected, atol=1e-3, rtol=0)
    assert (items[0].width_px, items[0].height_px) == (40, 30)


def test_the_stored_regions_are_those_of_the_frozen_tower(folder):
    run(folder)
    store, backbone = Store.open(folder / ".duet"), tiny_backbone()
    items = store.items()
    images = [Image.open(folder / item.path).convert("RGB") for item in items]
    patches = backbone.encode_image(backbone.preprocess(images)).patch_features
    expected = to_codes(region_maps(patches, region_projection(backbone.joint_dim))).numpy()
    stored = store.read_regions([item.id for item in items])
    assert np.abs(stored.astype(int) - expected).max() <= 1
    assert len({row.tobytes() for row in stored}) == 3


def without_regions(index):
    """Makes an index look as one from before there were region codes."""
    lancedb.connect(str(index)).open_table("items").drop_columns(["regions"])


def test_an_index_without_regions_can_be_searched_extended_and_rebuilt(folder):
    run(folder)
    index, backbone = folder / ".duet", tiny_backbone()
    composer = SlerpComposer(backbone)
    query = composer.compose(composer.encode(Query(image=picture(2))), "")
    expected = Gallery.open(index, backbone.gallery_hash).search(query, rerank=False)
    without_regions(index)
    gallery = Gallery.open(index, backbone.gallery_hash)
    assert gallery.search(query) == expected
    with pytest.raises(GalleryError, match=r"has no region codes.*--rebuild"):
        gallery.source.read_regions([gallery.items[0].id])
    picture(6).save(folder / "more.png")
    assert run(folder).num_added == 1
    assert not Store.open(index).has_regions
    shutil.rmtree(index)
    assert run(folder).num_added == 4
    hits = Gallery.open(index, backbone.gallery_hash).search(query).hits
    assert all(hit.region_similarity is not None for hit in hits)


def test_regions_of_another_size_are_refused(folder):
    run(folder)
    base = lancedb.connect(str(folder / ".duet"))
    schema = base.open_table("items").schema
    position = schema.get_field_index("regions")
    schema = schema.set(position, pa.field("regions", pa.list_(pa.int8(), 64)))
    base.create_table("items", schema=schema, mode="overwrite")
    with pytest.raises(GalleryError, match=r"must be 1024 bytes per item, got .*64.*--rebuild"):
        Store.open(folder / ".duet")


def test_a_second_run_reads_only_what_changed(folder):
    run(folder)
    picture(9).save(folder / "b.jpg")
    (folder / "sub/c.webp").unlink()
    (folder / "a.png").rename(folder / "renamed.png")
    picture(5).save(folder / "new.png")
    report = run(folder)
    paths = [item.path for item in Store.open(folder / ".duet").items()]
    assert paths == ["b.jpg", "copy.png", "new.png"]
    assert "renamed.png" in [file.path for file in report.skipped]
    assert run(folder).num_added == 0


def test_search_ranks_a_picture_first_for_itself(folder):
    run(folder)
    backbone = tiny_backbone()
    gallery = Gallery.open(folder / ".duet", backbone.gallery_hash)
    composer = SlerpComposer(backbone)
    photo = Image.open(folder / "sub/c.webp").convert("RGB")
    query = composer.compose(composer.encode(Query(image=photo)), "")
    ranking = gallery.search(query, top_k=2)
    assert [hit.rank for hit in ranking.hits] == [1, 2]
    assert ranking.hits[0].path == "sub/c.webp"
    assert ranking.hits[0].similarity == pytest.approx(1, abs=2e-3)
    assert ranking.hits[0].region_similarity == pytest.approx(1, abs=2e-3)
    assert ranking.hits[0].file == folder / "sub/c.webp"
    assert ranking.num_items == 3
    with pytest.raises(ValueError, match="between 1 and 1000, got 0"):
        gallery.search(query, top_k=0)


def test_known_facts_are_stored(folder):
    run(folder, facts_by_path={"a.png": {"kind": "chair", "caption": "a chair"}})
    item = next(item for item in Store.open(folder / ".duet").items() if item.path == "a.png")
    assert (item.kind, item.caption) == ("chair", "a chair")


def test_an_index_of_another_encoder_is_refused_with_the_command_that_rebuilds(folder):
    run(folder)
    other = tiny_backbone(seed=1)
    with pytest.raises(GalleryError, match=r"another encoder.*duet index .* --rebuild"):
        Gallery.open(folder / ".duet", other.gallery_hash)
    with pytest.raises(GalleryError, match="another encoder"):
        index_folder(folder, folder / ".duet", other, kit="other")
    assert len(Store.open(folder / ".duet")) == 3


def test_an_index_moves_with_its_pictures(folder):
    run(folder)
    moved = folder.rename(folder.parent / "elsewhere")
    gallery = Gallery.open(moved / ".duet", tiny_backbone().gallery_hash)
    assert gallery.root == moved


def test_missing_empty_and_damaged_indexes_have_different_messages(tmp_path):
    with pytest.raises(GalleryError, match="holds no index"):
        Store.open(tmp_path)
    (tmp_path / "none").mkdir()
    index_folder(tmp_path / "none", tmp_path / "index", tiny_backbone(), kit="tiny")
    with pytest.raises(GalleryError, match="is empty"):
        Gallery.open(tmp_path / "index", tiny_backbone().gallery_hash)
    (tmp_path / "index/store.json").write_text("{")
    with pytest.raises(GalleryError, match="is damaged"):
        Store.open(tmp_path / "index")


def test_a_full_disk_is_reported_and_keeps_what_was_committed(folder, monkeypatch):
    run(folder)
    picture(7).save(folder / "more.png")
    store_add = Store.add

    def full(self, *batch):
        table, self._table = self._table, _FullDisk()
        try:
            store_add(self, *batch)
        finally:
            self._table = table

    monkeypatch.setattr(Store, "add", full)
    with pytest.raises(GalleryError, match=r"is full.*what was committed is kept"):
        run(folder)
    assert len(Store.open(folder / ".duet")) == 3


def test_a_creation_that_was_stopped_is_begun_again(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(location, "write_manifest", killed)  # the table is there, the manifest not
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert any((folder / ".duet").glob("*.lance"))
    assert run(folder).num_added == len(Store.open(folder / ".duet")) == 3


class _FullDisk:
    """Stands in for a table on a full disk, as the engine reports one."""

    def merge_insert(self, on):
        raise OSError(28, f"No space left on device ({on})")


def test_progress_ends_at_the_number_of_files(folder):
    progress = []
    index_folder(
        folder,
        folder / ".duet",
        tiny_backbone(),
        kit="tiny",
        options=IndexOptions(batch_size=2),
        progress=lambda done, total: progress.append((done, total)),
    )
    assert progress[-1] == (7, 7)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_reported(folder):
    folder.chmod(0o500)
    with pytest.raises(GalleryError, match="--index DIR"):
        run(folder)
