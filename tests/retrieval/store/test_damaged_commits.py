"""A newest commit that was cut or zeroed is moved away, and the earlier ones come back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import DamagedIndexError, GalleryError
from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.store.damage import commits, version_of
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "zeros at the end": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "one byte less": lambda data: data[:-1],
    "something else": lambda data: b"not a commit" * 40,
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(4):
        picture(number).save(root / f"{number}.png")
    update(root)
    picture(4).save(root / "4.png")
    update(root)
    return root


def update(root: Path) -> None:
    options = IndexOptions(batch_size=2, commit_every=2)
    index_folder(root, root / ".duet", tiny_backbone(), kit="tiny", options=options)


def damage(index: Path, kind: str, num: int = 1) -> list[int]:
    """Damages the newest commits; their numbers."""
    files = commits(index / "items.lance")[:num]
    for file in files:
        file.write_bytes(DAMAGES[kind](file.read_bytes()))
    return [version_of(file) for file in files]


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_commits_before_come_back(photos: Path, kind: str):
    index = photos / ".duet"
    (number,) = damage(index, kind)
    with pytest.raises(DamagedIndexError, match=r"is damaged.*duet index .* --repair$") as raised:
        Store.open(index)
    assert "lance" not in str(raised.value)
    with pytest.raises(DamagedIndexError, match="--repair"):
        update(photos)
    report = check_index(index)
    assert not report.is_sound
    assert [finding.what for finding in report.findings] == [
        "The newest commit is damaged, so the index cannot be opened."
    ]
    repaired = check_index(index, repair=True)
    assert repaired.is_sound
    assert 4 <= repaired.num_items <= 5
    mended = repaired.findings[0].mended
    assert mended.startswith(f"Commit {number} moved to {index / 'damaged'}")
    assert f"the {repaired.num_items} pictures" in mended
    assert [file.name for file in (index / "damaged").iterdir()] == [f"version-{number}-1.manifest"]
    update(photos)
    assert len(Store.open(index)) == 5
    assert check_index(index).findings == ()


def test_several_damaged_commits_are_moved_away(photos: Path):
    numbers = damage(photos / ".duet", "half", num=3)
    report = check_index(photos / ".duet", repair=True)
    assert report.is_sound
    assert " and ".join(map(str, numbers)) in report.findings[0].mended
    update(photos)
    assert len(Store.open(photos / ".duet")) == 5


def test_a_table_without_a_sound_commit_is_left_as_it_is(photos: Path):
    index = photos / ".duet"
    damage(index, "half", num=100)
    before = commits(index / "items.lance")
    with pytest.raises(GalleryError, match=r"No commit .* can be read. Rebuild it with"):
        check_index(index, repair=True)
    assert commits(index / "items.lance") == before
    assert not (index / "damaged").exists()


def test_a_cached_matrix_of_a_number_that_comes_again_is_not_read(photos: Path):
    index = photos / ".duet"
    (index / "cache").mkdir(exist_ok=True)
    (index / "cache" / "old.npy").write_bytes(b"old")
    damage(index, "zeros")
    check_index(index, repair=True)
    assert not (index / "cache" / "old.npy").exists()
    discard_index(index)
    assert not (index / "damaged").exists()
