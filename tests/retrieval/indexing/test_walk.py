"""Which files of a folder count as pictures."""

import io
import os

import pytest
from PIL import Image

from retrieval.errors import GalleryError
from retrieval.indexing.walk import Candidate, Skipped, is_picture_name, walk


def paths(files, kind):
    return [file.path for file in files if isinstance(file, kind)]


def test_pictures_come_in_a_stable_order_and_hidden_ones_are_not(tmp_path):
    for name in ("b/2.png", "a.JPG", "b/1.webp", ".git/x.png", "b/.hidden.png", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert paths(walk(tmp_path), Candidate) == ["a.JPG", "b/1.webp", "b/2.png"]


@pytest.mark.parametrize(
    ("name", "is_picture"),
    [
        *(
            (name, True)
            for name in ("a.JFIF", "a.jpg_large", "a.png~", "a.b.jpeg", "IMG.CR2", "x.dng")
        ),
        *((name, False) for name in ("jpg", "a.txt", "png.md", "a.", "a.jp", "a.xcr2")),
    ],
)
def test_pictures_by_name(name, is_picture):
    assert is_picture_name(name) is is_picture


def encoded(fmt):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, fmt)
    return buffer.getvalue()


def test_pictures_with_other_endings_or_none_are_told_by_their_content(tmp_path):
    pictures = {
        **{name: encoded("JPEG") for name in ("IMG_0001", "a.jpg.download", "b.JPG (1)", "c.bak")},
        **{"d.image": encoded("PNG"), "e.part": encoded("WEBP"), "f.tmp": encoded("GIF")},
        **{"g.xyz": b"II*\0" + bytes(9), "h.old": b"8BPS", "i": b"\0\0\0\x18ftypcrx " + bytes(9)},
    }
    others = {"j.md": b"# JPEG", "k.mp4": b"\0\0\0\x18ftypmp42", "l": b"", "m.txt": encoded("PNG")}
    for name, data in (pictures | others).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "IMG_0001.txt").write_text("a caption")
    os.mkfifo(tmp_path / "n")
    found = {file.path: file for file in walk(tmp_path) if isinstance(file, Candidate)}
    assert found.keys() == pictures.keys()
    assert found["IMG_0001"].caption_file == tmp_path / "IMG_0001.txt"


def test_links_out_of_the_root_are_reported_and_never_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret.png").touch()
    (root / "own.png").touch()
    (root / "leak.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "alias.png").symlink_to(root / "own.png")
    files = list(walk(root))
    assert paths(files, Candidate) == ["alias.png", "own.png"]
    assert paths(files, Skipped) == ["folder", "leak.png"]


def test_no_entry_stops_the_walk(tmp_path):
    """Links to themselves, to each other and in long chains are listed; all pictures are found."""
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    for name in ("itself", "itself.png"):
        (tmp_path / name).symlink_to(tmp_path / name)
    for first, second in (("a", "b"), ("b", "a")):
        (tmp_path / first).symlink_to(tmp_path / second)
    (tmp_path / "m.txt").symlink_to(tmp_path / "m.txt")
    chain = tmp_path / "m.png"
    for number in range(60):
        link = tmp_path / f"z{number}.png"
        link.symlink_to(chain)
        chain = link
    found = list(walk(tmp_path))
    assert "m.png" in {item.path for item in found if isinstance(item, Candidate)}
    skipped = {item.path: item.reason for item in found if isinstance(item, Skipped)}
    assert {"itself", "itself.png", "a", "b", "z59.png"} <= skipped.keys()
    assert "back to itself" in skipped["a"]
    assert "back to itself" in skipped["itself.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_link_into_a_closed_folder_is_listed(tmp_path):
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(closed / "inner")
    Image.new("RGB", (4, 4)).save(tmp_path / "own.png")
    closed.chmod(0)
    try:
        found = list(walk(tmp_path))
    finally:
        closed.chmod(0o700)
    assert [item.path for item in found if isinstance(item, Candidate)] == ["own.png"]
    assert {item.path for item in found if isinstance(item, Skipped)} == {"closed/", "link"}


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(GalleryError, match=r"There is no folder .*; check the path\."):
        next(walk(tmp_path / "nowhere"))
