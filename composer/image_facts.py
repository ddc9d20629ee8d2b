"""Facts in a picture's metadata: its orientation, and when it was taken.

Metadata are optional, so damaged ones count as missing and never cost a picture.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from PIL import ExifTags, Image

_DATE = re.compile(
    r"\s*(\d{4})[-:/.](\d\d?)[-:/.](\d\d?)(?:[T\s]+(\d\d?):(\d\d)(?::(\d\d))?)?", re.ASCII
)
_XMP_DATE = (
    rb"(?:exif:DateTimeOriginal|photoshop:DateCreated|exif:DateTimeDigitized|xmp:CreateDate)"
)
_IN_XMP = re.compile(_XMP_DATE + rb"(?:\s*=\s*[\"']|>)\s*([0-9][0-9T:. +-]{7,})")


def orientation_of(opened: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing."""
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever a damaged block raises
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def date_of(opened: Image.Image) -> str:
    """Return when a picture was taken, "YYYY-MM-DDTHH:MM:SS"; empty if unknown.

    The date is that of the place where it was taken: an offset from UTC does not move it.
    Fractions of a second are dropped. EXIF is asked for the original date, then for that of the
    scan, then for that of the last change; then XMP.
    """
    for text in (*_exif_dates(opened), *_xmp_dates(opened)):
        if date := _iso_date(text):
            return date
    return ""


def _exif_dates(opened: Image.Image) -> Iterator[str]:
    try:
        exif = opened.getexif()
        camera = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # whatever a damaged block raises
        return
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        yield _text(camera.get(tag))
    yield _text(exif.get(ExifTags.Base.DateTime))


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")


def _xmp_dates(opened: Image.Image) -> list[str]:
    """Return the dates of an XMP packet; the original one comes first."""
    packet = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp") or b""
    data = packet.encode() if isinstance(packet, str) else packet
    if not isinstance(data, bytes):
        return []
    found = sorted(_IN_XMP.finditer(data), key=lambda date: b"Original" not in date[0])
    return [date[1].decode("ascii") for date in found]


def _iso_date(text: str) -> str:
    parts = _DATE.match(text)
    if parts is None:
        return ""
    year, month, day, hour, minute, second = (int(part or 0) for part in parts.groups())
    try:
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return ""
    return moment.isoformat(timespec="seconds")
