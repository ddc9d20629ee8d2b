"""Which files of a folder count as pictures."""

import pytest

from retrieval.errors import GalleryError
from retrieval.indexing.walk import Candidate, Skipped, walk


def paths(files, kind):
    return [file.path for file in files if isinstance(file, kind)]


def test_pictures_come_in_a_stable_order_and_hidden_ones_are_not(tmp_path):
    for name in ("b/2.png", "a.JPG", "b/1.webp", ".git/x.png", "b/.hidden.png", "notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert paths(walk(tmp_path), Candidate) == ["a.JPG", "b/1.webp", "b/2.png"]


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


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(GalleryError, match=r"There is no folder .*; check the path\."):
        next(walk(tmp_path / "nowhere"))
