"""Intake of untrusted images: from bytes to a clean RGB image."""

import hashlib
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from composer.bare_files import bare_file
from composer.colour_profile import apply_profile
from composer.decoding_process import (
    NoWorkerError,
    WorkerEndedError,
    decode_apart,
    is_decoded_apart,
)
from composer.decoding_time import DecodingTimeError, Pace, PacedBytes
from composer.files import open_to_read
from composer.image_facts import date_of, orientation_of
from composer.image_formats import (
    ImageFormat,
    MissingDecoderError,
    TooManyPartsError,
    format_of,
    has_scans_above,
    lacks_end,
    mended_endings,
    open_format,
)

MEBIBYTE = 1 << 20
LARGE_PX = 8_000_000
DRAWING_PX = 3_000  # on the shorter side of a drawing's JPEG
MAX_SCANS = 100  # of a JPEG; encoders write about ten
MAX_SCANNED_PX = 2_000_000_000  # scans times pixels; each scan costs as much as decoding once
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)  # orientations that swap width and height
_DIVISORS = (1, 2, 4, 8)  # at which a JPEG can be decoded
_STRIPE_PX = 256
_DAMAGED = "is damaged and cannot be decoded."
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    IndexError,
    KeyError,
    TypeError,
    MemoryError,
    struct.error,
    RuntimeError,  # of libheif
)


