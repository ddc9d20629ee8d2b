"""First bytes of files of pictures, of the formats that are read and of those that are not."""

from pathlib import Path
from typing import Final

from composer.image_formats import format_of
from retrieval.files import read_regular

_NUM_BYTES: Final = 256
_UNREAD: Final = (
    *(b"GIF87a", b"GIF89a", b"8BPS", b"qoif", b"gimp xcf", b"v/1\x01", b"SIMPLE  ="),
    *(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF, and raw files of many cameras
    *(b"IIRO", b"IIRS", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM"),  # raw files of others
)


def holds_picture(file: Path) -> bool:
    """Tell by the first bytes of a file whether it holds a picture; False if it cannot be read."""
    try:
        start = read_regular(file, _NUM_BYTES - 1)
    except (OSError, ValueError):
        return False
    return (
        start.startswith(_UNREAD)
        or start[4:12] == b"ftypcrx "
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
        or format_of(start) is not None
    )
