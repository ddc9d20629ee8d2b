"""Commits of a table that cannot be read, such as those that a power cut left behind."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from composer.files import sync

_VERSIONS = "_versions"
_LARGEST = (1 << 64) - 1  # the engine counts down from it, so that the newest comes first by name
_DIGITS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """Commits that were moved away from a table.

    Attributes:
        versions: Their numbers, the newest first; empty if the table could be opened.
        folder: Where they lie.
    """

    versions: tuple[int, ...]
    folder: Path


def set_aside_newest(table: Path, folder: Path, opens: Callable[[], bool]) -> SetAside | None:
    """Move the newest commits of a table away until it opens; change nothing if it never does.

    Args:
        table: Folder of the table.
        folder: Where damaged commits are kept.
        opens: Tells whether the table opens.

    Returns:
        What was moved; None if no commit opens.
    """
    moved: list[tuple[Path, Path]] = []
    versions: list[int] = []
    for commit in commits(table):
        if opens():
            break
        folder.mkdir(exist_ok=True)
        number = version_of(commit)
        target = _free(folder, f"version-{number}")
        commit.rename(target)
        moved.append((commit, target))
        versions.append(number)
    if moved and not opens():
        for commit, target in moved:
            target.rename(commit)
        with suppress(OSError):  # what an earlier repair moved is kept
            folder.rmdir()
        return None
    if moved:
        sync(folder)
        sync(table / _VERSIONS)
    return SetAside(versions=tuple(versions), folder=folder)


def commits(table: Path) -> list[Path]:
    """Return the files of a table's commits, the newest first."""
    files = [
        file for file in (table / _VERSIONS).glob("*.manifest") if file.stem.isascii()
        and file.stem.isdigit()
    ]  # fmt: skip
    return sorted(files, key=version_of, reverse=True)


def version_of(commit: Path) -> int:
    """Return the number of a commit, which earlier tables count up."""
    number = int(commit.stem)
    return _LARGEST - number if len(commit.stem) == _DIGITS else number


def _free(folder: Path, name: str) -> Path:
    number = 1
    while (file := folder / f"{name}-{number}.manifest").exists():
        number += 1
    return file
