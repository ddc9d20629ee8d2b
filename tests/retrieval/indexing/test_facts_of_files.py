"""Facts of files that are easily missed: copies, spellings of names, silent changes of content."""

import io
import os
import unicodedata
from dataclasses import replace

import pytest
import torch
from PIL import Image

from retrieval.filters.language import parse
from retrieval.indexing.encode import IndexOptions, index_folders
from retrieval.search import Gallery, Refinement
from retrieval.store.maintenance import check_index
from retrieval.store.schema import SCHEMA_VERSION, read_manifest
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture
from tests.retrieval.queries import query_of


def NFC(text):  # noqa: N802
    return unicodedata.normalize("NFC", text)


def NFD(text):  # noqa: N802
    return unicodedata.normalize("NFD", text)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("2019/originals/1.png", "2019/2.png", "best/own.png")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(file)
    return tmp_path / "photos"


def run(*folders, index=None, **options):
    index = index or folders[0] / ".duet"
    how = IndexOptions(batch_size=2, commit_every=2, **options)
    return index_folders(folders, index, tiny_backbone(), kit="tiny", options=how)


def copy(file, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(file.read_bytes())


def hits_where(index, text):
    """Hits of a search with a filter."""
    backbone = tiny_backbone()
    gallery = Gallery.open(index, backbone.gallery_hash)
    feature = torch.ones(backbone.joint_dim) / backbone.joint_dim**0.5
    query = replace(query_of(feature, None, feature), gallery_hash=backbone.gallery_hash)
    ranking = gallery.search(query, where=parse(text), refinement=Refinement(folds=False))
    return ranking.hits


def paths_where(index, text):
    """Paths of hits of a search with a filter, sorted."""
    return sorted(hit.path for hit in hits_where(index, text))


def test_a_copy_is_found_by_the_filter_of_each_of_its_folders(photos):
    copy(photos / "2019/originals/1.png", photos / "best/1.png")
    copy(photos / "2019/originals/1.png", photos / "prints/large/again.png")
    report = run(photos)
    assert report.num_added == 3
    index = photos / ".duet"
    assert paths_where(index, "folder = 'best'") == ["best/1.png", "best/own.png"]
    assert paths_where(index, "folder = 'prints'") == ["prints/large/again.png"]
    assert paths_where(index, "folder = '2019/originals'") == ["2019/originals/1.png"]
    assert paths_where(index, "not folder = 'best'") == ["2019/2.png"]
    assert len(paths_where(index, "width > 0")) == 3
    item = next(item for item in Store.open(index).items() if item.copies)
    assert item.copies == ("best/1.png", "prints/large/again.png")
    assert sorted(file.path for file in report.skipped) == list(item.copies)


def test_a_hit_lists_the_other_paths_of_its_content(photos):
    copy(photos / "2019/originals/1.png", photos / "best/1.png")
    run(photos)
    for folder, path, other in (
        ("best", "best/1.png", "2019/originals/1.png"),
        ("2019/originals", "2019/originals/1.png", "best/1.png"),
    ):
        hits = {hit.path: hit for hit in hits_where(photos / ".duet", f"folder = '{folder}'")}
        assert hits[path].metadata["copies"] == [other]


def test_copies_come_and_go(photos):
    run(photos)
    copy(photos / "2019/2.png", photos / "late/2.png")
    assert run(photos).num_added == 0
    assert paths_where(photos / ".duet", "folder = 'late'") == ["late/2.png"]
    run(photos)
    assert paths_where(photos / ".duet", "folder = 'late'") == ["late/2.png"]
    (photos / "late/2.png").unlink()
    run(photos)
    assert paths_where(photos / ".duet", "folder = 'late'") == []
    assert len(Store.open(photos / ".duet")) == 3


def test_a_copy_takes_the_place_of_its_original(photos):
    copy(photos / "2019/2.png", photos / "best/2.png")
    run(photos)
    (photos / "2019/2.png").unlink()
    assert (run(photos).num_added, len(Store.open(photos / ".duet"))) == (0, 3)
    assert paths_where(photos / ".duet", "folder = 'best'") == ["best/2.png", "best/own.png"]


def test_folders_that_are_indexed_apart_know_each_other_s_copies(photos, tmp_path):
    index = tmp_path / "index"
    run(photos / "2019", photos / "best", index=index)
    copy(photos / "2019/2.png", photos / "best/2.png")
    assert run(photos / "best", index=index).num_added == 0
    assert paths_where(index, "folder = 'best'") == ["best/2.png", "best/own.png"]
    run(photos / "2019", index=index)
    assert paths_where(index, "folder = 'best'") == ["best/2.png", "best/own.png"]
    (photos / "2019/2.png").unlink()
    assert run(photos / "2019", index=index).num_removed == 0
    assert paths_where(index, "folder = 'best'") == ["best/2.png", "best/own.png"]
    assert run(photos / "2019", photos / "best", index=index).num_kept >= 2
    assert len(Store.open(index)) == 3


@pytest.mark.parametrize("on_disk", [NFC, NFD], ids=["composed on disk", "apart on disk"])
@pytest.mark.parametrize("asked", [NFC, NFD], ids=["asked composed", "asked apart"])
@pytest.mark.parametrize("folder", ["Küche", "été/Señor", "Ångström/한글"])
def test_names_meet_in_either_spelling(tmp_path, on_disk, asked, folder):
    inner = tmp_path / on_disk(folder)
    inner.mkdir(parents=True)
    picture(1).save(inner / "1.png")
    (inner / "1.txt").write_text(on_disk("ein grüner Stuhl"), encoding="utf-8")
    picture(2).save(tmp_path / "2.png")
    facts = {asked(f"{folder}/1.png"): {"kind": on_disk("Möbel")}}
    run(tmp_path, facts_by_path={NFC(path): known for path, known in facts.items()})
    name = on_disk(f"{folder}/1.png")
    assert paths_where(tmp_path / ".duet", asked(f"folder = '{folder}'")) == [name]
    assert paths_where(tmp_path / ".duet", asked("caption contains 'Grün'")) == [name]
    assert paths_where(tmp_path / ".duet", asked("kind = 'Möbel'")) == [name]


def test_a_caption_file_is_found_in_either_spelling(tmp_path):
    for number, (picture_name, text_name) in enumerate(((NFC, NFD), (NFD, NFC))):
        picture(number).save(tmp_path / picture_name(f"é{number}.png"))
        (tmp_path / text_name(f"é{number}.txt")).write_text(f"caption {number}")
    run(tmp_path)
    items = Store.open(tmp_path / ".duet").items()
    assert sorted(item.caption for item in items) == ["caption 0", "caption 1"]


def flat_picture(red):
    """A PNG of one colour, of the same size whatever the colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (red, 20, 200)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


@pytest.fixture
def flats(tmp_path):
    """Pictures of the same size in bytes: flat PNGs that differ in one colour."""
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(flat_picture(50 + number))
    assert len({file.stat().st_size for file in tmp_path.glob("*.png")}) == 1
    return tmp_path


def replace_silently(file, data):
    status = file.stat()
    assert len(data) == status.st_size
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_rewritten_with_the_same_size_and_time_is_read_again(flats):
    run(flats)
    before = {item.path: item.id for item in Store.open(flats / ".duet").items()}
    replace_silently(flats / "2.png", flat_picture(99))
    report = run(flats)
    after = {item.path: item.id for item in Store.open(flats / ".duet").items()}
    assert (report.num_added, report.num_removed, report.num_kept) == (1, 1, 3)
    assert before["2.png"] != after["2.png"]
    assert {path for path in before if before[path] == after[path]} == {"0.png", "1.png", "3.png"}
    assert run(flats).num_kept == 4


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_read_again(flats):
    run(flats)
    (flats / "new.bin").write_bytes(flat_picture(99))
    status = (flats / "2.png").stat()
    os.utime(flats / "new.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    (flats / "new.bin").replace(flats / "2.png")
    assert (run(flats).num_added, run(flats).num_kept) == (1, 4)


def test_a_caption_rewritten_with_the_same_size_and_time_is_read_again(flats):
    (flats / "2.txt").write_text("a red chair")
    run(flats)
    replace_silently(flats / "2.txt", b"a tan chair")
    assert run(flats).num_updated == 1
    captions = {item.path: item.caption for item in Store.open(flats / ".duet").items()}
    assert captions["2.png"] == "a tan chair"


def test_a_touched_entry_is_read_but_not_embedded_again(flats, monkeypatch):
    run(flats)
    (flats / "1.png").chmod(0o600)
    monkeypatch.setattr("retrieval.indexing.embed.encode_levels", None)
    assert run(flats).num_moved == 1
    assert run(flats).num_kept == 4


def test_the_check_reads_contents(flats):
    run(flats)
    assert check_index(flats / ".duet").findings == ()
    replace_silently(flats / "2.png", flat_picture(99))
    report = check_index(flats / ".duet")
    assert not report.is_sound
    assert [finding.what for finding in report.findings] == [
        "1 pictures have changed since they were indexed."
    ]
    assert report.findings[0].examples == ("2.png",)
    assert check_index(flats / ".duet", repair=True).is_sound
    assert run(flats).num_added == 1
    assert check_index(flats / ".duet").findings == ()


def test_an_index_has_the_current_layout(flats):
    run(flats)
    assert read_manifest(flats / ".duet").schema == SCHEMA_VERSION
    assert Store.open(flats / ".duet").has_copies
