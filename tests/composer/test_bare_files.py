"""Metadata that break a decoder cost no picture."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from composer.bare_files import bare_file
from composer.image_formats import ImageFormat
from composer.images import ImageError, open_image, open_picture
from tests.pictures import noise
from tests.profiles import PROPHOTO, levels_in, matrix_profile


def png(**options):
    buffer = io.BytesIO()
    noise((40, 30), 60).convert("RGB").save(buffer, "PNG", **options)
    return buffer.getvalue()


def jpeg(**options):
    buffer = io.BytesIO()
    noise((40, 30), 60).convert("RGB").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def segment(code, body):
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


LONG = zlib.compress(b"a" * 3_000_000)
CHUNKS = {
    "wrong checksum": chunk(b"tEXt", b"Software\0x", 1),
    "wrong checksum of EXIF": chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0", 1),
    "long text": chunk(b"zTXt", b"workflow\0\0" + LONG),
    "long international text": chunk(b"iTXt", b"workflow\0\1\0\0\0" + LONG),
    "endless profile": chunk(b"iCCP", b"profile\0\0" + LONG),
    "profile of no method": chunk(b"iCCP", b"profile\0\7" + zlib.compress(b"x")),
    "short resolution": chunk(b"pHYs", b"12"),
    "short gamma": chunk(b"gAMA", b"1"),
    "short animation": chunk(b"acTL", b"12"),
}


@pytest.mark.parametrize("broken", CHUNKS.values(), ids=CHUNKS.keys())
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_is_read_without_its_broken_chunks(broken, before):
    data = png()
    at = data.index(before) - 4
    found = open_image(data[:at] + broken + data[at:])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(open_image(data)))


@pytest.mark.parametrize(
    "broken", [segment(0xE0, b"JFIF"), segment(0xEE, b"Adobe"), segment(0xE0, b"JFIF\0\1")]
)
def test_a_jpeg_is_read_without_its_broken_segments(broken):
    data = jpeg()
    found = open_image(data[:2] + broken + data[2:])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(open_image(data)))


@pytest.mark.parametrize("make", [png, jpeg])
def test_whole_metadata_beside_broken_ones_count(make):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0132] = "2021:07:30 12:34:56"
    broken = chunk(b"tEXt", b"a\0b", 1) if make is png else segment(0xE0, b"JFIF")
    data = make(exif=exif)
    at = data.index(b"IDAT") - 4 if make is png else 2
    picture = open_picture(data[:at] + broken + data[at:])
    assert (picture.image.size, picture.taken) == ((30, 40), "2021-07-30T12:34:56")


def test_profile_and_transparency_beside_a_broken_chunk_count():
    colour = (200, 60, 40)
    stored = Image.new("P", (8, 8), 1)
    stored.putpalette([0, 0, 0, *levels_in(PROPHOTO, 1.8, colour)])
    stored.putpixel((0, 0), 0)
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", transparency=0, icc_profile=matrix_profile(PROPHOTO, 1.8))
    data = buffer.getvalue()
    at = data.index(b"IDAT") - 4
    found = open_image(data[:at] + chunk(b"tEXt", b"a\0b", 1) + data[at:])
    assert found.getpixel((4, 4)) == pytest.approx(colour, abs=3)
    assert found.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("make", [png, jpeg])
def test_broken_pixels_are_damaged(make):
    data = make()
    with pytest.raises(ImageError, match="damaged"):
        open_image(data[: len(data) // 2])


def test_countless_parts_are_refused_in_bounded_time():
    parts = chunk(b"abCd", b"") * 500_000
    data = png()
    start_s = time.process_time()
    with pytest.raises(ValueError, match="too many parts"):
        bare_file(data[:33] + parts + data[33:], ImageFormat.PNG)
    assert time.process_time() - start_s < 5


def test_a_file_without_anything_to_leave_out_has_no_bare_form():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    assert bare_file(buffer.getvalue(), ImageFormat.PNG) is None
    assert bare_file(b"RIFF", ImageFormat.WEBP) is None
