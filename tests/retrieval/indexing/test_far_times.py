"""Times far from today, and commits by time."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retrieval.indexing.embed import LocalEmbedder
from retrieval.indexing.encode import IndexOptions, index_folder, index_folders
from retrieval.indexing.walk import storable_ns
from retrieval.store.table import Store
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

YEARS = (1900, 1969, 2300, 2440)
S_OF = {year: int(datetime(year, 6, 1, tzinfo=UTC).timestamp()) for year in YEARS}


def update(root: Path) -> Any:
    return index_folder(root, root / ".duet", tiny_backbone(), kit="tiny")


def test_a_time_of_any_year_is_indexed(tmp_path: Path):
    for number, year in enumerate(YEARS):
        file = tmp_path / f"{year}.png"
        picture(number).save(file)
        caption = file.with_suffix(".txt")
        caption.write_text(f"of {year}")
        for each in (file, caption):
            os.utime(each, (S_OF[year], S_OF[year]))
    report = update(tmp_path)
    assert (report.num_added, report.skipped) == (4, ())
    captions = {item.path: item.caption for item in Store.open(tmp_path / ".duet").items()}
    assert captions == {f"{year}.png": f"of {year}" for year in YEARS}
    again = update(tmp_path)
    assert (again.num_added, again.num_kept) == (0, 4)


def test_a_time_is_stored_in_64_bits():
    assert storable_ns(0) == 0
    assert storable_ns(-1) == -1
    assert storable_ns(S_OF[2300] * 10**9) == 2**63 - 1
    assert storable_ns(-(10**30)) == -(2**63)


@pytest.mark.parametrize(("commit_s", "num_kept"), [(0.0, 3), (3600.0, 0)])
def test_pictures_are_committed_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit_s: float, num_kept: int
):
    """An interruption after three pictures, long before a commit by number."""
    for number in range(5):
        picture(number).save(tmp_path / f"{number}.png")
    embed = LocalEmbedder.embed

    def interrupted(self: LocalEmbedder, *arguments: Any) -> Any:
        for number, result in enumerate(embed(self, *arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(LocalEmbedder, "embed", interrupted)
    options = IndexOptions(commit_s=commit_s)
    backbone, index = tiny_backbone(), tmp_path / ".duet"
    with pytest.raises(KeyboardInterrupt):
        index_folders([tmp_path], index, backbone, kit="tiny", options=options)
    assert len(Store.open(index)) == num_kept


def test_the_defaults_lose_at_most_half_a_minute():
    assert (IndexOptions().commit_every, IndexOptions().commit_s) == (1000, 30.0)
