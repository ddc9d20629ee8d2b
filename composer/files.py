"""Atomic writes: files and folders that appear whole or not at all."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO


@contextmanager
def atomic_file(path: Path, *, is_durable: bool = False) -> Generator[IO[bytes], None, None]:
    """Open a binary file that replaces `path` when the block ends without an error.

    Readers see the old file or the whole new one. After an error the old file stays and nothing
    else does. Two writers may work at the same time: the last to finish wins.

    Args:
        path: The file; its folder must exist.
        is_durable: Flush it to the disk before it replaces the old one, and its folder after, so
            that it also outlasts a power cut.

    Raises:
        OSError: The folder is missing or full, or must not be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync(path.parent)


def write_bytes(path: Path, data: bytes, *, is_durable: bool = False) -> None:
    """Write a file as `atomic_file` does.

    Raises:
        OSError: As in `atomic_file`.
    """
    with atomic_file(path, is_durable=is_durable) as file:
        file.write(data)


def write_text(path: Path, text: str, *, is_durable: bool = False) -> None:
    """Write a UTF-8 file as `atomic_file` does.

    Raises:
        OSError: As in `atomic_file`.
    """
    write_bytes(path, text.encode("utf-8"), is_durable=is_durable)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path, None, None]:
    """Make a folder that replaces `path` when the block ends without an error.

    A folder cannot be replaced in one step: a process that is killed between the two leaves the old
    one beside its place, and `recover_folder` puts it back.

    Yields:
        An empty folder beside `path`, to be filled.

    Raises:
        OSError: The folder cannot be written; the old one stays.
    """
    unfinished, old = _beside(path, "new"), _beside(path, "old")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    recover_folder(path)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    unfinished.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Put back a folder whose replacement by `atomic_folder` was interrupted."""
    old = _beside(path, "old")
    if not path.exists() and old.exists():
        old.rename(path)


def sync(path: Path | str) -> None:
    """Flush a file or a folder to the disk; one that has been deleted meanwhile needs no flush."""
    if os.name != "posix":  # folders cannot be opened elsewhere
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def open_to_read(path: Path) -> BinaryIO:
    """Open a file; a pipe that nobody writes to is empty, and is not waited for.

    Raises:
        OSError: It cannot be opened.
        ValueError: The path holds a null byte.
    """
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(handle, True)
    return handle


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; about a second per gigabyte.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
