"""Intake of untrusted images: from bytes to a clean RGB image."""

import io
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

MEBIBYTE = 1 << 20
LARGE_PX = 8_000_000
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


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
        max_px: Width times height, as the header states it.
    """

    max_bytes: int = 32 * MEBIBYTE
    max_px: int = 64_000_000


DEFAULT = ImageLimits()


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


def open_image(source: Path | bytes, limits: ImageLimits = DEFAULT) -> Image.Image:
    """Read one picture as plain RGB.

    EXIF rotation is applied, all metadata is dropped, transparency is laid over white, sixteen-bit
    samples are scaled to eight, and of an animation only the first frame is read.

    Args:
        source: Path of a file, or the bytes of one.
        limits: Caps on the encoded size and on the pixels.

    Returns:
        An image of mode "RGB" with empty `info`.

    Raises:
        ImageError: The file is missing, too large, of another format or damaged.
    """
    return open_picture(source, limits).image


def open_picture(
    source: Path | bytes, limits: ImageLimits = DEFAULT, *, least_px: int | None = None
) -> DecodedPicture:
    """Read one picture as `open_image` does, with its size and date.

    Args:
        source: Path of a file, or the bytes of one.
        limits: Caps on the encoded size and on the pixels.
        least_px: A JPEG may be decoded at a half, a quarter or an eighth of its size, several
            times faster, as long as its shorter side keeps so many pixels; None for whole.

    Raises:
        ImageError: The file is missing, too large, of another format or damaged.
    """
    data = _read(source, limits)
    name = source.name if isinstance(source, Path) else "The image"
    try:
        with Image.open(io.BytesIO(data), formats=[_sniff(data, name)]) as opened:
            _check_pixels(opened.size, limits, name)
            return _picture(opened, least_px)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(name, _too_many_pixels(limits)) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        IndexError,
        KeyError,
        TypeError,
        MemoryError,
        struct.error,
    ) as error:
        raise ImageError(name, "is damaged and cannot be decoded.") from error


def _read(source: Path | bytes, limits: ImageLimits) -> bytes:
    if isinstance(source, bytes):
        _check_bytes(len(source), limits, "The image")
        return source
    try:
        with source.open("rb") as file:
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


def _sniff(data: bytes, name: str) -> str:
    """Name the format by its magic bytes; a file's ending is never trusted."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise ImageError(name, "is not a PNG, JPEG or WebP image.")


def _check_pixels(size: tuple[int, int], limits: ImageLimits, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(name, "has no pixels.")
    if width * height > limits.max_px:
        raise ImageError(name, _too_many_pixels(limits))


def _too_many_pixels(limits: ImageLimits) -> str:
    return f"has more than {limits.max_px / 1e6:g} million pixels; make it smaller."


def _picture(opened: Image.Image, least_px: int | None) -> DecodedPicture:
    width, height = opened.size
    _draft(opened, least_px)
    image = _clean(opened)
    exif = opened.getexif()  # read with the pixels, at no cost
    if exif.get(ExifTags.Base.Orientation) in _TURNED:
        width, height = height, width
    return DecodedPicture(image=image, width_px=width, height_px=height, taken=_taken(exif))


def is_large(data: bytes, *, least_px: int | None = None) -> bool:
    """Tell from its header whether a decoded picture takes more memory than most.

    False where the data are no picture.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[_sniff(data, "")]) as opened:
            _draft(opened, least_px)
            return opened.width * opened.height > LARGE_PX
    except Exception:  # decoding it tells what is wrong
        return False


def _draft(opened: Image.Image, least_px: int | None) -> None:
    if least_px is not None and isinstance(opened, JpegImageFile):
        width, height = opened.size
        # The decoder rounds down to a scale at which both sides are at least as long as asked.
        shorter = max(1, min(width, height))
        opened.draft(None, (width * least_px // shorter, height * least_px // shorter))


def _taken(exif: Image.Exif) -> str:
    """Return the date of an EXIF block in ISO 8601; invalid dates count as missing."""
    try:
        text = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        moment = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except Exception:  # a damaged block must not cost the picture
        return ""
    return moment.isoformat(timespec="seconds")


def _clean(opened: Image.Image) -> Image.Image:
    opened.load()
    orientation = opened.getexif().get(ExifTags.Base.Orientation)
    image = opened if orientation in (None, 1) else ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    # Pixels alone are copied: `convert` would carry EXIF, XMP and text chunks along.
    clean = Image.new("RGB", image.size)
    clean.paste(image if image.mode == "RGB" else image.convert("RGB"))
    return clean


def _to_eight_bits(image: Image.Image) -> Image.Image:
    samples = np.asarray(image) >> 8
    return Image.fromarray(samples.clip(0, 255).astype(np.uint8))
