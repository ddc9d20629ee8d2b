"""Formats of pictures that are read, told by their first bytes, and their decoders.

The decoders are called by name: `PIL.Image.open` would try others, and warn of large pictures
before their size can be compared with limits.
"""

import importlib
import re
from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from itertools import islice

from PIL import AvifImagePlugin, Image, features
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

NO_HEIF = "is a HEIC picture; to read these, run: pip install 'duet-studio[heif]'"
NO_AVIF = "is an AVIF picture, which the installed Pillow cannot read; update Pillow."
END_OF_JPEG = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither stuffed, nor a restart
_SCAN, _END = 0xDA, 0xD9
# Markers of a JPEG, restarts aside, and chunks of a PNG; each costs time before decoding begins.
_MAX_PARTS = 20_000


class ImageFormat(StrEnum):
    """Format of a picture."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WebP"
    AVIF = "AVIF"
    HEIC = "HEIC"


class MissingDecoderError(Exception):
    """Raised for a format whose decoder is not installed; says how to get it."""


class TooManyPartsError(ValueError):
    """Raised for a file of more chunks or segments than any encoder writes."""


def format_of(data: bytes) -> ImageFormat | None:
    """Tell the format by the first bytes; a file's ending is never trusted."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    return _format_of_container(data) if data[4:8] == b"ftyp" else None


def _format_of_container(data: bytes) -> ImageFormat | None:
    """Tell AVIF and HEIC apart by the brands at the start of their common container."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, size, 4))}
    if brands & {b"avif", b"avis"}:
        return ImageFormat.AVIF
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return ImageFormat.HEIC
    return None


def open_format(file: BytesIO, image_format: ImageFormat) -> Image.Image:
    """Read the header of a picture; its pixels are decoded by `load`.

    Raises:
        MissingDecoderError: The decoder is not installed.
        Exception: Whatever the decoder raises for damaged data.
    """
    match image_format:
        case ImageFormat.PNG:
            _check_chunks(file)
            return _open_png(file)
        case ImageFormat.JPEG:
            _check_segments(file.getvalue())
            return JpegImageFile(file)
        case ImageFormat.WEBP:
            return WebPImageFile(file)
        case ImageFormat.AVIF:
            if not features.check_module("avif"):
                raise MissingDecoderError(NO_AVIF)
            return AvifImagePlugin.AvifImageFile(file)
        case ImageFormat.HEIC:
            return _open_heic(file)


def _open_png(file: BytesIO) -> Image.Image:
    """Open a PNG; its transparent level is that of the decoded samples, which Pillow leaves."""
    opened = PngImageFile(file)
    clear = opened.info.get("transparency")
    if clear is not None and opened.tile:
        match opened.tile[0].args:
            case "L;2":
                opened.info["transparency"] = clear * 85
            case "L;4":
                opened.info["transparency"] = clear * 17
            case "RGB;16B":
                opened.info["transparency"] = tuple(level >> 8 for level in clear)
            case _:
                pass
    return opened


def _open_heic(file: BytesIO) -> Image.Image:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise MissingDecoderError(NO_HEIF) from error
    return plugin.HeifImageFile(file)


def _check_chunks(file: BytesIO) -> None:
    """Count the chunks of a PNG.

    Raises:
        TooManyPartsError: There are more than any encoder writes.
    """
    data, position = file.getbuffer(), 8
    for _ in range(_MAX_PARTS):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if position >= len(data):
            return
    raise TooManyPartsError


def _check_segments(data: bytes) -> None:
    """Count the segments of a JPEG before its first scan.

    Raises:
        TooManyPartsError: There are more than any encoder writes.
    """
    next((code for code in _markers(data) if code == _SCAN), None)


def has_scans_above(data: bytes, limit: int) -> bool:
    """Tell whether a JPEG has more scans than a limit; each costs as much as decoding it once."""
    scans = (code for code in _markers(data) if code == _SCAN)
    return next(islice(scans, limit, None), None) is not None


def lacks_end(data: bytes) -> bool:
    """Tell whether a JPEG ends without an end marker."""
    return not data.endswith(END_OF_JPEG) and all(code != _END for code in _markers(data))


def _markers(data: bytes) -> Iterator[int]:
    """Yield the codes of a JPEG's markers up to its end, without those inside segments.

    Raises:
        TooManyPartsError: There are more than any encoder writes.
    """
    position, left = 2, _MAX_PARTS
    while (marker := _MARKER.search(data, position)) is not None:
        code, position = data[marker.start() + 1], marker.end()
        yield code
        if code == _END:
            return
        if (left := left - 1) < 0:
            raise TooManyPartsError
        position += int.from_bytes(data[position : position + 2], "big")


def mended_endings(data: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG without an end marker twice, completed in two ways.

    Only the second has codes between the data and the end marker. Where both decode to the same
    pixels, the data are complete and nothing but the marker was missing.
    """
    body = data.rstrip(b"\0")
    if body.endswith(b"\xff"):  # half of the end marker, or a stuffed byte
        body = body[:-1] if len(body) == len(data) else body + b"\0"
    codes = bytes(range(1, 255)) * 4
    return body + END_OF_JPEG, body + codes + END_OF_JPEG
