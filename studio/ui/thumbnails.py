"""Small copies of gallery pictures for the page, in a private folder."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from PIL import Image

from composer.files import atomic_file
from composer.images import ImageError
from retrieval.files import leaves_folder, open_gallery_picture

SMALL_PX, LARGE_PX = 256, 768
MAX_FILES = 4_000
_SUFFIX = ".webp"
_MISSING = (232, 226, 212)


class Thumbnails:
    """A bounded cache of re-encoded pictures, without the metadata of the originals."""

    def __init__(self, folder: Path, *, max_files: int = MAX_FILES) -> None:
        """Use `folder`, which must be private and empty."""
        self._folder, self._max_files = folder, max_files
        self._copies: OrderedDict[str, Path] = OrderedDict()
        self._lock = Lock()

    def small(self, files: Sequence[Path]) -> list[Path]:
        """Return one thumbnail for each file, at most 256 px, in order."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda file: self.of(file, SMALL_PX), files))

    def large(self, file: Path) -> Path:
        """Return a copy of at most 768 px."""
        return self.of(file, LARGE_PX)

    def tile_name(self, file: Path) -> str:
        """Return the file name of a small copy, with which the address of its tile ends."""
        return f"{_name(file, SMALL_PX)}{_SUFFIX}"

    def of(self, file: Path, size_px: int) -> Path:
        """Return a copy with a longer side of at most `size_px`; a blank if the file is gone."""
        name = _name(file, size_px)
        with self._lock:
            cached = self._copies.get(name)
            if cached is not None and cached.exists():
                # The server removes old files; the time stamp keeps this one.
                os.utime(cached)
                self._copies.move_to_end(name)
                return cached
        copy = self._folder / f"{name}{_SUFFIX}"
        _save(_shrunk(file, size_px), copy)
        with self._lock:
            self._copies[name] = copy
            while len(self._copies) > self._max_files:
                self._copies.popitem(last=False)[1].unlink(missing_ok=True)
        return copy


def _name(file: Path, size_px: int) -> str:
    """Return a name derived from the original, which hides the original's name."""
    try:
        stat = file.stat()
        if leaves_folder(file):
            raise ValueError  # a copy of what stood there before is not served
        version = f"{stat.st_size} {stat.st_mtime_ns}"
    except (OSError, ValueError):
        version = "missing"
    return hashlib.sha256(f"{file} {version} {size_px}".encode()).hexdigest()[:24]


def _shrunk(file: Path, size_px: int) -> Image.Image:
    try:
        image = open_gallery_picture(file)
    except ImageError:
        return Image.new("RGB", (SMALL_PX, SMALL_PX), _MISSING)
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _save(image: Image.Image, path: Path) -> None:
    with atomic_file(path) as file:
        image.save(file, format="WEBP", quality=88, method=2)
