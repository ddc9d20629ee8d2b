"""A folder of files that want to break an indexer, and what must become of each."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# What is to become of a file: embedded, or left out with a reason that holds these words.
ADDED = ""


def _levels(seed: int, shape: tuple[int, ...] = (9, 12, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(seed: int, kind: str, mode: str = "RGB", **options: object) -> bytes:
    """Bytes of a small picture of any mode, with pixels of its own."""
    image = Image.fromarray(_levels(seed)).resize((48, 36))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def bomb(seed: int) -> bytes:
    """A PNG of a few hundred bytes whose header states four billion pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 65000, 65000 - seed % 1000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000 + seed))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def flat(seed: int) -> bytes:
    """A small PNG that unfolds to 48 million pixels, which is allowed and must not add up."""
    out = io.BytesIO()
    Image.new("RGB", (8000, 6000), (seed % 256, seed // 256 % 256, 7)).save(out, "PNG")
    return out.getvalue()


def animated(seed: int) -> bytes:
    frames = [Image.fromarray(_levels(seed + n)).resize((40, 30)) for n in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return out.getvalue()


def rotated(seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 1 + seed % 8
    return encoded(seed, "JPEG", exif=exif)


def broken_exif(seed: int) -> bytes:
    return encoded(seed, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes([seed % 256] * 40))


def noise(seed: int) -> bytes:
    return _levels(seed, (500,)).tobytes()


# A maker of content, the ending of the file's name, and what must become of it.
MAKERS: tuple[tuple[Callable[[int], bytes], str, str], ...] = (
    (lambda n: encoded(n, "PNG"), ".png", ADDED),
    (lambda n: encoded(n, "JPEG"), ".png", ADDED),  # the ending lies
    (lambda n: encoded(n, "PNG", "P"), ".PNG", ADDED),
    (lambda n: encoded(n, "PNG", "I;16"), ".png", ADDED),
    (lambda n: encoded(n, "PNG", "RGBA"), ".png", ADDED),
    (lambda n: encoded(n, "PNG", "LA"), ".png", ADDED),
    (lambda n: encoded(n, "JPEG", "CMYK"), ".jpg", ADDED),
    (lambda n: encoded(n, "JPEG", "L"), ".jpe", ADDED),
    (lambda n: encoded(n, "JPEG", progressive=True), ".jpeg", ADDED),
    (lambda n: encoded(n, "WEBP"), ".webp", ADDED),
    (animated, ".webp", ADDED),
    (rotated, ".jpg", ADDED),
    (lambda n: encoded(n, "JPEG") + bytes(n % 97 + 1), ".jpg", ADDED),  # something behind the end
    (lambda n: encoded(n, "PNG")[: 60 + n % 300], ".png", "damaged"),
    (lambda n: encoded(n, "JPEG")[: 700 + n % 100], ".jpg", "damaged"),
    (lambda n: encoded(n, "WEBP")[: 40 + n % 20], ".webp", "damaged"),
    (lambda n: b"\x89PNG\r\n\x1a\n" + noise(n), ".png", "damaged"),
    (lambda n: b"\xff\xd8\xff" + noise(n), ".jpg", "damaged"),
    (lambda n: b"RIFF\0\0\0\0WEBP" + noise(n), ".webp", "damaged"),
    (bomb, ".png", "more than 64 million pixels"),
    (lambda _: b"", ".png", "is empty"),
    (noise, ".jpg", "not a PNG, JPEG, WebP, AVIF or HEIC"),
    (lambda n: f"notes {n}".encode(), ".webp", "not a PNG, JPEG, WebP, AVIF or HEIC"),
    (lambda n: encoded(n, "GIF", "P"), ".gif", "not a PNG, JPEG, WebP, AVIF or HEIC"),
    (lambda n: encoded(n, "TIFF"), ".jpg", "not a PNG, JPEG, WebP, AVIF or HEIC"),
)
NAMES = ("plain", "new\nline", "тест", "ein Bild", "'quoted\"", "back\\slash", "\x1b[31mred", "%00")


def write_hostile(folder: Path, num_files: int) -> dict[bytes, str]:
    """Fills a folder; returns for every picture's path, as bytes, what must become of it."""
    folder.mkdir(parents=True)
    expected: dict[bytes, str] = {}

    def put(name: bytes | str, data: bytes, fate: str) -> None:
        raw = os.fsencode(name)
        file = folder / os.fsdecode(raw)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        expected[raw] = fate

    for number in range(num_files):
        make, ending, fate = MAKERS[number % len(MAKERS)]
        name = NAMES[number // len(MAKERS) % len(NAMES)]
        below = f"{number % 7}/" if number % 3 else ""
        put(f"{below}{name}-{number}{ending}", make(number), fate)
        if number % 11 == 0:
            text = b"x" * 100_000 if number % 22 else "a caption".encode("utf-16")
            (folder / f"{below}{name}-{number}.txt").write_bytes(text)
    for number in range(3):
        put(f"flat-{number}.png", flat(number), ADDED)
    put(b"latin-\xe9\xff.png", encoded(-1 % 9999, "PNG"), "not UTF-8")
    put(b"folder-\xff/inside.png", encoded(9998, "PNG"), "not UTF-8")
    put("twin.png", (folder / "flat-0.png").read_bytes(), "same content as flat-0.png")
    _put_others(folder, expected)
    return expected


def _put_others(folder: Path, expected: dict[bytes, str]) -> None:
    """Adds what is no regular file, links, and what may not be read."""
    outside = folder.with_name("outside")
    outside.mkdir()
    (outside / "secret.png").write_bytes(encoded(7777, "PNG"))
    os.mkfifo(folder / "pipe.png")
    os.mknod(folder / "socket.png", stat.S_IFSOCK | 0o666)
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "leak.png").symlink_to(outside / "secret.png")
    (folder / "leak").symlink_to(outside)
    (folder / "nowhere.png").symlink_to(folder / "none.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.png").mkdir()
    special = "pipe, a socket or a device"
    expected |= {b"pipe.png": special, b"socket.png": special}
    expected |= dict.fromkeys((b"zero.png", b"leak.png", b"leak"), "a target outside")
    expected |= dict.fromkeys((b"nowhere.png", b"circle.png"), "")
    if os.geteuid() == 0:  # root may make devices, and read everything
        os.mknod(folder / "device.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        expected[b"device.png"] = special
    else:
        file = folder / "locked.png"
        file.write_bytes(encoded(8888, "PNG"))
        file.chmod(0)
        (folder / "shut").mkdir(0)
        expected |= {b"locked.png": "cannot be read", b"shut/": "The folder cannot be read"}
