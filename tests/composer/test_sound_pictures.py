"""Sound pictures that are easily lost: damaged metadata, profiles, endings, sizes, formats."""

import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from composer.images import ImageError, ImageLimits, open_drawing, open_image, open_picture
from tests.pictures import noise
from tests.profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    grey_profile,
    ink_profile,
    levels_in,
    matrix_profile,
    srgb_of_lab,
)

COLOURS = ((200, 60, 40), (40, 120, 90), (90, 90, 200), (250, 240, 230), (30, 20, 25))
INKS = {
    (0, 0, 0): (95, 0, 0),
    (1, 0, 0): (55, -37, -50),
    (0, 1, 0): (48, 74, -3),
    (0, 0, 1): (89, -5, 93),
    (1, 1, 0): (24, 17, -46),
    (1, 0, 1): (50, -65, 27),
    (0, 1, 1): (47, 68, 48),
    (1, 1, 1): (23, 0, 0),
}


def encoded(image, fmt, **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def texture(size=(160, 120), seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size)


def stripes(colours):
    levels = np.repeat(np.array(colours, np.uint8)[None], 16, axis=0).repeat(16, axis=1)
    return Image.fromarray(levels)


def centres(image):
    return np.asarray(image)[8, 8::16].astype(float)


BROKEN_EXIF = {
    "no header": b"not exif at all",
    "cut after its start": b"Exif\0\0MM",
    "offsets beyond the end": b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(range(40)),
    "zeros": bytes(64),
    "endless count": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 3,
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged metadata
@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF.keys())
@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "JPEG"])
def test_broken_exif_costs_no_picture(fmt, exif):
    image = texture()
    result = open_picture(encoded(image, fmt, exif=exif))
    assert (result.image.size, result.taken) == (image.size, "")
    plain = open_image(encoded(image, fmt))
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(plain))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = texture((32, 24))
    picture = open_picture(encoded(image, "PNG", exif=exif))
    turned = np.asarray(image)
    if orientation in (2, 4):
        turned = turned[:, ::-1] if orientation == 2 else turned[::-1]
    elif orientation == 3:
        turned = turned[::-1, ::-1]
    elif orientation >= 5:
        down, right = {5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[orientation]
        turned = turned.transpose(1, 0, 2)[::down, ::right]
    np.testing.assert_array_equal(np.asarray(picture.image), turned)
    assert (picture.width_px, picture.height_px) == picture.image.size


GREY, COLOUR = 0, 2  # kinds of samples in a PNG


@pytest.mark.parametrize(
    ("bits", "kind", "solid", "clear"),
    [
        (1, GREY, 0x00, 0xFF),
        (2, GREY, 0xAA, 0x55),
        (4, GREY, 0x88, 0x33),
        (8, GREY, 0x88, 0x33),
        (16, GREY, 0x8833, 0x3321),
        (8, COLOUR, 0x88, 0x33),
        (16, COLOUR, 0x8833, 0x3321),
    ],
)
def test_the_transparent_level_of_a_png_is_clear_at_every_depth(bits, kind, solid, clear):
    data = png_of_two_levels(bits, kind, solid, clear)
    kept = np.asarray(open_drawing(data))
    assert (kept[0, 0, 3], kept[0, -1, 3]) == (255, 0)
    level = solid >> 8 if bits == 16 else solid
    laid = open_image(data)
    assert laid.getpixel((0, 0)) == (level, level, level)
    assert laid.getpixel((laid.width - 1, 0)) == (255, 255, 255)


def png_of_two_levels(bits, kind, solid, clear):
    """A PNG whose left half has one level and whose right half another, which is transparent."""
    num_bytes, num_channels = max(1, bits // 8), 3 if kind == COLOUR else 1
    row = b"".join(level.to_bytes(num_bytes, "big") * num_channels * 8 for level in (solid, clear))
    width = 16 * 8 // min(bits, 8)
    level = clear & ((1 << bits) - 1)
    header = struct.pack(">IIBBBBB", width, 2, bits, kind, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"tRNS", level.to_bytes(2, "big") * num_channels),
        (b"IDAT", zlib.compress((b"\0" + row) * 2)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


@pytest.mark.parametrize(
    ("columns", "gamma"),
    [(PROPHOTO, 1.8), (DISPLAY_P3, 2.2), (ADOBE_RGB, 2.2)],
    ids=["ProPhoto", "Display P3", "Adobe RGB"],
)
@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "JPEG", "AVIF"])
def test_wide_profiles_become_srgb(fmt, columns, gamma):
    stored = stripes([levels_in(columns, gamma, colour) for colour in COLOURS])
    options = {"lossless": True} if fmt == "WEBP" else {"quality": 95} if fmt != "PNG" else {}
    if fmt == "JPEG":
        options["subsampling"] = 0
    data = encoded(stored, fmt, icc_profile=matrix_profile(columns, gamma), **options)
    tolerance = 10 if fmt in ("JPEG", "AVIF") else 3
    np.testing.assert_allclose(centres(open_image(data)), COLOURS, atol=tolerance)


def test_profiles_reach_transparent_and_palette_pictures():
    stored = stripes([levels_in(PROPHOTO, 1.8, colour) for colour in COLOURS])
    profile = matrix_profile(PROPHOTO, 1.8)
    clear = stored.convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 255))
    for image in (clear, stored.quantize(16)):
        data = encoded(image, "PNG", icc_profile=profile)
        np.testing.assert_allclose(centres(open_image(data)), COLOURS, atol=4)


