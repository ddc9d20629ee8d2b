"""Text chunks of PNGs, read without decoding pixels; everything in them is untrusted."""

import json
import struct
from collections.abc import Collection
from pathlib import Path

MAX_CHUNK_BYTES = 4 << 20
MAX_FILE_BYTES = 64 << 20
_MAX_KEY_BYTES = 80
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class MetadataError(ValueError):
    """Metadata of a PNG that cannot be used; the message says why."""


def png_bytes(source: Path | bytes) -> bytes:
    """Return the bytes of a PNG.

    Raises:
        MetadataError: there is no such file, it is too large, or it is no PNG.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise MetadataError(f"There is no file {source.name}.")
        if source.stat().st_size > MAX_FILE_BYTES:
            raise MetadataError(f"The file is larger than {MAX_FILE_BYTES >> 20} MiB.")
        source = source.read_bytes()
    if not source.startswith(_SIGNATURE):
        raise MetadataError("The file is no PNG.")
    return source


def text_chunks(data: bytes, keys: Collection[str]) -> dict[str, str]:
    """Return the first plain text chunk of each key; compressed ones are read as empty.

    Args:
        data: a PNG.
        keys: keys to look for.

    Raises:
        MetadataError: one is longer than `MAX_CHUNK_BYTES`.
    """
    wanted = {key.encode(): key for key in keys}
    texts: dict[str, str] = {}
    start = len(_SIGNATURE)
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        kind = data[start + 4 : start + 8]
        body, end = start + 8, start + 8 + length
        if kind == b"IEND" or end + 4 > len(data):
            break
        if kind in (b"tEXt", b"iTXt"):
            name, _, _ = data[body : min(end, body + _MAX_KEY_BYTES)].partition(b"\0")
            if name in wanted:
                if length > MAX_CHUNK_BYTES:
                    raise MetadataError(
                        f"The PNG's metadata is too long: {wanted[name]} has more than "
                        f"{MAX_CHUNK_BYTES >> 20} MiB."
                    )
                value = data[body + len(name) + 1 : end]
                texts.setdefault(wanted[name], _text_of(kind, value))
        start = end + 4
    return texts


def read_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        MetadataError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError("The PNG's metadata is damaged: it is not valid JSON.") from error


def _text_of(kind: bytes, value: bytes) -> str:
    if kind == b"tEXt":
        return value.decode("latin-1")
    if value[:1] != b"\0":  # a compressed iTXt
        return ""
    return value[2:].partition(b"\0")[2].partition(b"\0")[2].decode("utf-8", "replace")
