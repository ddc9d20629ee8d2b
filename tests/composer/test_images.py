import contextlib
import io
import os
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from composer.images import ImageError, ImageLimits, open_image, open_picture
from tests.pictures import noise


def encoded(image, fmt="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def png_bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(50_000_000))
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_plain_pictures_come_out_as_rgb_without_metadata(fmt):
    image = open_image(encoded(Image.new("RGB", (7, 5), (200, 30, 40)), fmt))
    assert (image.mode, image.size, image.info) == ("RGB", (7, 5), {})
    np.testing.assert_allclose(np.asarray(image)[2, 3], (200, 30, 40), atol=4)


def test_paths_work_and_their_ending_is_not_trusted(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(Image.new("RGB", (4, 4), "red")))
    assert open_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    result = np.asarray(open_image(encoded(image)))[0].tolist()
    assert result[0] == [255, 255, 255]
    assert result[1] == pytest.approx([255, 127, 127], abs=1)


def test_transparent_palettes_and_grey_alpha_work():
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    assert open_image(encoded(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encoded(Image.new("LA", (2, 2), (0, 0)))).getpixel((1, 1)) == (255, 255, 255)


def test_exif_rotation_is_applied_and_dropped():
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    result = open_image(encoded(image, exif=exif))
    assert result.size == (2, 4)
    assert result.getpixel((1, 0)) == (255, 255, 255)
    assert dict(result.getexif()) == {}


def test_text_chunks_do_not_pass():
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "secret")
    image = open_image(encoded(Image.new("RGB", (2, 2)), pnginfo=chunks))
    assert image.info == {}
    assert b"secret" not in encoded(image)


def test_sixteen_bits_become_eight():
    levels = np.array([[0, 256, 65535]], dtype=np.uint16)
    result = np.asarray(open_image(encoded(Image.fromarray(levels))))[0, :, 0]
    assert result.tolist() == [0, 1, 255]


def test_cmyk_is_converted():
    image = open_image(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = np.asarray(image)[1, 1].tolist()
    assert red > 200
    assert max(green, blue) < 60


def test_animations_give_their_first_frame():
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert open_image(data).getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("data", [b"GIF89a" + b"\0" * 50, b"hello", b"RIFF1234WAVE", b"%PDF-1.7"])
def test_other_formats_are_refused(data):
    with pytest.raises(ImageError, match="not a PNG, JPEG, WebP, AVIF or HEIC"):
        open_image(data)


def test_empty_missing_and_damaged_files_are_refused(tmp_path):
    whole = encoded(noise((64, 64), 90))
    with pytest.raises(ImageError, match="is empty"):
        open_image(b"")
    with pytest.raises(ImageError, match=r"nothing\.png cannot be read"):
        open_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path)
    for cut in (20, 40, len(whole) // 2):
        with pytest.raises(ImageError, match="damaged"):
            open_image(whole[:cut])


def test_random_damage_gives_only_our_error():
    rng = np.random.default_rng(0)
    for fmt in ("PNG", "JPEG", "WEBP"):
        whole = encoded(noise((24, 24), 90).convert("RGB"), fmt)
        for _ in range(60):
            data = bytearray(whole)
            for index in rng.integers(0, len(data), 4):
                data[index] = rng.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert open_image(bytes(data)).mode == "RGB"


def test_a_bomb_is_refused_by_its_header_with_little_memory():
    bombs = [png_bomb(side, side) for side in (8_100, 9_000, 13_000, 60_000)]
    tracemalloc.start()
    for bomb in bombs:
        # The library warns of some of these sizes itself; both ways lead to the same sentence.
        with pytest.raises(ImageError, match="more than 64 million pixels"):
            open_image(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_too_many_bytes_are_refused_before_decoding(tmp_path):
    limits = ImageLimits(max_bytes=100)
    path = tmp_path / "large.png"
    path.write_bytes(encoded(noise((64, 64), 90)))
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="larger than"):
            open_image(source, limits)


def test_a_jpeg_is_decoded_smaller_but_never_below_what_is_asked():
    saved = io.BytesIO()
    noise((1600, 1000), 40).convert("RGB").save(saved, "JPEG")
    for least_px, height in ((None, 1000), (400, 500), (200, 250), (126, 250), (1, 125)):
        picture = open_picture(saved.getvalue(), least_px=least_px)
        assert picture.image.height == height
        assert (picture.width_px, picture.height_px) == (1600, 1000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_from_whoever_writes_to_it_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    ended: list[str] = []

    def read():
        with pytest.raises(ImageError, match="is empty"):
            open_image(pipe)
        ended.append("read")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert ended == ["read"]
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(data, "PNG")
    handle, writing = os.pipe()  # as of `<(...)` in a shell
    writer = threading.Timer(0.2, lambda: (os.write(writing, data.getvalue()), os.close(writing)))
    writer.start()
    assert open_image(Path(f"/dev/fd/{handle}")).getpixel((0, 0)) == (255, 0, 0)
    os.close(handle)
