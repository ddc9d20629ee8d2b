"""Files of a gallery: safe reading, content ids and printable paths."""

import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from PIL import Image

from composer.images import ImageError, open_image


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


def picture_file(root: Path, path: str) -> Path:
    """Return the real file of an item, below the real folder of its gallery.

    A path of an index that others made may lead out of the folder, and a file may be replaced by a
    link at any time: such a path is returned as it is written, and `leaves_folder` tells, which
    every reader asks again.
    """
    real_root = root.resolve()
    file = Path(f"{real_root}/{path}")  # `/` between paths would let an absolute one win
    try:
        real = file.resolve()
    except (OSError, ValueError, RuntimeError):  # loops of links, NUL
        return file
    return real if real.is_relative_to(real_root) else file


def leaves_folder(file: Path) -> bool:
    """Tell whether a file that `picture_file` returned has a link or `..` in its path."""
    try:
        return file.resolve() != file
    except (OSError, ValueError, RuntimeError):
        return True


def open_gallery_picture(file: Path) -> Image.Image:
    """Read a picture that `picture_file` named as plain RGB.

    Raises:
        ImageError: It leaves the gallery's folder, or cannot be read.
    """
    if leaves_folder(file):
        raise ImageError(file.name, "is a link or lies outside the gallery, and is not read.")
    return open_image(file)


def printable(path: str | Path) -> str:
    """Return a path as one line of UTF-8, for terminals, logs and JSON."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
