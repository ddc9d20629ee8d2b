"""Pictures of noise that are the same in whatever order the tests run, and slow files."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def noise(size: tuple[int, int], spread: float, seed: int = 0) -> Image.Image:
    """Grey noise of mode "L" around 128; `spread` is its standard deviation in levels."""
    draws = np.random.default_rng(seed).normal(128, spread, (size[1], size[0]))
    return Image.fromarray(np.clip(draws, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def chunk_bomb(num: int = 700_000) -> bytes:
    """A PNG of 8 MB that consists of empty chunks."""
    whole = encoded(Image.new("RGB", (8, 8)), "PNG")
    start = whole.index(b"IDAT") - 4
    empty = struct.pack(">I", 0) + b"prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    return whole[:start] + empty * num + whole[start:]


def segment_bomb() -> bytes:
    """A JPEG of 8 MB that consists of empty comments."""
    whole = encoded(Image.new("RGB", (8, 8)), "JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * 2_000_000 + whole[2:]


def scan_bomb(side: int, num_scans: int) -> bytes:
    """A progressive JPEG of as many further scans, each of which costs as much as decoding it."""
    whole = encoded(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * num_scans + whole[-2:]
