"""What an index asks of the disk: one writer at a time, bytes that outlast a power cut, errors."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from composer.files import sync
from retrieval.errors import GalleryError

LOCK = "maintenance.lock"
LOCK_TIMEOUT_S = 600


@contextmanager
def told(folder: Path | str) -> Generator[None, None, None]:
    """Turn what the engine or the disk reports into one sentence of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, PermissionError) as error:
        if isinstance(error, GalleryError):
            raise
        said = str(error)
        if "No space left" in said or getattr(error, "errno", None) == 28:
            raise GalleryError(
                f"The disk of {folder} is full. Free some space and run the command again; what "
                "was committed is kept."
            ) from error
        if isinstance(error, PermissionError) or "Permission denied" in said:
            raise GalleryError(
                f"{folder} cannot be written. Choose another place with --index DIR."
            ) from error
        first = said.splitlines()[0] if said else type(error).__name__
        raise GalleryError(f"The index {folder} cannot be used: {first}") from error


@contextmanager
def only_writer(folder: Path) -> Generator[None, None, None]:
    """Hold an index folder for writing; readers are not kept out.

    The operating system drops the lock of a process that dies, so that none can stay behind.

    Raises:
        GalleryError: Another process has held it for ten minutes.
    """
    try:
        with FileLock(folder / LOCK, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise GalleryError(
            f"Another program has been writing to the index {folder} for {LOCK_TIMEOUT_S // 60} "
            "minutes. Wait until it is done, or stop it, and run the command again."
        ) from error


class Checkpoint:
    """Brings to the disk what was written below a folder since it was made.

    The engine leaves what it commits in the memory of the operating system, which outlasts the
    process but not a power cut.
    """

    def __init__(self, folder: Path) -> None:
        """Note what is there."""
        self._folder = folder
        self._seen = set(_files(folder))

    def sync(self) -> None:
        """Write files that were not there before, and the folders that name them."""
        fresh = [path for path in _files(self._folder) if path not in self._seen]
        for path in fresh:
            sync(path)
        for folder in {os.path.dirname(path) for path in fresh}:  # noqa: PTH120  strings, many
            sync(folder)
        self._seen.update(fresh)


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (f"{place}/{name}" for name in names)
