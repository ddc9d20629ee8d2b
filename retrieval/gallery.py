"""The pictures of a folder: which there are, which cannot be used and why."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What people call an image. Of these, PNG, JPEG and WebP are read; the others are reported.
IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".webp"),
        *(".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".psd", ".svg"),
    )
)


class GalleryError(ValueError):
    """A folder or an index that cannot be used, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that looks like a picture: its path below the root and on disk."""

    path: str
    file: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file that was left out, and the reason in one sentence."""

    path: str
    reason: str


def walk(root: Path) -> Iterator[Candidate | Skipped]:
    """Yield every file below `root` that looks like a picture, in a stable order.

    Hidden files and folders are passed over. A link is followed when it ends inside the root;
    a link out of it is reported, never read.

    Raises:
        GalleryError: `root` is not a folder that can be read.
    """
    if not root.is_dir():
        raise GalleryError(f"There is no folder {root}; check the path.")
    real_root = root.resolve()
    seen: set[Path] = {real_root}
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _enter(here / name, real_root, seen))
        for name in sorted(names):
            file = here / name
            if name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            path = file.relative_to(root).as_posix()
            if file.resolve().is_relative_to(real_root):
                yield Candidate(path=path, file=file)
            else:
                yield Skipped(path=path, reason="It is a link that leads out of the folder.")


def _enter(folder: Path, real_root: Path, seen: set[Path]) -> bool:
    """Decide whether to walk into a folder: not hidden, inside the root, not seen (loops)."""
    if folder.name.startswith("."):
        return False
    real = folder.resolve()
    if not real.is_relative_to(real_root) or real in seen:
        return False
    seen.add(real)
    return True
