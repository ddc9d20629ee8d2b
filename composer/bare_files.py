"""Files of pictures without the metadata that can break their decoding."""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

from composer.image_formats import ImageFormat

_MAX_PARTS = 100_000  # of a file; a PNG of the largest size has fewer
_MAX_PROFILE = 1 << 20  # bytes; Pillow refuses longer ones
_XMP = b"XML:com.adobe.xmp\0\0"  # not compressed
_SCAN = 0xDA
_ADOBE_BYTES = 12


def bare_file(data: bytes, image_format: ImageFormat) -> bytes | None:
    """Return a PNG or JPEG with its pixels and those metadata that are whole and of use.

    Kept are transparency, colour profile, EXIF and XMP. None for other formats, and where there is
    nothing to leave out.

    Raises:
        ValueError: The file has more parts than any encoder writes.
    """
    match image_format:
        case ImageFormat.PNG:
            parts = _png_parts(data)
        case ImageFormat.JPEG:
            parts = _jpeg_parts(data)
        case ImageFormat.WEBP | ImageFormat.AVIF | ImageFormat.HEIC:
            return None
    kept = list(islice(parts, _MAX_PARTS))  # what is left out is empty
    if len(kept) == _MAX_PARTS:
        raise ValueError("too many parts")
    bare = b"".join(kept)
    return bare if len(bare) < len(data) else None


def _png_parts(data: bytes) -> Iterator[memoryview]:
    view, position = memoryview(data), 8
    yield view[:position]
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        chunk = view[position:end]
        is_kept = _is_critical(chunk) or (end <= len(data) and _is_useful(chunk))
        yield chunk if is_kept else view[:0]
        position = end
    yield view[position:]


def _is_critical(chunk: memoryview) -> bool:
    return not chunk[4] & 0x20


def _is_useful(chunk: memoryview) -> bool:
    kind, body = bytes(chunk[4:8]), chunk[8:-4]
    if kind not in (b"tRNS", b"iCCP", b"eXIf", b"iTXt"):
        return False
    if zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
        return False
    if kind == b"iTXt":
        return bytes(body[: len(_XMP)]) == _XMP
    return kind != b"iCCP" or _is_profile(bytes(body))


def _is_profile(body: bytes) -> bool:
    _, _, compressed = body.partition(b"\0")
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(compressed[1:], _MAX_PROFILE)
    except zlib.error:
        return False
    return compressed[:1] == b"\0" and not unpacking.unconsumed_tail


def _jpeg_parts(data: bytes) -> Iterator[memoryview]:
    view, position = memoryview(data), 2
    yield view[:position]
    while position + 4 <= len(data) and data[position] == 0xFF:
        code = data[position + 1]
        if code == _SCAN:
            break
        end = position + 2 + int.from_bytes(view[position + 2 : position + 4], "big")
        body = bytes(view[position + 4 : end])
        is_kept = not _is_application(code) or _is_useful_segment(code, body)
        yield view[position:end] if is_kept else view[:0]
        position = end
    yield view[position:]


def _is_application(code: int) -> bool:
    """Tell whether a marker is of an application or a comment."""
    return 0xE0 <= code <= 0xEF or code == 0xFE


def _is_useful_segment(code: int, body: bytes) -> bool:
    if code == 0xEE:  # how colours are coded
        return body.startswith(b"Adobe") and len(body) >= _ADOBE_BYTES
    starts = {0xE1: (b"Exif\0\0", b"http://ns.adobe.com/xap/"), 0xE2: (b"ICC_PROFILE\0",)}
    return body.startswith(starts.get(code, ()))
