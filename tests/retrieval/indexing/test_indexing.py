"""What a second run finds: moved, copied, told anew, near-duplicates, several folders."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from retrieval.errors import GalleryError
from retrieval.indexing import embed
from retrieval.indexing.encode import IndexOptions, index_folder, index_folders
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(4):
        picture(number).save(root / f"{number}.png")
    return root


@pytest.fixture
def embedded(monkeypatch):
    """Counts the pictures that reach the encoder."""
    encoded = []
    encoding = Backbone.encode_image

    def counted(self, pixels):
        encoded.extend(range(len(pixels)))
        return encoding(self, pixels)

    monkeypatch.setattr(Backbone, "encode_image", counted)
    return encoded


def run(*folders, index=None, **options):
    index = index or folders[0] / ".duet"
    how = IndexOptions(batch_size=2, commit_every=2, **options)
    return index_folders(folders, index, tiny_backbone(), kit="tiny", options=how)


def captions(root):
    return {item.path: item.caption for item in Store.open(root / ".duet").items()}


def test_moved_and_touched_files_are_not_embedded_again(photos, embedded):
    run(photos)
    (photos / "deep").mkdir()
    (photos / "0.png").rename(photos / "deep" / "zero.png")
    (photos / "1.png").rename(photos / "swap.png")
    (photos / "2.png").rename(photos / "1.png")
    (photos / "swap.png").rename(photos / "2.png")
    os.utime(photos / "3.png", ns=(1, 1))
    before = Store.open(photos / ".duet").ids_and_vectors()
    embedded.clear()
    report = run(photos)
    assert (report.num_added, report.num_moved, report.num_removed, embedded) == (0, 4, 0, [])
    store = Store.open(photos / ".duet")
    assert [item.path for item in store.items()] == ["1.png", "2.png", "3.png", "deep/zero.png"]
    after = store.ids_and_vectors()
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.vectors, after.vectors)
    assert run(photos).num_kept == 4


def test_a_name_reused_by_another_picture_names_that_picture(photos):
    run(photos)
    (photos / "0.png").rename(photos / "z.png")
    picture(9).save(photos / "0.png")
    report = run(photos)
    assert (report.num_added, report.num_moved, report.num_removed) == (1, 1, 0)
    items = {item.path: item for item in Store.open(photos / ".duet").items()}
    assert sorted(items) == ["0.png", "1.png", "2.png", "3.png", "z.png"]
    store = Store.open(photos / ".duet")
    row = store.ids_and_vectors().ids.tolist().index(items["0.png"].id.encode())
    expected = embed.encode_images(tiny_backbone(), [picture(9)])[0]
    vector = torch.from_numpy(store.ids_and_vectors().vectors[row]).float()
    torch.testing.assert_close(vector, expected, atol=1e-3, rtol=0)


def test_captions_are_read_changed_and_dropped_without_embedding(photos, embedded):
    (photos / "0.txt").write_text("\ufeffa red\n  chair \n", encoding="utf-8")
    run(photos)
    assert captions(photos) == {"0.png": "a red chair", "1.png": "", "2.png": "", "3.png": ""}
    embedded.clear()
    (photos / "0.txt").write_text("a blue chair")
    os.utime(photos / "0.txt", ns=(5, 5))
    (photos / "1.txt").write_text("a stool")
    report = run(photos)
    assert (report.num_kept, report.num_updated, report.num_added) == (4, 2, 0)
    assert captions(photos) == {"0.png": "a blue chair", "1.png": "a stool"} | {
        "2.png": "",
        "3.png": "",
    }
    (photos / "0.txt").unlink()
    assert run(photos).num_updated == 1
    assert captions(photos)["0.png"] == ""
    assert run(photos).num_updated == 0
    assert embedded == []


def test_captions_that_cannot_be_used_are_reported_and_cost_no_picture(photos, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (photos / "0.txt").write_bytes(b"\xff\xfe\x00broken")
    (photos / "1.txt").write_text("x" * 20000)
    (photos / "2.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(photos / "3.txt")
    report = run(photos)
    reasons = {file.path: file.reason for file in report.captions_left_out}
    assert report.num_added == 4
    assert set(captions(photos).values()) == {""}
    assert "not UTF-8" in reasons["0.txt"]
    assert "longer than 16 KiB" in reasons["1.txt"]
    assert "is a link" in reasons["2.txt"]
    assert "cannot be read" in reasons["3.txt"]
    assert len(run(photos).captions_left_out) == 4


def test_what_a_table_knows_reaches_pictures_that_are_there(photos, embedded):
    (photos / "0.txt").write_text("from the text file")
    run(photos)
    embedded.clear()
    facts = {name: {"kind": "chair", "domain": "", "caption": name} for name in ("0.png", "1.png")}
    assert run(photos, facts_by_path=facts).num_updated == 2
    assert run(photos, facts_by_path=facts).num_updated == 0
    texts = captions(photos)
    assert (texts["0.png"], texts["1.png"], texts["2.png"]) == ("0.png", "1.png", "")
    assert embedded == []


def test_the_date_of_a_photo_is_kept_and_nothing_else_of_its_exif(photos):
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAM"
    exif.get_ifd(0x8769)[0x9003] = "2021:07:30 12:34:56"
    exif.get_ifd(0x8825)[1] = "N"
    picture(7).save(photos / "dated.jpg", exif=exif)
    exif.get_ifd(0x8769)[0x9003] = "0000:00:00 00:00:00"
    picture(8).save(photos / "undated.jpg", exif=exif)
    run(photos)
    items = {item.path: item for item in Store.open(photos / ".duet").items()}
    assert items["dated.jpg"].taken == "2021-07-30T12:34:56"
    assert items["undated.jpg"].taken == ""
    stored = b"".join(file.read_bytes() for file in (photos / ".duet").rglob("*") if file.is_file())
    assert b"2021-07-30T12:34:56" in stored
    assert b"SECRETCAM" not in stored


def test_a_rotated_photo_has_its_upright_size_and_is_decoded_smaller(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7, (1600, 1200)).save(photos / "turned.jpg", exif=exif)
    run(photos)
    store = Store.open(photos / ".duet")
    item = next(item for item in store.items() if item.path == "turned.jpg")
    assert (item.width_px, item.height_px) == (1200, 1600)
    row = store.ids_and_vectors().ids.tolist().index(item.id.encode())
    with Image.open(photos / "turned.jpg") as opened:
        whole = opened.convert("RGB").transpose(Image.Transpose.ROTATE_270)
    expected = embed.encode_images(tiny_backbone(), [whole])[0]
    vector = torch.from_numpy(store.ids_and_vectors().vectors[row]).float()
    assert float(vector @ expected) > 0.999


def test_near_duplicates_name_the_first_of_their_group(photos):
    large = picture(20, (400, 300))
    large.save(photos / "c.png")
    large.resize((200, 150)).save(photos / "d.png")
    saved = io.BytesIO()
    large.save(saved, "JPEG", quality=90)
    (photos / "a.jpg").write_bytes(saved.getvalue())
    options = {"near": 0.9995}  # the features of a tiny random tower differ little
    report = run(photos, **options)
    items = {item.path: item for item in Store.open(photos / ".duet").items()}
    assert report.num_near == 2
    first = items["a.jpg"]
    assert first.near == ""
    assert (items["c.png"].near, items["d.png"].near) == (first.id, first.id)
    assert all(items[f"{n}.png"].near == "" for n in range(4))
    large.resize((300, 225)).save(photos / "0-late.png")  # first by name, but not first to come
    run(photos, **options)
    items = {item.path: item for item in Store.open(photos / ".duet").items()}
    assert items["0-late.png"].near == first.id
    (photos / "a.jpg").unlink()
    assert run(photos, **options).num_near == 2
    items = {item.path: item for item in Store.open(photos / ".duet").items()}
    assert items["0-late.png"].near == "" or items["c.png"].near == ""
    assert {item.near for item in items.values()} <= {"", *(item.id for item in items.values())}


def test_several_folders_share_an_index_and_are_updated_alone(tmp_path, photos):
    other = tmp_path / "other"
    other.mkdir()
    picture(11).save(other / "x.png")
    index = tmp_path / "index"
    run(photos, other, index=index)
    store = Store.open(index)
    assert store.root == tmp_path
    assert {item.path for item in store.items()} == {
        "other/x.png",
        *(f"photos/{n}.png" for n in range(4)),
    }
    (photos / "0.png").unlink()
    (other / "x.png").unlink()
    (other / "copy.png").write_bytes((photos / "1.png").read_bytes())
    report = run(other, index=index)
    assert (report.num_removed, [file.path for file in report.skipped]) == (1, ["other/copy.png"])
    assert "same content as photos/1.png" in report.skipped[0].reason
    assert len(Store.open(index)) == 4
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    with pytest.raises(GalleryError, match=r"lies elsewhere.*--rebuild"):
        run(outside, index=index)


def test_pictures_that_moved_away_from_their_index_keep_their_rows(tmp_path, embedded):
    far = tmp_path / "far" / "photos"
    far.mkdir(parents=True)
    picture(0).save(far / "0.png")
    index = tmp_path / "near" / "index"
    run(far, index=index)
    embedded.clear()
    moved = far.rename(tmp_path / "moved")
    assert (run(moved, index=index).num_kept, embedded) == (1, [])
    assert Store.open(index).root == moved


def test_a_compacted_gallery_grows_and_shrinks(photos, monkeypatch):
    from retrieval.store import versions

    monkeypatch.setattr(versions, "INDEXED_ROWS", 2)
    monkeypatch.setattr(versions, "MAX_FRAGMENTS", 1)
    run(photos)
    store = Store.open(photos / ".duet")
    assert store.indexed_rows() == 4
    (photos / "0.png").unlink()
    for number in range(10, 16):
        picture(number).save(photos / f"{number}.png")
    run(photos)
    assert (len(store), store.indexed_rows()) == (9, 9)
    items = store.items()
    assert store.items_of([item.id for item in items]) == items
    store.update([replace(items[0], caption="told")])
    assert store.items_of([items[0].id])[0].caption == "told"


def test_the_order_of_files_does_not_depend_on_how_many_threads_read(photos):
    for number in range(40, 60):
        (photos / f"{number}.png").write_bytes((photos / "0.png").read_bytes())
    report = index_folder(
        photos,
        photos / ".duet",
        tiny_backbone(),
        kit="tiny",
        options=IndexOptions(batch_size=3, num_workers=8),
    )
    assert report.num_added == 4
    assert len(report.skipped) == 20
    assert all("same content as 0.png" in file.reason for file in report.skipped)