class ImageError(ValueError):
    """An image that cannot be used, and why.

    Attributes:
        name: What the image is called, as the subject of a sentence.
        reason: The rest of the sentence.
    """

    def __init__(self, name: str, reason: str) -> None:
        """Keep both parts, so that others may call the image by another name."""
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        """Return the sentence."""
        return f"{self.name} {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Caps that are checked before anything is decoded.

    Attributes:
        max_bytes: Size of the encoded file.
        max_px: Width times height of what is decoded.
        max_jpeg_px: Width times height of a JPEG, as its header states it: above `max_px` it is
            decoded at a half, a quarter or an eighth of its size, in the memory of that size.
        max_s: Processor time of decoding.
    """

    max_bytes: int = 128 * MEBIBYTE
    max_px: int = 64_000_000
    max_jpeg_px: int = 256_000_000
    max_s: float = 20.0


DEFAULT = ImageLimits()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Reading:
    """How a picture is read.

    Attributes:
        limits: Caps on size, pixels and time.
        pace: The time so far, and the caller's stop.
        least_px: As in `open_picture`.
        keeps_alpha: Keep transparency in place of laying it over white.
    """

    limits: ImageLimits
    pace: Pace
    least_px: int | None = None
    keeps_alpha: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodedPicture:
    """A decoded picture and the little of its file that outlives it.

    Attributes:
        image: Upright, of mode "RGB" with empty `info`; it may be smaller than the file's.
        width_px: Of the upright picture in the file.
        height_px: Of the upright picture in the file.
        taken: When the camera took it, "YYYY-MM-DDTHH:MM:SS" in its own time; empty if unknown.
    """

    image: Image.Image
    width_px: int
    height_px: int
    taken: str


def open_image(
    source: Path | bytes,
    limits: ImageLimits = DEFAULT,
    *,
    check: Callable[[], None] | None = None,
) -> Image.Image:
    """Read one picture as plain RGB.

    EXIF rotation is applied, colours are converted to sRGB by the picture's profile, all metadata
    is dropped, transparency is laid over white, sixteen-bit samples are scaled to eight, and of an
    animation only the first frame is read. A JPEG above `limits.max_px` comes out smaller. One that
    lacks its end marker is read; one that lacks a part of its picture is damaged.

    Args:
        source: Path of a file, or the bytes of one.
        limits: Caps on the encoded size, on the pixels and on the time.
        check: Called between pieces of the file; what it raises stops the decoding.

    Returns:
        An image of mode "RGB" with empty `info`.

    Raises:
        ImageError: The file is missing, too large, too slow, of another format or damaged.
    """
    return open_picture(source, limits, check=check).image


def open_picture(
    source: Path | bytes,
    limits: ImageLimits = DEFAULT,
    *,
    least_px: int | None = None,
    check: Callable[[], None] | None = None,
) -> DecodedPicture:
    """Read one picture as `open_image` does, with its size and date.

    Args:
        source: Path of a file, or the bytes of one.
        limits: Caps on the encoded size, on the pixels and on the time.
        least_px: A JPEG may be decoded at a half, a quarter or an eighth of its size, several
            times faster, as long as its shorter side keeps so many pixels; None for whole.
        check: Called between pieces of the file; what it raises stops the decoding.

    Raises:
        ImageError: The file is missing, too large, too slow, of another format or damaged.
    """
    pace = Pace(limits.max_s, check)
    return _open(source, _Reading(limits=limits, pace=pace, least_px=least_px))


def open_drawing(source: Path | bytes, limits: ImageLimits = DEFAULT) -> Image.Image:
    """Read the picture of a drawing as `open_image` does, with its transparency.

    Returns:
        An image of mode "RGBA" if the picture has transparent parts, else "RGB". That of a JPEG
        may be smaller, as far as drawings are read (`least_px` of `DRAWING_PX`).

    Raises:
        ImageError: The file is missing, too large, too slow, of another format or damaged.
    """
    reading = _Reading(
        limits=limits, pace=Pace(limits.max_s), least_px=DRAWING_PX, keeps_alpha=True
    )
    return _open(source, reading).image


def _open(source: Path | bytes, reading: _Reading) -> DecodedPicture:
    data = _read(source, reading.limits)
    name = source.name if isinstance(source, Path) else "The image"
    image_format = format_of(data)
    if image_format is None:
        raise ImageError(name, "is not a PNG, JPEG, WebP, AVIF or HEIC image.")
    try:
        try:
            return _decode_ending(data, image_format, name, reading)
        except (ImageError, TooManyPartsError):
            raise
        except _DECODER_ERRORS:
            bare = bare_file(data, image_format)
            if bare is None:
                raise
        return _decode_ending(bare, image_format, name, reading)
    except DecodingTimeError as error:
        limit = f"{reading.limits.max_s:g} s"
        raise ImageError(name, f"takes longer than {limit} to decode; save it again.") from error
    except MissingDecoderError as error:
        raise ImageError(name, str(error)) from error
    except WorkerEndedError as error:
        raise ImageError(
            name, "cannot be decoded: its decoder ended before it was done."
        ) from error
    except _DECODER_ERRORS as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(name, _DAMAGED) from error


def _decode_ending(
    data: bytes, image_format: ImageFormat, name: str, reading: _Reading
) -> DecodedPicture:
    """Decode a picture; a JPEG may lack its end marker."""
    if image_format is ImageFormat.JPEG and lacks_end(data):
        return _decode_without_end(data, name, reading)
    return _decode(data, image_format, name, reading)


def _decode(data: bytes, image_format: ImageFormat, name: str, reading: _Reading) -> DecodedPicture:
    with open_format(PacedBytes(data, reading.pace), image_format) as opened:
        width, height = opened.size
        _check_pixels(opened, reading.limits, name)
        max_scans = min(MAX_SCANS, MAX_SCANNED_PX // (width * height))
        if opened.info.get("progressive") and has_scans_above(data, max_scans):
            raise ImageError(name, f"has more than {max_scans} scans; save it again.")
        _draft(opened, reading.limits, reading.least_px)
        # Of a PNG, metadata behind the pixels are read with them.
        loaded = _load(opened, data, image_format, reading.pace)
        orientation, taken = orientation_of(opened), date_of(opened)
        image = _clean(loaded, orientation, keeps_alpha=reading.keeps_alpha)
        if orientation in _SWAPPED:
            width, height = height, width
        return DecodedPicture(image=image, width_px=width, height_px=height, taken=taken)


def _load(opened: Image.Image, data: bytes, image_format: ImageFormat, pace: Pace) -> Image.Image:
    """Decode the pixels; in another process if that may take long and cannot be stopped here."""
    if is_decoded_apart(image_format, opened.width * opened.height, len(data)):
        with suppress(NoWorkerError):
            loaded = decode_apart(data, image_format, opened.size, pace)
            loaded.info = opened.info
            return loaded
    opened.load()
    return opened


def _decode_without_end(data: bytes, name: str, reading: _Reading) -> DecodedPicture:
    """Decode a JPEG whose end marker is missing.

    Raises:
        ImageError: More is missing.
    """
    found: set[bytes] = set()
    picture: DecodedPicture | None = None
    for mended in mended_endings(data):
        picture = None  # one at a time is in memory
        picture = _decode(mended, ImageFormat.JPEG, name, reading)
        found.add(_digest(picture.image))
    if picture is None or len(found) > 1:
        raise ImageError(name, _DAMAGED)
    return picture


def _digest(image: Image.Image) -> bytes:
    """Hash the pixels, a stripe at a time."""
    digest = hashlib.sha256()
    for top in range(0, image.height, _STRIPE_PX):
        bottom = min(top + _STRIPE_PX, image.height)
        digest.update(image.crop((0, top, image.width, bottom)).tobytes())
    return digest.digest()


def _read(source: Path | bytes, limits: ImageLimits) -> bytes:
    if isinstance(source, bytes):
        _check_bytes(len(source), limits, "The image")
        return source
    try:
        with open_to_read(source) as file:
            # One byte beyond the cap is enough to know; the stated size of a device is not.
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError(source.name, "cannot be read; check the path.") from error
    _check_bytes(len(data), limits, source.name)
    return data


def _check_bytes(num_bytes: int, limits: ImageLimits, name: str) -> None:
    if num_bytes == 0:
        raise ImageError(name, "is empty.")
    if num_bytes > limits.max_bytes:
        cap = limits.max_bytes / MEBIBYTE
        raise ImageError(name, f"is larger than {cap:g} MiB; save a smaller copy.")


def _check_pixels(opened: Image.Image, limits: ImageLimits, name: str) -> None:
    width, height = opened.size
    if width < 1 or height < 1:
        raise ImageError(name, "has no pixels.")
    most = limits.max_px
    if _shrinks(opened):
        most = max(most, limits.max_jpeg_px)
    if width * height > most:
        raise ImageError(name, f"has more than {most / 1e6:g} million pixels; make it smaller.")


def _shrinks(opened: Image.Image) -> bool:
    """Tell whether a picture can be decoded smaller, in the memory of the smaller one.

    The decoder keeps a progressive JPEG as a whole.
    """
    return isinstance(opened, JpegImageFile) and not opened.info.get("progressive")


def is_large(data: bytes, limits: ImageLimits = DEFAULT, *, least_px: int | None = None) -> bool:
    """Tell from its header whether a decoded picture takes more memory than most.

    False where the data are no picture.
    """
    image_format = format_of(data)
    if image_format is None:
        return False
    try:
        with open_format(PacedBytes(data, Pace(limits.max_s)), image_format) as opened:
            if _shrinks(opened):
                _draft(opened, limits, least_px)
            return opened.width * opened.height > LARGE_PX
    except Exception:  # decoding it tells what is wrong
        return False


def _draft(opened: Image.Image, limits: ImageLimits, least_px: int | None) -> None:
    """Let a JPEG be decoded smaller: to what is needed, and to what is allowed."""
    if not isinstance(opened, JpegImageFile):
        return
    width, height = opened.size
    allowed = next(n for n in _DIVISORS if width * height <= n**2 * limits.max_px or n == 8)
    most = 1 if least_px is None else min(width, height) // max(1, least_px)
    enough = max(n for n in _DIVISORS if n <= max(1, most))
    if (divisor := max(allowed, enough)) > 1:
        opened.draft(None, (max(1, width // divisor), max(1, height // divisor)))


def _clean(opened: Image.Image, orientation: int, *, keeps_alpha: bool) -> Image.Image:
    image = opened if orientation == 1 else opened.transpose(_TURNS[orientation])
    if image.mode.startswith("I"):
        image = _to_eight_bits(image, opened.info.get("transparency"))
    image = apply_profile(image, opened.info.get("icc_profile"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if keeps_alpha:
            clean = Image.new("RGBA", image.size)
            clean.paste(image)
            return clean
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    # Pixels alone are copied: `convert` would carry EXIF, XMP and text chunks along.
    clean = Image.new("RGB", image.size)
    clean.paste(image if image.mode == "RGB" else image.convert("RGB"))
    return clean


def _to_eight_bits(image: Image.Image, clear: object) -> Image.Image:
    """Return a picture of sixteen-bit greys with eight bits; one of its levels may be clear."""
    samples = np.asarray(image)
    grey = Image.fromarray((samples >> 8).clip(0, 255).astype(np.uint8))
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8)))
    return grey
