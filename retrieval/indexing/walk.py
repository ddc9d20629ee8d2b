"""Walk over the pictures of a folder, with reasons for those that cannot be used."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import GalleryError
from retrieval.files import printable
from retrieval.filters.folders import composed
from retrieval.indexing.signatures import holds_picture

# A picture is told by its content, whatever its name. A file with one of these endings is reported
# if it is no picture; one with another ending, or none, is passed over.
_READ = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".pjpeg",
    ".pjp",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
)
_REPORTED = frozenset(
    (
        *(".gif", ".bmp", ".tif", ".tiff", ".jxl", ".psd", ".svg"),
        *(".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"),
        *(".crw", ".sr2", ".srf", ".3fr", ".fff", ".iiq", ".rwl", ".x3f", ".mrw", ".erf", ".kdc"),
        *(".dcr", ".mos", ".mef", ".gpr", ".jp2", ".j2k", ".hif", ".heics", ".avifs"),
    )
)
CAPTION_SUFFIX = ".txt"
_LINK_OUTSIDE = "It is a link to a target outside the folder."
_ENDLESS_LINK = "It is a link that leads back to itself or through too many others."


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file with the ending or the content of a picture.

    Attributes:
        path: Path relative to the root, with forward slashes.
        file: Path on disk.
        size_bytes: Size of the file.
        mtime_ns: Modification time of the file, nanoseconds since the epoch.
        ctime_ns: When the file or its entry was last changed, by the system's clock.
        caption_file: Text file beside it with the same stem; None without one.
        caption_mtime_ns: When the text file was last changed; 0 without one.
    """

    path: str
    file: Path
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    caption_file: Path | None
    caption_mtime_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A skipped file: its printable path, and the reason in one sentence."""

    path: str
    reason: str


def is_picture_name(name: str) -> bool:
    """Tell whether a file is a picture by its name; ".jpg_large" and ".png~" count, too."""
    _, dot, ending = name.rpartition(".")
    suffix = dot + ending.lower()
    return bool(dot) and (suffix.startswith(_READ) or suffix in _REPORTED)


def is_picture_file(file: Path) -> bool:
    """Tell whether a file is a picture by its name or by its content."""
    if is_picture_name(file.name):
        return True
    return file.suffix.lower() != CAPTION_SUFFIX and holds_picture(file)


def walk(root: Path, folders: Sequence[Path] | None = None) -> Iterator[Candidate | Skipped]:
    """Yield every file with the ending or the content of a picture, in a stable order.

    Hidden files and folders are ignored. A link is followed if its target is inside the root;
    other links are reported, never read.

    Args:
        root: Folder to which paths are relative.
        folders: Folders to walk, all of them below the root; None for the root.

    Raises:
        GalleryError: A folder does not exist or cannot be read.
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
    """Walker that remembers visited folders, so that links cannot form cycles."""

    def __init__(self, real_root: Path) -> None:
        self._real_root = real_root
        self._visited: set[Path] = set()

    def walk(self, folder: Path, below: str) -> Iterator[Candidate | Skipped]:
        waiting = [(folder, below)]  # no recursion: folders may be thousands of levels deep
        while waiting:
            folder, below = waiting.pop()
            try:
                real = folder.resolve()
                if real in self._visited:
                    continue
                self._visited.add(real)
                with os.scandir(folder) as listing:
                    entries = {
                        entry.name: entry for entry in listing if not entry.name.startswith(".")
                    }
            except (OSError, RuntimeError):
                yield Skipped(path=printable(below), reason="The folder cannot be read.")
                continue
            captions = {
                composed(name): entry
                for name, entry in entries.items()
                if name.endswith(CAPTION_SUFFIX)
            }
            inner: list[str] = []
            for name in sorted(entries):
                try:
                    yield from self._examine(entries[name], captions, below, inner)
                except (OSError, RuntimeError) as error:  # a runtime error of pathlib is a loop
                    is_loop = isinstance(error, RuntimeError) or error.errno == errno.ELOOP
                    reason = _ENDLESS_LINK if is_loop else "It cannot be read."
                    yield Skipped(path=printable(below + name), reason=reason)
            waiting += [(folder / name, f"{below}{name}/") for name in reversed(inner)]

    def _examine(
        self,
        entry: "os.DirEntry[str]",
        captions: "dict[str, os.DirEntry[str]]",
        below: str,
        inner: list[str],
    ) -> Iterator[Candidate | Skipped]:
        """Yield the entry if it is a picture, or append it to the inner folders."""
        name, is_picture = entry.name, is_picture_name(entry.name)
        if entry.is_symlink() and not self._ends_inside(entry):
            if is_picture or entry.is_dir():
                yield Skipped(path=printable(below + name), reason=_LINK_OUTSIDE)
        elif entry.is_dir():
            inner.append(name)
        elif is_picture or is_picture_file(Path(entry.path)):
            stem = composed(name.rpartition(".")[0] or name)
            yield _candidate(entry, below + name, captions.get(stem + CAPTION_SUFFIX))

    def _ends_inside(self, entry: "os.DirEntry[str]") -> bool:
        """Tell whether a link's target is inside the root.

        Raises:
            OSError: The link cannot be followed.
            RuntimeError: It leads back to itself.
        """
        return Path(entry.path).resolve().is_relative_to(self._real_root)


def _candidate(
    entry: "os.DirEntry[str]", path: str, text: "os.DirEntry[str] | None"
) -> Candidate | Skipped:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Skipped(path=printable(path), reason="Its name is not UTF-8; rename it.")
    try:
        status = entry.stat()
    except OSError:
        return Skipped(path=printable(path), reason="It cannot be read.")
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path=printable(path), reason="It is a pipe, a socket or a device.")
    return Candidate(
        path=path,
        file=Path(entry.path),
        size_bytes=status.st_size,
        mtime_ns=storable_ns(status.st_mtime_ns),
        ctime_ns=storable_ns(status.st_ctime_ns),
        caption_file=None if text is None else Path(text.path),
        caption_mtime_ns=0 if text is None else _changed_ns(text),
    )


def storable_ns(time_ns: int) -> int:
    """Return a time as 64 bits hold it: years before 1677 and after 2262 become their ends."""
    return min(max(time_ns, -(1 << 63)), (1 << 63) - 1)


def _changed_ns(entry: "os.DirEntry[str]") -> int:
    """Return when a file was changed; an older time of modification may have been put back."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    return storable_ns(max(status.st_mtime_ns, status.st_ctime_ns))