def test_the_inks_of_a_cmyk_profile_are_used():
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0)]
    levels = np.array(inks, np.uint8)[None].repeat(16, axis=0).repeat(16, axis=1)
    image = Image.frombytes("CMYK", (levels.shape[1], 16), levels.tobytes())
    data = encoded(image, "JPEG", quality=95, subsampling=0, icc_profile=ink_profile(INKS))
    cyan, red = (srgb_of_lab(*INKS[key]) for key in ((1, 0, 0), (0, 1, 1)))
    _, found_cyan, found_red = centres(open_image(data))
    np.testing.assert_allclose(found_cyan, cyan, atol=16)
    np.testing.assert_allclose(found_red, red, atol=16)


def test_grey_profiles_and_colour_profiles_of_grey_pictures_are_used():
    image = Image.new("L", (8, 8), 128)
    grey = open_image(encoded(image, "PNG", icc_profile=grey_profile(1.0)))
    assert grey.getpixel((4, 4)) == pytest.approx((188, 188, 188), abs=2)  # half the light
    profile = matrix_profile(PROPHOTO, 1.8)
    through = open_image(encoded(image, "JPEG", icc_profile=profile)).getpixel((4, 4))
    assert through == pytest.approx((146, 146, 146), abs=2)  # (128 / 255) ** 1.8 of the light


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"alpha": 255}])
def test_a_grey_profile_applies_to_greys_that_are_stored_as_colours(options):
    """WebP has no greys of its own."""
    image = Image.new("L", (32, 32), 128)
    image.paste(40, (0, 16, 32, 32))
    if "alpha" in options:
        image.putalpha(options["alpha"])
    found = open_image(encoded(image, "WEBP", icc_profile=grey_profile(1.0), **options))
    assert found.getpixel((4, 4)) == pytest.approx((188, 188, 188), abs=3)
    colours = encoded(stripes(COLOURS), "WEBP", lossless=True, icc_profile=grey_profile(1.0))
    np.testing.assert_allclose(centres(open_image(colours)), COLOURS, atol=1)


@pytest.mark.parametrize(
    "profile",
    [
        b"junk",
        bytes(200),
        matrix_profile(PROPHOTO, 1.8)[:180],
        matrix_profile(PROPHOTO, 1.8)[:128] + b"\xff" * 60,
        ink_profile(INKS),
    ],
    ids=["junk", "zeros", "cut", "wrong table", "of other channels"],
)
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_a_broken_profile_is_ignored(fmt, profile):
    image = texture()
    with_profile = open_image(encoded(image, fmt, icc_profile=profile))
    plain = open_image(encoded(image, fmt))
    np.testing.assert_array_equal(np.asarray(with_profile), np.asarray(plain))


