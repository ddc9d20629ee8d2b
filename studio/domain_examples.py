"""Example pictures of a domain, and the photographs that they are compared with."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from composer.backbone import Backbone
from composer.domain import MAX_EXAMPLES, THUMBNAIL_PX
from composer.images import DEFAULT, ImageError, open_picture
from retrieval.files import printable, read_regular
from retrieval.indexing.walk import Skipped, walk
from studio.errors import UsageError
from studio.kit_file import assets_folder

NUM_NEUTRAL: Final = 96
_BATCH = 16
_TILES = 2  # of the thumbnail, a side


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Example pictures that were read.

    Attributes:
        levels: RGB levels, cut and resized as the encoder sees them.
        hashes: SHA-256 of their files.
        skipped: Files that could not be read.
    """

    levels: UInt8[np.ndarray, "n h w 3"]
    hashes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    file: Path
    name: str


def read_examples(paths: Sequence[Path], backbone: Backbone, option: str) -> Examples:
    """Read the pictures that an option names, files or folders; each content counts once.

    Args:
        paths: As they were given.
        backbone: Whose encoder will see them.
        option: Name of the option, for messages.

    Raises:
        UsageError: None can be read, there are too many, or a folder has none.
        GalleryError: A folder cannot be read.
    """
    levels: dict[str, UInt8[np.ndarray, "h w 3"]] = {}
    skipped: list[Skipped] = []
    for entry in _files_of(paths):
        if isinstance(entry, Skipped):
            skipped.append(entry)
            continue
        try:
            data = read_regular(entry.file, DEFAULT.max_bytes)
            digest = hashlib.sha256(data).hexdigest()
            if digest in levels:
                continue
            picture = open_picture(data, least_px=backbone.image_size_px)
        except OSError:
            skipped.append(Skipped(path=entry.name, reason="It cannot be read; check the path."))
            continue
        except ImageError as error:
            skipped.append(Skipped(path=entry.name, reason=f"It {error.reason}"))
            continue
        if len(levels) == MAX_EXAMPLES:
            raise UsageError(f"{option} takes at most {MAX_EXAMPLES} pictures; give fewer.")
        levels[digest] = backbone.crop(picture.image)
    if not levels:
        raise UsageError(_none_read(paths, skipped, option))
    return Examples(
        levels=np.stack(list(levels.values())), hashes=tuple(levels), skipped=tuple(skipped)
    )


def _files_of(paths: Sequence[Path]) -> Iterator[_File | Skipped]:
    for path in paths:
        if not path.is_dir():
            yield _File(file=path, name=printable(path))
            continue
        for entry in walk(path):
            if isinstance(entry, Skipped):
                yield Skipped(path=f"{printable(path)}/{entry.path}", reason=entry.reason)
            else:
                yield _File(file=entry.file, name=printable(path / entry.path))


def _none_read(paths: Sequence[Path], skipped: Sequence[Skipped], option: str) -> str:
    if not skipped:
        names = ", ".join(printable(path) for path in paths[:3])
        return f"There is no picture in {names}; name pictures, or a folder of them, with {option}."
    first = skipped[0]
    return (
        f"None of the pictures of {option} can be read ({len(skipped)} tried); the first, "
        f"{first.path}: {first.reason}"
    )


@torch.inference_mode()
def encode_levels(backbone: Backbone, levels: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n d"]:
    """Return unit features of pictures in the encoder's size, in float32."""
    parts = [
        backbone.encode_image(backbone.normalise_pixels(levels[at : at + _BATCH])).features.float()
        for at in range(0, len(levels), _BATCH)
    ]
    return torch.cat(parts)


def thumbnail_of(levels: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """Return a small picture of up to four examples, or of one."""
    count = _TILES if len(levels) >= _TILES**2 else 1
    side = THUMBNAIL_PX // count
    sheet = Image.new("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
    for number in range(count**2):
        row, column = divmod(number, count)
        tile = ImageOps.fit(Image.fromarray(levels[number]), (side, side))
        sheet.paste(tile, (column * side, row * side))
    return np.array(sheet)


def neutral_levels(backbone: Backbone) -> UInt8[np.ndarray, "n h w 3"]:
    """Return photographs of the shipped gallery, of all its kinds alike, as the encoder sees them.

    Raises:
        UsageError: The gallery is damaged.
    """
    folder = assets_folder() / "gallery"
    try:
        columns = ["path", "kind", "domain"]
        rows = pq.read_table(folder / "items.parquet", columns=columns).to_pylist()
        by_kind: dict[str, list[str]] = {}
        for row in rows:
            if row["domain"] == "photo":
                by_kind.setdefault(row["kind"], []).append(row["path"])
        num_each = -(-NUM_NEUTRAL // len(by_kind))
        paths = [path for kind in sorted(by_kind) for path in _spread(by_kind[kind], num_each)]
        least_px = backbone.image_size_px
        return np.stack(
            [backbone.crop(open_picture(folder / p, least_px=least_px).image) for p in paths]
        )
    except (OSError, KeyError, ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"The photographs of the shipped gallery cannot be read ({folder}); reinstall Duet "
            "Studio, or give photographs of the same subject with --like-subject."
        ) from error


def _spread(paths: list[str], count: int) -> list[str]:
    """Return up to `count` entries at equal distances."""
    picked = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    return [paths[number] for number in picked]
