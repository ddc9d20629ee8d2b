"""Archives of Sketchy and ChairV2 as they are laid out: noise for photos, lines for drawings."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from composer.data.encoder_sets import Part, chair_part, validation_classes

CLASSES = ("airplane", "apple", "owl", *sorted(validation_classes())[:2])


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def encoded(levels, kind):
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind)
    return buffer.getvalue()


def noise(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((48, 48), Image.Resampling.NEAREST))


def lines(seed):
    ink = np.full((48, 48), 255, np.uint8)
    for at in np.random.default_rng(seed).integers(6, 42, 4):
        ink[at, 6:42] = 0
        ink[6:42, 47 - at] = 0
    return ink


def write_archives(folder: Path) -> Path:
    """Write a few pictures of every part under the names of the archives."""
    with tarfile.open(folder / "sketchy_subset.tar", "w") as archive:
        for number, name in enumerate(CLASSES):
            for one in range(3):
                stem, seed = f"n0000{number}_{one}", 10 * number + one
                where = f"tx_000000000000/{name}/{stem}"
                add(archive, f"sketchy/photo/{where}.jpg", encoded(noise(seed), "JPEG"))
                add(archive, f"sketchy/sketch/{where}-1.png", encoded(lines(seed), "PNG"))
    wanted = {Part.TRAIN: 6, Part.VALIDATION: 2, Part.HELD_OUT: 2}
    with tarfile.open(folder / "chairv2_train.tar", "w") as archive:
        for number in range(200):
            part = chair_part(f"c{number}")
            if wanted[part] == 0:
                continue
            wanted[part] -= 1
            add(archive, f"chairv2/photo/c{number}.jpg", encoded(noise(500 + number), "JPEG"))
            for k in (1, 2):
                rng = np.random.default_rng(1000 * k + number)
                points = [
                    [*map(int, xy), int(i % 4 == 3)]
                    for i, xy in enumerate(rng.integers(20, 230, (12, 2)))
                ]
                said = json.dumps({"points_xy_penup": points, "size": 256}).encode()
                add(archive, f"chairv2/sketch/c{number}_{k}.json", said)
    return folder
