"""Folders and archives read in place."""

import gzip
import io
import os
import pickle
import shutil
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from composer.data import tree as tree_module
from composer.data.tree import DatasetError, Tree, is_picture, summarise

FILES = {
    "data/set/photo/dog/1.jpg": b"first" * 40,
    "data/set/photo/dog/2.jpg": b"",
    "data/set/photo/cat/1.jpg": os.urandom(5000),
    "data/set/sketch/dog/1-1.png": b"third",
    "data/README.txt": b"hello",
}
HIDDEN = {"data/.DS_Store": b"x", "__MACOSX/data/._1.jpg": b"x", "data/set/.git/config": b"x"}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(folder: Path, kind: str) -> Path:
    if kind == "folder":
        return folder
    if kind == "zip stored":
        out = folder.parent / "stored.zip"
        with zipfile.ZipFile(out, "w") as archive:
            for file in folder.rglob("*"):
                archive.write(file, file.relative_to(folder))
        return out
    formats = {"tar": "tar", "tar.gz": "gztar", "zip": "zip"}
    return Path(shutil.make_archive(str(folder.parent / "packed"), formats[kind], folder))


@pytest.fixture(params=["folder", "tar", "tar.gz", "zip", "zip stored"])
def source(request, tmp_path):
    return pack(write_folder(tmp_path / "made", {**FILES, **HIDDEN}), request.param)


def tar_with(path, member, data=b""):
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(data))
    return path


def test_every_kind_lists_the_same_files_and_gives_their_bytes(source):
    tree = Tree.open(source)
    assert tree.files == tuple(sorted(map(PurePosixPath, FILES)))
    for file in tree.files:
        assert tree.read(file) == FILES[str(file)]


def test_files_under_a_folder(source):
    tree = Tree.open(source)
    dogs = tuple(PurePosixPath(f"data/set/photo/dog/{n}.jpg") for n in (1, 2))
    assert tree.under("data", "set", "photo", "dog") == dogs
    assert tree.under("data/set/photo/dog") == dogs
    assert tree.under("data/set/photo/do") == ()
    assert tree.under("data/README.txt") == ()


def test_wrapper_folders_drop_away(source):
    tree = Tree.open(source)
    assert tree.locate("photo", "sketch") == PurePosixPath("data/set")
    below = tree.rooted("photo", "sketch")
    assert below.files[0] == PurePosixPath("photo/cat/1.jpg")
    assert below.read(PurePosixPath("sketch/dog/1-1.png")) == b"third"
    assert below.rooted("dog", "cat").read(PurePosixPath("dog/2.jpg")) == b""
    assert below.rooted("photo").files == below.files


def test_threads_and_copies_read_one_tree(source):
    tree = Tree.open(source)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(tree.read, tree.files * 50))
    assert read == [FILES[str(file)] for file in tree.files * 50]
    copied = pickle.loads(pickle.dumps(tree))
    assert copied.read(PurePosixPath("data/README.txt")) == b"hello"


def test_a_missing_folder_is_named_with_what_is_there(source):
    with pytest.raises(
        DatasetError, match=r"must hold photo/ and video/, but holds data\. Ask Ann"
    ):
        Tree.open(source).rooted("photo", "video", hint="Ask Ann.")
    with pytest.raises(DatasetError, match=r"has no file photo/dog/9\.jpg"):
        Tree.open(source).rooted("photo").read(PurePosixPath("photo/dog/9.jpg"))


def test_two_candidates_are_refused(tmp_path):
    folder = write_folder(tmp_path / "s", {"a/photo/1.jpg": b"1", "b/photo/1.jpg": b"1"})
    with pytest.raises(DatasetError, match=r"holds photo/ in a and in b"):
        Tree.open(folder).rooted("photo")


def test_the_nearest_candidate_is_taken(tmp_path):
    files = {"set/photo/1.jpg": b"near", "set/old/photo/1.jpg": b"far"}
    below = Tree.open(write_folder(tmp_path / "s", files)).rooted("photo")
    assert below.read(PurePosixPath("photo/1.jpg")) == b"near"


def test_zip_entries_with_extra_fields_are_read(tmp_path):
    info = zipfile.ZipInfo("a.jpg")
    info.extra = b"\x01\x99\x04\x00four"
    with zipfile.ZipFile(tmp_path / "extra.zip", "w") as archive:
        archive.writestr(info, b"data")
    assert Tree.open(tmp_path / "extra.zip").read(PurePosixPath("a.jpg")) == b"data"


def test_nothing_and_unknown_archives_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="it does not exist"):
        Tree.open(tmp_path / "none.tar")
    with pytest.raises(DatasetError, match="it is empty"):
        Tree.open(tmp_path)
    (tmp_path / "set.7z").write_bytes(b"7z")
    with pytest.raises(DatasetError, match=r"a \.zip, got set\.7z\. Unpack it"):
        Tree.open(tmp_path / "set.7z")


@pytest.mark.parametrize("name", ["broken.tar", "broken.zip", "broken.tar.gz"])
def test_damaged_archives_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive " * 100)
    with pytest.raises(DatasetError, match="damaged or cut short"):
        Tree.open(tmp_path / name)


@pytest.mark.parametrize("name", ["../out.jpg", "/abs.jpg", "a/../../b.jpg", "a\\..\\b.jpg"])
def test_paths_that_leave_an_archive_are_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="must stay inside it"):
        Tree.open(tar_with(tmp_path / "bad.tar", tarfile.TarInfo(name)))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DatasetError, match="must stay inside it"):
        Tree.open(tmp_path / "bad.zip")


def test_links_in_an_archive_are_left_out(tmp_path):
    link = tarfile.TarInfo("photo/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with pytest.raises(DatasetError, match="it is empty"):
        Tree.open(tar_with(tmp_path / "links.tar", link))
    zipped = zipfile.ZipInfo("link.jpg")
    zipped.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr(zipped, "/etc/hostname")
    with pytest.raises(DatasetError, match="it is empty"):
        Tree.open(tmp_path / "links.zip")


def test_a_changed_byte_in_a_zip_is_noticed(tmp_path):
    path = pack(write_folder(tmp_path / "made", FILES), "zip stored")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"third", b"thirD"))
    with pytest.raises(DatasetError, match=r"sketch/dog/1-1\.png of stored\.zip is damaged"):
        Tree.open(path).read(PurePosixPath("data/set/sketch/dog/1-1.png"))


def test_a_tar_that_was_cut_after_it_was_opened_is_noticed(tmp_path):
    path = pack(write_folder(tmp_path / "made", FILES), "tar")
    tree = Tree.open(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DatasetError, match="is damaged and cannot be read"):
        [tree.read(file) for file in tree.files]


def test_unusual_packing_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "l.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.jpg", b"x" * 100)
    with pytest.raises(DatasetError, match=r"a\.jpg is encrypted or packed in an unusual way"):
        Tree.open(tmp_path / "l.zip")


def test_a_large_compressed_tar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_module, "MAX_UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "big.tar.gz", "wb") as opened:
        opened.write(bytes(2 << 20))
    with pytest.raises(DatasetError, match=r"more than 1 MiB.*gunzip"):
        Tree.open(tmp_path / "big.tar.gz")


def test_names_for_messages():
    assert summarise({"b", "a"}) == "a, b"
    assert summarise(range(9), 2) == "0, 1 and 7 more"
    assert is_picture(PurePosixPath("a/ILSVRC2012_val_00000001.JPEG"))
    assert not is_picture(PurePosixPath("a/list.txt"))
