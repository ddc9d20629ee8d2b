"""Vectors in and out, in the layout of clip-retrieval."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.errors import GalleryError
from retrieval.indexing import exchange
from retrieval.indexing.encode import index_folder
from retrieval.indexing.exchange import export_vectors, import_vectors
from retrieval.search import Gallery
from retrieval.store.table import Store
from tests.composer.tiny import JOINT_DIM, tiny_backbone
from tests.retrieval.pictures import picture


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(5):
        picture(number).save(root / f"{number}.png")
    (root / "2.txt").write_text("a chair")
    index_folder(root, root / ".duet", tiny_backbone(), kit="tiny")
    return root


def write(folder, vectors, **columns):
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb/img_emb_00.npy", vectors)
    pq.write_table(pa.table(columns), folder / "metadata/metadata_00.parquet")
    return folder


def taken_in(source, photos, index):
    return import_vectors(source, photos, index, tiny_backbone(), kit="tiny")


def test_what_is_exported_can_be_imported(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "ROWS_OF_A_FILE", 2)
    store = Store.open(photos / ".duet")
    assert export_vectors(store, tmp_path / "out") == 5
    vectors = np.load(tmp_path / "out/img_emb/img_emb_1.npy")
    rows = pq.read_table(tmp_path / "out/metadata/metadata_1.parquet").to_pylist()
    assert (vectors.shape, vectors.dtype, len(rows)) == ((2, JOINT_DIM), np.float16, 2)
    assert taken_in(tmp_path / "out", photos, tmp_path / "copy").num_added == 5
    copy = Store.open(tmp_path / "copy")
    assert copy.manifest.origin == "imported from out"
    assert not copy.has_regions
    assert [(item.id, item.path, item.caption, item.width_px) for item in copy.items()] == [
        (item.id, item.path, item.caption, item.width_px) for item in store.items()
    ]
    before, after = store.ids_and_vectors(), copy.ids_and_vectors()
    np.testing.assert_allclose(before.vectors, after.vectors, atol=1e-3)
    assert len(Gallery.open(tmp_path / "copy", tiny_backbone().gallery_hash).items) == 5
    report = index_folder(photos, tmp_path / "copy", tiny_backbone(), kit="tiny")
    assert (report.num_kept, report.num_added) == (5, 0)


def test_rows_that_cannot_be_used_are_left_out_with_reasons(photos, tmp_path):
    (tmp_path / "outside.png").write_bytes((photos / "0.png").read_bytes())
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "twin.png").write_bytes((photos / "1.png").read_bytes())
    names = ["1.png", str(photos / "2.png"), "../outside.png", "gone.png", "broken.png"]
    names += ["3.png", "4.png", "twin.png", None]
    vectors = np.random.default_rng(0).standard_normal((len(names), JOINT_DIM)) * 7
    vectors[5] = 0
    vectors[6, 3] = np.nan
    source = write(tmp_path / "in", vectors, image_path=names)
    report = taken_in(source, photos, tmp_path / "index")
    reasons = {file.path: file.reason for file in report.skipped}
    assert report.num_added == 2
    assert [item.path for item in Store.open(tmp_path / "index").items()] == ["1.png", "2.png"]
    assert "outside the folder" in reasons["../outside.png"]
    assert "does not exist" in reasons["gone.png"]
    assert "damaged" in reasons["broken.png"]
    assert "no finite positive length" in reasons["3.png"]
    assert "no finite positive length" in reasons["4.png"]
    assert "same content as 1.png" in reasons["twin.png"]
    stored = Store.open(tmp_path / "index").ids_and_vectors().vectors.astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-3)


def test_files_that_do_not_fit_are_refused_before_anything_is_written(photos, tmp_path):
    index = tmp_path / "index"
    with pytest.raises(GalleryError, match=r"must hold img_emb/img_emb_0\.npy"):
        taken_in(tmp_path, photos, index)
    wide = write(tmp_path / "wide", np.ones((2, 9)), image_path=["0.png", "1.png"])
    with pytest.raises(GalleryError, match=rf"kit's width \({JOINT_DIM}\), got float64 .*\(2, 9\)"):
        taken_in(wide, photos, index)
    short = write(tmp_path / "short", np.ones((2, JOINT_DIM)), image_path=["0.png"])
    with pytest.raises(GalleryError, match="2 rows, as many as"):
        taken_in(short, photos, index)
    nameless = write(tmp_path / "nameless", np.ones((1, JOINT_DIM)), caption=["a"])
    with pytest.raises(GalleryError, match="must have a column image_path"):
        taken_in(nameless, photos, index)
    pickled = np.array([[object()] * JOINT_DIM])
    with pytest.raises(GalleryError, match="cannot be read"):
        taken_in(write(tmp_path / "pickled", pickled, image_path=["0.png"]), photos, index)
    assert not index.exists()
    good = write(tmp_path / "good", np.ones((1, JOINT_DIM)), image_path=["0.png"])
    with pytest.raises(GalleryError, match="has region codes, which imported vectors lack"):
        taken_in(good, photos, photos / ".duet")
