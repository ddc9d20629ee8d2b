"""The pictures of a folder: which there are, which cannot be used and why."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import GalleryError
from retrieval.files import printable

# What people call an image. Of these, PNG, JPEG and WebP are read; the others are reported.
IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".webp"),
        *(".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".psd", ".svg"),
    )
)
CAPTION_SUFFIX = ".txt"
_LEADS_OUT = "It is a link that leads out of the folder."


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that looks like a picture.

    Attributes:
        path: Below the root, with forward slashes.
        file: On disk.
        size_bytes: Of the file.
        mtime_ns: Of the file, nanoseconds since the epoch.
        caption_file: The text file beside it that has its stem, if there is one.
        caption_mtime_ns: Of that text file; 0 without one.
    """

    path: str
    file: Path
    size_bytes: int
    mtime_ns: int
    caption_file: Path | None
    caption_mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file that was left out, and the reason in one sentence; the path can be printed."""

    path: str
    reason: str


def walk(root: Path, folders: Sequence[Path] | None = None) -> Iterator[Candidate | Skipped]:
    """Yield every file that looks like a picture, in a stable order.

    Hidden files and folders are passed over. A link is followed when it ends inside the root;
    a link out of it is reported, never read.

    Args:
        root: Where paths begin.
        folders: Which folders to look into, all of them below the root; None for the root.

    Raises:
        GalleryError: A folder is not there or cannot be read.
    """
    folders = [root] if folders is None else folders
    for folder in folders:
        if not folder.is_dir():
            raise GalleryError(f"There is no folder {printable(folder)}; check the path.")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise GalleryError(f"{printable(folder)} cannot be read; check its permissions.")
    walker = _Walker(root.resolve())
    for folder in folders:
        below = folder.resolve().relative_to(root.resolve()).as_posix()
        yield from walker.walk(folder, "" if below == "." else f"{below}/")


class _Walker:
    """Remembers which folders it has been to, so that links cannot make it turn in circles."""

    def __init__(self, real_root: Path) -> None:
        self._real_root = real_root
        self._seen: set[Path] = set()

    def walk(self, folder: Path, below: str) -> Iterator[Candidate | Skipped]:
        waiting = [(folder, below)]  # no recursion: folders may lie thousands deep
        while waiting:
            folder, below = waiting.pop()
            real = folder.resolve()
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                with os.scandir(folder) as listing:
                    entries = {one.name: one for one in listing if not one.name.startswith(".")}
            except OSError:
                yield Skipped(path=printable(below), reason="The folder cannot be read.")
                continue
            inner: list[str] = []
            for name in sorted(entries):
                yield from self._look_at(entries, name, below, inner)
            waiting += [(folder / name, f"{below}{name}/") for name in reversed(inner)]

    def _look_at(
        self, entries: "dict[str, os.DirEntry[str]]", name: str, below: str, inner: list[str]
    ) -> Iterator[Candidate | Skipped]:
        """Yield what a name is as a picture, or note it among the inner folders."""
        entry = entries[name]
        stem, _, suffix = name.rpartition(".")
        is_picture = f".{suffix.lower()}" in IMAGE_SUFFIXES
        if entry.is_symlink() and not self._ends_inside(entry):
            if is_picture or entry.is_dir():
                yield Skipped(path=printable(below + name), reason=_LEADS_OUT)
        elif entry.is_dir():
            inner.append(name)
        elif is_picture:
            yield _candidate(entry, below + name, entries.get(stem + CAPTION_SUFFIX))

    def _ends_inside(self, entry: "os.DirEntry[str]") -> bool:
        try:
            return Path(entry.path).resolve().is_relative_to(self._real_root)
        except (OSError, RuntimeError):  # a link to itself
            return False


def _candidate(
    entry: "os.DirEntry[str]", path: str, text: "os.DirEntry[str] | None"
) -> Candidate | Skipped:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Skipped(path=printable(path), reason="Its name is not UTF-8; rename it.")
    try:
        found = entry.stat()
    except OSError:
        return Skipped(path=printable(path), reason="It cannot be read.")
    if not stat.S_ISREG(found.st_mode):
        return Skipped(path=printable(path), reason="It is a pipe, a socket or a device.")
    return Candidate(
        path=path,
        file=Path(entry.path),
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        caption_file=None if text is None else Path(text.path),
        caption_mtime_ns=0 if text is None else _mtime_ns(text),
    )


def _mtime_ns(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0
