"""Paths of an index that lead out of its folder: links in place of pictures, forged rows."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composer.images import ImageError
from retrieval.files import leaves_folder, open_gallery_picture, picture_file
from retrieval.indexing.encode import index_folder
from retrieval.indexing.pixels import PixelComparison
from retrieval.store.maintenance import check_index
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

FORGED = ("../secret.png", "sub/../../secret.png", "ABSOLUTE", "../photos/../secret.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(4):
        picture(number).save(root / f"{number}.png")
    picture(9).save(tmp_path / "secret.png")
    index_folder(root, root / ".duet", tiny_backbone(), kit="tiny")
    return root


def put_link(photos: Path) -> None:
    (photos / "1.png").unlink()
    (photos / "1.png").symlink_to(photos.parent / "secret.png")


def forge(photos: Path, path: str) -> None:
    store = Store.open(photos / ".duet")
    item = store.items()[1]
    store.update([replace(item, path=path.replace("ABSOLUTE", str(photos.parent / "secret.png")))])


@pytest.mark.parametrize("path", [*FORGED, "no\0such.png"])
def test_no_path_leads_out_of_the_folder(photos: Path, path: str):
    secret = str(photos.parent / "secret.png")
    with pytest.raises(ImageError, match=r"is not read|cannot be read"):
        open_gallery_picture(picture_file(photos, path.replace("ABSOLUTE", secret)))


def test_a_picture_that_became_a_link_is_not_read(photos: Path):
    file = picture_file(photos, "1.png")
    assert open_gallery_picture(file).size == picture(1).size
    put_link(photos)
    for named in (file, picture_file(photos, "1.png")):
        assert leaves_folder(named)
        with pytest.raises(ImageError, match="lies outside the gallery, and is not read"):
            open_gallery_picture(named)


def test_links_within_the_folder_and_to_the_folder_are_read(photos: Path, tmp_path: Path):
    (photos / "link.png").symlink_to(photos / "2.png")
    (tmp_path / "other").symlink_to(photos)
    assert picture_file(photos, "link.png") == photos / "2.png"
    for root in (photos, tmp_path / "other"):
        assert open_gallery_picture(picture_file(root, "link.png")).size == picture(2).size


def test_near_duplicates_are_not_looked_for_outside(photos: Path):
    """A copy below the folder is near, one outside, behind a link or in a pipe is not read."""
    content = (photos / "1.png").read_bytes()
    for copy in (photos / "copy.png", photos.parent / "secret.png"):
        copy.write_bytes(content)
    (photos / "link.png").symlink_to(photos.parent / "secret.png")
    os.mkfifo(photos / "pipe.png")
    secret = str(photos.parent / "secret.png")
    paths = ["1.png", "copy.png", "link.png", "pipe.png"]
    paths += [path.replace("ABSOLUTE", secret) for path in FORGED]
    others = np.arange(1, len(paths))
    near = PixelComparison(photos, paths).confirm(np.zeros_like(others), others)
    assert near.tolist() == [True] + [False] * (len(paths) - 2)


@pytest.mark.parametrize("path", FORGED)
def test_a_check_finds_forged_paths(photos: Path, path: str):
    forge(photos, path)
    report = check_index(photos / ".duet")
    assert [finding.what for finding in report.findings][:1] == [
        f"1 rows name a link or a path that leads out of {photos}."
    ]
    assert not report.is_sound
    assert check_index(photos / ".duet", repair=True).is_sound
    assert len(Store.open(photos / ".duet")) == 3
    assert check_index(photos / ".duet").findings == ()


def test_a_check_finds_a_link_even_to_the_same_content(photos: Path):
    (photos.parent / "secret.png").write_bytes((photos / "1.png").read_bytes())
    put_link(photos)
    (finding,) = check_index(photos / ".duet").findings
    assert finding.examples == ("1.png",)
    assert "leads out" in finding.what
