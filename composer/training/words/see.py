"""`python -m composer.training.words.see BANK ...`: pooled features of the archives' pictures.

Writes the bank that the other commands read: the pooled features of all pictures with words, and
the weights of the trunk's classifier.
"""

import argparse
import io
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import nn

from composer.data import archives
from composer.data.catalogue import CataloguePack
from composer.data.pictures import fit_square
from composer.data.tree import DatasetError
from composer.errors import InputError
from composer.hardware import resolve_device
from composer.training.public_trunk import MEAN, STD, public_tower, public_trunk_state
from composer.training.trunk_features import encode_levels
from composer.training.words.bank import CATALOGUE, CLASSIFIER, PooledSet, read_bank, write_bank
from composer.training.words.imagenet import imagenet_classes

IMAGE_PX: Final = 192
BATCH: Final = 16
SETS: Final = {
    "sketchy": archives.SKETCHY,
    "flickr": archives.FLICKR,
    "tiny": archives.TINY_IMAGENET,
    "pacs": archives.PACS,
    "noto": archives.NOTO,
}
# Pictures of a folder that are taken; all where nothing is said.
MOST: Final = {"tiny": 25, "pacs": 40}
DRAWINGS: Final = ("sketchy", "sketch")
_SUFFIXES = (".jpg", ".png", ".webp")
_CPU = torch.device("cpu")


def encode_archive(tower: nn.Module, path: Path, *, most: int | None, image_px: int) -> PooledSet:
    """Encode the pictures of an archive; of Sketchy's the photos alone.

    Args:
        tower: With the trunk that looks.
        path: A tar or a zip.
        most: How many of a folder are taken, the first by name; None for all.
        image_px: Side of the square that the middle of a picture is fitted to.

    Raises:
        FileNotFoundError: There is no such archive.
    """
    names: list[str] = []
    pooled: list[torch.Tensor] = []
    pictures = _pictures(path, most)
    while group := list(islice(pictures, BATCH)):
        names += [name for name, _ in group]
        levels = [fit_square(_decode(data), image_px) for _, data in group]
        pooled.append(encode_levels(tower, levels, mean=MEAN, std=STD)[0])
    return PooledSet(names=tuple(names), pooled=torch.cat(pooled))


def encode_pack(
    tower: nn.Module, pack: CataloguePack, *, image_px: int, known: PooledSet | None = None
) -> PooledSet:
    """Encode the pictures of a training pack; each is named after its split and itself.

    Args:
        tower: With the trunk that looks.
        pack: The pack.
        image_px: Side of its pictures.
        known: What the tower said of a part of the pack before.
    """
    names = tuple(f"{item.split}/{item.id}" for item in pack.items)
    row_of = {} if known is None else {name: row for row, name in enumerate(known.names)}
    fresh = np.array([row for row, name in enumerate(names) if name not in row_of], dtype=int)
    pooled = [] if known is None else [known.pooled]
    for start in range(0, len(fresh), BATCH):
        levels = list(pack.pixels(fresh[start : start + BATCH], image_px))
        pooled.append(encode_levels(tower, levels, mean=MEAN, std=STD)[0])
    first = len(row_of)
    row_of |= {names[row]: first + place for place, row in enumerate(fresh)}
    return PooledSet(names=names, pooled=torch.cat(pooled)[[row_of[name] for name in names]])


def classifier_set() -> PooledSet:
    """Return the weights of the trunk's classifier, a class a row."""
    names = tuple(item.wnid for item in imagenet_classes())
    return PooledSet(names=names, pooled=public_trunk_state()["classifier.weight"])


def _pictures(path: Path, most: int | None) -> Iterator[tuple[str, bytes]]:
    counts: Counter[PurePosixPath] = Counter()
    for name, data in _members(path):
        inside = PurePosixPath(name)
        if inside.suffix not in _SUFFIXES or inside.parts[:2] == DRAWINGS:
            continue
        counts[inside.parent] += 1
        if most is None or counts[inside.parent] <= most:
            yield name, data


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents in the order of the names."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as files:
            for name in sorted(files.namelist()):
                yield name, files.read(name)
        return
    with tarfile.open(path) as files:
        for member in sorted(files.getmembers(), key=lambda item: item.name):
            handle = files.extractfile(member)
            if handle is not None:
                yield member.name, handle.read()


def _decode(data: bytes) -> Image.Image:
    """Decode to RGB, what is transparent to white."""
    with Image.open(io.BytesIO(data)) as opened:
        rgba = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Encode every archive of a folder; return the exit code, 2 where the user can mend it."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.words.see")
    parser.add_argument("bank", type=Path, help="the file to write")
    parser.add_argument("--natural", type=Path, required=True, help="folder of the data archives")
    parser.add_argument("--data", type=Path, help="folder of the catalogue's training pack")
    parser.add_argument("--device", default="auto", help="where the trunk runs")
    chosen = parser.parse_args(arguments)
    try:
        device = resolve_device(chosen.device)
        extend_bank(chosen.bank, natural=chosen.natural, data=chosen.data, device=device)
    except (FileNotFoundError, ModuleNotFoundError, DatasetError, InputError) as error:
        print(error, file=sys.stderr)  # noqa: T201  what the user can mend
        return 2
    return 0


def extend_bank(
    bank: Path, *, natural: Path, data: Path | None, device: torch.device = _CPU
) -> None:
    """Encode what the bank lacks; it is written after each set."""
    tower = public_tower(IMAGE_PX, 256).to(device)
    sets = read_bank(bank) if bank.exists() else {CLASSIFIER: classifier_set()}
    for name, file in SETS.items():
        if name not in sets:
            path = natural / file
            sets[name] = encode_archive(tower, path, most=MOST.get(name), image_px=IMAGE_PX)
            write_bank(sets, bank)
            print(f"{name}: {len(sets[name].names)} pictures", flush=True)  # noqa: T201
    if data is not None:
        known, pack = sets.get(CATALOGUE), CataloguePack.open(data)
        sets[CATALOGUE] = encode_pack(tower, pack, image_px=IMAGE_PX, known=known)
        write_bank(sets, bank)


if __name__ == "__main__":
    sys.exit(main())
