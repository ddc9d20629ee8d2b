"""Pictures of the gallery as the page shows them: small copies in a private folder of their own."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from PIL import Image

from composer.files import atomic_file
from composer.images import ImageError, open_image

SMALL_PX, LARGE_PX = 256, 768
MAX_FILES = 4_000
_SUFFIX = ".webp"
_MISSING = (232, 226, 212)


class Thumbnails:
    """A bounded cache of re-encoded pictures; metadata of the originals never reaches it."""

    def __init__(self, folder: Path, *, max_files: int = MAX_FILES) -> None:
        """Use `folder`, which must be private and empty."""
        self._folder, self._max_files = folder, max_files
        self._made: OrderedDict[str, Path] = OrderedDict()
        self._lock = Lock()

    def small(self, files: Sequence[Path]) -> list[Path]:
        """Return one thumbnail for each file, at most 256 px, in order."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda file: self.of(file, SMALL_PX), files))

    def large(self, file: Path) -> Path:
        """Return a copy of at most 768 px."""
        return self.of(file, LARGE_PX)

    def tile_name(self, file: Path) -> str:
        """Name the file of a small copy, as addresses of tiles end."""
        return f"{_name(file, SMALL_PX)}{_SUFFIX}"

    def of(self, file: Path, size_px: int) -> Path:
        """Return a copy whose longer side has at most `size_px`; a blank where it has gone."""
        name = _name(file, size_px)
        with self._lock:
            known = self._made.get(name)
            if known is not None and known.exists():
                # The server tidies up by age, and what is shown again is young again.
                os.utime(known)
                self._made.move_to_end(name)
                return known
        made = self._folder / f"{name}{_SUFFIX}"
        _save(_shrunk(file, size_px), made)
        with self._lock:
            self._made[name] = made
            while len(self._made) > self._max_files:
                self._made.popitem(last=False)[1].unlink(missing_ok=True)
        return made


def _name(file: Path, size_px: int) -> str:
    """Name a copy by what it was made from; the original's name stays out of addresses."""
    try:
        stat = file.stat()
        version = f"{stat.st_size} {stat.st_mtime_ns}"
    except (OSError, ValueError):
        version = "missing"
    return hashlib.sha256(f"{file} {version} {size_px}".encode()).hexdigest()[:24]


def _shrunk(file: Path, size_px: int) -> Image.Image:
    try:
        image = open_image(file)
    except ImageError:
        return Image.new("RGB", (SMALL_PX, SMALL_PX), _MISSING)
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _save(image: Image.Image, path: Path) -> None:
    with atomic_file(path) as file:
        image.save(file, format="WEBP", quality=88, method=2)
