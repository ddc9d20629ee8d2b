"""Disk access of an index: the write lock, durable writes and error messages."""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from composer.files import sync
from retrieval.errors import GalleryError
from retrieval.files import printable

LOCK = "maintenance.lock"
LOCK_TIMEOUT_S = 600


def check_utf8(folder: Path) -> None:
    """Check that an index can record a path.

    Raises:
        GalleryError: A name in it is not UTF-8.
    """
    try:
        str(folder.resolve()).encode()
    except UnicodeEncodeError as error:
        raise GalleryError(
            f"The name of {printable(folder)} is not UTF-8; rename the folder."
        ) from error


@contextmanager
def translate_errors(folder: Path | str) -> Generator[None, None, None]:
    """Raise errors of the engine and the disk as `GalleryError`."""
    try:
        yield
    except GalleryError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise GalleryError(_message(error, folder)) from error


def _message(error: Exception, folder: Path | str) -> str:
    # LanceDB raises plain RuntimeErrors and OSErrors without `errno`: only their text tells a full
    # disk and a read-only folder from other failures.
    report = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in report:
        return (
            f"The disk of {folder} is full. Free some space and run the command again; what was "
            "committed is kept."
        )
    if isinstance(error, PermissionError) or "Permission denied" in report:
        return f"{folder} cannot be written. Choose another location with --index DIR."
    first_line = report.splitlines()[0] if report else type(error).__name__
    return f"The index {folder} cannot be used: {first_line}"


@contextmanager
def exclusive_writer(folder: Path) -> Generator[None, None, None]:
    """Lock an index folder against other writers; readers are not locked out.

    The operating system releases the lock of a process that dies.

    Raises:
        GalleryError: Another process has held it for ten minutes.
    """
    try:
        with FileLock(folder / LOCK, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise GalleryError(
            f"Another program has been writing to the index {folder} for {LOCK_TIMEOUT_S // 60} "
            "minutes. Wait until it has finished, or stop it, and run the command again."
        ) from error


class Checkpoint:
    """Flushes files written below a folder since the checkpoint was created.

    The engine leaves its commits in the cache of the operating system, which survives the process
    but not a power cut.
    """

    def __init__(self, folder: Path) -> None:
        """Record the files that exist."""
        self._folder = folder
        self._known = set(_files(folder))

    def sync(self) -> None:
        """Flush files that are new, and the folders that list them."""
        new = [path for path in _files(self._folder) if path not in self._known]
        for path in new:
            sync(path)
        for folder in {os.path.dirname(path) for path in new}:  # noqa: PTH120  strings, many
            sync(folder)
        self._known.update(new)


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (f"{parent}/{name}" for name in names)
