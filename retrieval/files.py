"""Files of a gallery: safe reading, content ids and printable paths."""

import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


def content_id(data: bytes) -> str:
    """Return the id of a picture: 32 hex digits of the hash of its file."""
    return hashlib.sha256(data).hexdigest()[:32]


def content_id_of(file: Path) -> str:
    """Return the id of a file, read in pieces.

    Raises:
        OSError: It cannot be read, or is a pipe, a socket or a device.
    """
    with _open_regular(file) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read at most `max_bytes` + 1 bytes of a regular file, without blocking.

    Raises:
        OSError: The file cannot be read, or is a pipe, a socket or a device.
    """
    with _open_regular(file) as opened:
        return opened.read(max_bytes + 1)


@contextmanager
def _open_regular(file: Path) -> Generator[BufferedReader, None, None]:
    # Without O_NONBLOCK, opening a pipe would block for ever.
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{file} is not a regular file.")
        yield opened


def printable(path: str | Path) -> str:
    """Return a path as one line of UTF-8, for terminals, logs and JSON."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