ENDINGS = {
    "without the marker": lambda data: data[:-2],
    "with half of it": lambda data: data[:-1],
    "zeros in its place": lambda data: data[:-2] + bytes(300),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("least_px", [None, 30])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(end, options, least_px):
    for seed in range(3):
        whole = encoded(texture((161 + seed, 119), seed), "JPEG", **options)
        expected = open_picture(whole, least_px=least_px).image
        found = open_picture(end(whole), least_px=least_px).image
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("end", [lambda data: data, lambda data: data + bytes(5000)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_lacks_a_part_of_its_picture_is_damaged(end, share, options):
    whole = encoded(noise((160, 120), 60).convert("RGB"), "JPEG", **options)
    with pytest.raises(ImageError, match="damaged"):
        open_image(end(whole[: int(share * len(whole))]))


def test_a_large_jpeg_is_decoded_smaller_within_what_is_allowed():
    data = encoded(texture((1600, 1200)), "JPEG", quality=90)
    for max_px, size in ((2_000_000, (1600, 1200)), (500_000, (800, 600)), (40_000, (200, 150))):
        limits = ImageLimits(max_px=max_px, max_jpeg_px=2_000_000)
        picture = open_picture(data, limits)
        assert picture.image.size == size
        assert (picture.width_px, picture.height_px) == (1600, 1200)
    with pytest.raises(ImageError, match="more than 1 million pixels"):
        open_image(data, ImageLimits(max_px=10_000, max_jpeg_px=1_000_000))


def test_a_photo_of_70_million_pixels_is_read():
    data = encoded(Image.new("L", (10_000, 7_000), 90), "JPEG")
    picture = open_picture(data)
    assert (picture.width_px, picture.height_px) == (10_000, 7_000)
    assert picture.image.size == (5_000, 3_500)
    assert open_picture(data, least_px=240).image.height == 875


@pytest.mark.parametrize(
    ("fmt", "options"), [("PNG", {}), ("WEBP", {}), ("AVIF", {}), ("JPEG", {"progressive": True})]
)
def test_large_pictures_that_cannot_be_decoded_smaller_are_refused(fmt, options):
    data = encoded(texture(), fmt, **options)
    with pytest.raises(ImageError, match=r"more than 0\.01 million pixels"):
        open_image(data, ImageLimits(max_px=10_000))


def test_a_jpeg_of_countless_scans_is_refused_at_once():
    whole = encoded(texture((64, 64)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:last] + whole[last:-2] * 200 + whole[-2:]
    with pytest.raises(ImageError, match="more than 100 scans"):
        open_image(bomb)


def test_bytes_behind_a_picture_are_no_scans():
    whole = encoded(texture((64, 64)), "JPEG", progressive=True)
    assert open_image(whole + b"\xff\xda\0\x08" * 1000).size == (64, 64)


DATES = {
    "original": ({0x9003: "2021:07:30 12:34:56"}, {}, "2021-07-30T12:34:56"),
    "fraction": ({0x9003: "2021:07:30 12:34:56.789"}, {}, "2021-07-30T12:34:56"),
    "offset": ({0x9003: "2021:07:30 12:34:56+02:00"}, {}, "2021-07-30T12:34:56"),
    "own tags": (
        {0x9003: "2021:07:30 12:34:56", 0x9291: "789", 0x9011: "+02:00"}, {}, "2021-07-30T12:34:56",
    ),
    "dashes": ({0x9003: "2021-07-30T12:34:56Z"}, {}, "2021-07-30T12:34:56"),
    "no seconds": ({0x9003: "2021:07:30 12:34"}, {}, "2021-07-30T12:34:00"),
    "day alone": ({0x9003: "2021:07:30"}, {}, "2021-07-30T00:00:00"),
    "digitised": ({0x9004: "1999:01:02 03:04:05"}, {}, "1999-01-02T03:04:05"),
    "of the file": ({}, {0x0132: "2015:05:06 07:08:09"}, "2015-05-06T07:08:09"),
    "first of three": (
        {0x9003: "2001:01:01 00:00:00", 0x9004: "2002:01:01 00:00:00"},
        {0x0132: "2003:01:01 00:00:00"},
        "2001-01-01T00:00:00",
    ),
    "the next where one is empty": (
        {0x9003: "0000:00:00 00:00:00", 0x9004: "    :  :     :  :  "},
        {0x0132: "2003:01:01 00:00:00"},
        "2003-01-01T00:00:00",
    ),
    "in the main directory": ({}, {0x9003: "2021:07:30 12:34:56"}, "2021-07-30T12:34:56"),
    "without marks": ({0x9003: "20210730T123456"}, {}, "2021-07-30T12:34:56"),
    "other marks": ({0x9003: "2021/07/30,12-34-56"}, {}, "2021-07-30T12:34:56"),
    "padded with blanks": ({0x9003: "2021: 7: 3  4:05:06"}, {}, "2021-07-03T04:05:06"),
    "afternoon": ({0x9003: "2021:07:30 01:34:56 PM"}, {}, "2021-07-30T13:34:56"),
    "after midnight": ({0x9003: "2021:07:30 12:34:56 am"}, {}, "2021-07-30T00:34:56"),
    "leap second": ({0x9003: "2016:12:31 23:59:60"}, {}, "2016-12-31T23:59:59"),
    "end of the day": ({0x9003: "2021:07:30 24:00:00"}, {}, "2021-07-31T00:00:00"),
    "no time": ({0x9003: "2021:07:30 25:00:00"}, {}, ""),
    "none": ({0x9003: "yesterday"}, {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("camera", "file", "expected"), DATES.values(), ids=DATES.keys())
def test_dates_are_read_in_every_spelling(fmt, camera, file, expected):
    exif = Image.Exif()
    exif[0x010F] = "maker"  # Pillow writes no block of nested tags alone
    exif.get_ifd(0x8769).update(camera)
    exif.update(file)
    assert open_picture(encoded(texture(), fmt, exif=exif)).taken == expected


XMP = "<x:xmpmeta><rdf:Description {}>{}</rdf:Description></x:xmpmeta>"


@pytest.mark.parametrize(
    ("attributes", "elements", "expected"),
    [
        ('xmp:CreateDate="2019-03-04T05:06:07+01:00"', "", "2019-03-04T05:06:07"),
        ("", "<photoshop:DateCreated>2018-02-03</photoshop:DateCreated>", "2018-02-03T00:00:00"),
        (
            "xmp:CreateDate='2022-01-01T00:00:00'",
            "<exif:DateTimeOriginal>2017-12-11T10:09:08.55Z</exif:DateTimeOriginal>",
            "2017-12-11T10:09:08",
        ),
        ("", "<xap:CreateDate>2019-03-04T05:06:07Z</xap:CreateDate>", "2019-03-04T05:06:07"),
        ('exifEX:DateTimeOriginal="2019-03-04T05:06:07"', "", "2019-03-04T05:06:07"),
        ('Iptc4xmpCore:DateCreated="2019-03-04"', "", "2019-03-04T00:00:00"),
        ('xmp:ModifyDate="2019-03-04T05:06:07"', "", ""),
    ],
)
@pytest.mark.parametrize("fmt", ["JPEG", "WEBP"])
def test_dates_are_read_from_xmp(fmt, attributes, elements, expected):
    packet = XMP.format(attributes, elements).encode()
    assert open_picture(encoded(texture(), fmt, xmp=packet)).taken == expected


def iptc(day, time):
    fields = [(55, day), (60, time)]
    body = b"".join(b"\x1c\x02" + bytes((n,)) + len(v).to_bytes(2, "big") + v for n, v in fields)
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(body).to_bytes(4, "big") + body
    return b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block


@pytest.mark.parametrize(
    ("day", "time", "expected"),
    [
        (b"20210730", b"123456+0200", "2021-07-30T12:34:56"),
        (b"20210730", b"", "2021-07-30T00:00:00"),
        (b"junk", b"junk", ""),
    ],
)
def test_dates_are_read_from_iptc(day, time, expected):
    data = encoded(texture(), "JPEG")
    assert open_picture(data[:2] + iptc(day, time) + data[2:]).taken == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-07-30T12:34:56+02:00", "2021-07-30T12:34:56"),
        ("Fri, 30 Jul 2021 12:34:56 +0200", "2021-07-30T12:34:56"),
        ("once", ""),
    ],
)
def test_the_creation_time_of_a_png_is_read(text, expected):
    chunks = PngInfo()
    chunks.add_text("Creation Time", text)
    assert open_picture(encoded(texture(), "PNG", pnginfo=chunks)).taken == expected


def test_avif_is_read():
    result = open_picture(encoded(texture(), "AVIF", quality=95))
    assert (result.image.mode, result.image.size, result.image.info) == ("RGB", (160, 120), {})
    difference = np.asarray(result.image).astype(int) - np.asarray(texture())
    assert np.abs(difference).mean() < 8


def heic_header():
    brands = b"ftyp" + b"heic" + bytes(4) + b"mif1heic"
    return (len(brands) + 4).to_bytes(4, "big") + brands + bytes(100)


@pytest.mark.skipif(
    importlib.util.find_spec("pillow_heif") is not None, reason="pillow-heif is installed"
)
def test_heic_without_its_decoder_says_what_to_install():
    with pytest.raises(ImageError, match=r"is a HEIC picture.*duet-studio\[heif\]"):
        open_image(heic_header())


@pytest.mark.skipif(
    importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed"
)
def test_heic_is_read():
    import pillow_heif

    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2021:07:30 12:34:56"
    exif[0x0112] = 6
    buffer = io.BytesIO()
    pillow_heif.from_pillow(texture()).save(buffer, quality=95, exif=exif.tobytes())
    picture = open_picture(buffer.getvalue())
    assert (picture.image.mode, picture.taken) == ("RGB", "2021-07-30T12:34:56")
    assert picture.image.size == (picture.width_px, picture.height_px)
    for cut in (40, len(buffer.getvalue()) // 2):
        with pytest.raises(ImageError, match="damaged"):
            open_image(buffer.getvalue()[:cut])
