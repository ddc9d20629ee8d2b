"""Names of folders as filters compare them."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath


def composed(text: str) -> str:
    """Return a text with letters and accents composed (NFC); some systems write them apart."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folder_name(text: str) -> str:
    """Return the name of a folder without empty parts; the root is empty."""
    return "/".join(part for part in composed(text).split("/") if part not in ("", "."))


def folders_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Return every folder above some paths, without the root, sorted."""
    folders = {
        parent.as_posix() for path in paths for parent in PurePosixPath(composed(path)).parents
    }
    return tuple(sorted(folders - {"."}))
