"""Facts in a picture's metadata: its orientation, and when it was taken.

Metadata are optional, so damaged ones count as missing and never cost a picture.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile

_DATE = re.compile(
    r"\s*(\d{4})([-:/.]?)\s*(\d\d?)\2\s*(\d\d?)"
    r"(?:[T,\s-]\s*(\d\d?)([:.-]?)(\d\d)(?:\6(\d\d))?(?:\.\d+)?(?:\s*([AP])\.?M)?)?",
    re.ASCII | re.IGNORECASE,
)
_XMP_DATE = (
    rb"(?:exif(?:EX)?:DateTimeOriginal|(?:photoshop|Iptc4xmpCore):DateCreated"
    rb"|exif:DateTimeDigitized|(?:xmp|xap):CreateDate)"
)
_IN_XMP = re.compile(_XMP_DATE + rb"(?:\s*=\s*[\"']|>)\s*([0-9][0-9T:. +-]{7,})")
_IPTC_DAY, _IPTC_TIME = (2, 55), (2, 60)


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
    scan, then for that of the last change; then XMP, IPTC and the text of a PNG.
    """
    for read in (_exif_dates, _xmp_dates, _iptc_dates, _png_dates):
        try:
            date = next((date for text in read(opened) if (date := _iso_date(text))), "")
        except Exception:  # whatever a damaged block raises
            continue
        if date:
            return date
    return ""


def _exif_dates(opened: Image.Image) -> Iterator[str]:
    exif = opened.getexif()
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        yield _text(camera.get(tag))
        yield _text(exif.get(tag))  # where some programs write it
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


def _iptc_dates(opened: Image.Image) -> Iterator[str]:
    if not isinstance(opened, ImageFile) or "photoshop" not in opened.info:
        return
    facts = IptcImagePlugin.getiptcinfo(opened) or {}
    day, time = (_text(facts.get(key)) for key in (_IPTC_DAY, _IPTC_TIME))
    yield f"{day}T{time}"
    yield day


def _png_dates(opened: Image.Image) -> Iterator[str]:
    text = str(opened.info.get("Creation Time") or "")
    yield text
    yield parsedate_to_datetime(text).isoformat()


def _iso_date(text: str) -> str:
    parts = _DATE.match(text)
    if parts is None:
        return ""
    year, _, month, day, hour, _, minute, second, half = parts.groups()
    try:
        moment = datetime(int(year), int(month), int(day))
        moment += _time_of_day(int(hour or 0), int(minute or 0), int(second or 0), half)
    except (ValueError, OverflowError):
        return ""
    return moment.isoformat(timespec="seconds")


def _time_of_day(hour: int, minute: int, second: int, half: str | None) -> timedelta:
    """Return the time since midnight; a leap second is the one before it.

    Raises:
        ValueError: It is no time of a day.
    """
    if half is not None:
        hour = hour % 12 + 12 * (half in "Pp")
    if hour > 24 or minute > 59 or second > 60:
        raise ValueError("no time of a day")
    return timedelta(hours=hour, minutes=minute, seconds=min(second, 59))
