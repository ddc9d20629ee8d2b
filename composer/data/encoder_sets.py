"""What the encoder's picture side learns from and is measured on: photos and drawings.

Every picture is made at the tower's size when it is asked for. Three parts are kept apart: what is
trained on, what choices are made on (`VALIDATION`: 14 classes of Sketchy and a tenth of ChairV2's
chairs, all outside the held-out part), and what figures are reported on (`HELD_OUT`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from composer.data import archives, heldout
from composer.data.augment import draw_augmented, turn_raster
from composer.data.instances import Drawing, InstanceDataset, Photo
from composer.data.pictures import fit_square
from composer.data.qmul import open_chairv2
from composer.data.sketchy import SEEN_104, open_sketchy
from composer.medium import Medium
from composer.sketch import LINE_FRACTION, Sketch, rasterise

NUM_VALIDATION_CLASSES = 14
_LINES = (0.010, 0.030)  # widths of the lines of augmented rasters, as a share of the side

Levels = UInt8[np.ndarray, "h w 3"]


class Part(StrEnum):
    """What a picture may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A picture of a set, not yet made.

    Attributes:
        class_name: What it shows, spelled as in its data set.
        instance: The photo it is or was drawn from, unique in the set; empty where it is unknown.
        part: What it may be used for.
        view: 0 as it is; of photos 1 is mirrored; of drawings others are augmented, odd ones
            mirrored.
        make: Makes the picture with a side of so many pixels.
    """

    class_name: str
    instance: str
    part: Part
    view: int
    make: Callable[[int], Levels]


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureSet:
    """Pictures of one medium from one data set."""

    name: str
    medium: Medium
    entries: tuple[Entry, ...]


def validation_classes() -> frozenset[str]:
    """Return the classes of Sketchy that choices are made on; none of them is held out."""
    free = [name for name in SEEN_104 if not heldout.sketchy_is_held_out(name)]
    order = np.random.default_rng(1).permutation(len(free))
    return frozenset(free[i] for i in order[:NUM_VALIDATION_CLASSES])


def chair_part(instance: str) -> Part:
    """Tell what a chair of ChairV2's training split may be used for."""
    if heldout.chairv2_is_held_out(instance):
        return Part.HELD_OUT
    is_validation = heldout.bucket(f"encoder/{instance}", 8) == 0
    return Part.VALIDATION if is_validation else Part.TRAIN


def sketchy_part(class_name: str) -> Part:
    """Tell what a class of Sketchy may be used for."""
    if heldout.sketchy_is_held_out(class_name):
        return Part.HELD_OUT
    return Part.VALIDATION if class_name in validation_classes() else Part.TRAIN


def sketchy_of(folder: Path, part: Part) -> InstanceDataset:
    """Open the photos and drawings of one part of Sketchy, from the folder of the archives.

    Raises:
        DatasetError: The archive is missing or has another layout.
    """
    sketchy = open_sketchy(folder / archives.SKETCHY, with_extension=False)
    return sketchy.where(lambda item: sketchy_part(item.class_name) is part)


def encoder_sets(folder: Path, *, num_views: int = 4) -> Iterator[PictureSet]:
    """List the sets of the archives in a folder.

    Args:
        folder: Where the archives are.
        num_views: Versions of each drawing: the first as it is, the others augmented, for training
            alone.
    """
    chairs = open_chairv2(folder / archives.CHAIRV2)
    sketchy = open_sketchy(folder / archives.SKETCHY, with_extension=False)

    def part_of_chair(item: Photo | Drawing) -> Part:
        return chair_part(item.instance)

    def part_of_class(item: Photo | Drawing) -> Part:
        return sketchy_part(item.class_name)

    yield _photos("chairs.photo", chairs, part_of_chair)
    yield _drawings("chairs.drawing", chairs, part_of_chair, num_views)
    yield _photos("sketchy.photo", sketchy, part_of_class)
    yield _drawings("sketchy.drawing", sketchy, part_of_class, num_views // 2)


def _photos(name: str, dataset: InstanceDataset, part_of: Callable[[Photo], Part]) -> PictureSet:
    entries = [
        Entry(
            class_name=photo.class_name,
            instance=_key(photo),
            part=part,
            view=view,
            make=lambda px, p=photo, v=view: _mirror_odd(fit_square(dataset.image(p), px), v),
        )
        for photo in dataset.photos
        for part in (part_of(photo),)
        for view in (range(2) if part is Part.TRAIN else range(1))
    ]
    return PictureSet(name=name, medium=Medium.PHOTO, entries=tuple(entries))


def _drawings(
    name: str, dataset: InstanceDataset, part_of: Callable[[Drawing], Part], num_views: int
) -> PictureSet:
    entries = [
        Entry(
            class_name=drawing.class_name,
            instance=_key(drawing),
            part=part,
            view=view,
            make=lambda px, d=drawing, v=view: _draw(dataset.sketch(d), px, _seed(d, v), v),
        )
        for drawing in dataset.drawings
        for part in (part_of(drawing),)
        for view in (range(num_views) if part is Part.TRAIN else range(1))
    ]
    return PictureSet(name=name, medium=Medium.DRAWING, entries=tuple(entries))


def _key(item: Photo | Drawing) -> str:
    return f"{item.class_name}/{item.instance}"


def _seed(drawing: Drawing, view: int) -> int:
    return heldout.bucket(f"{drawing.path}/{view}", 2**31)


def _draw(sketch: Sketch, size_px: int, seed: int, view: int) -> Levels:
    ink = rasterise(sketch, size_px) if view == 0 else _augmented(sketch, size_px, seed)
    return _mirror_odd(np.repeat(ink[..., None], 3, axis=2), view)


def _augmented(sketch: Sketch, size_px: int, seed: int) -> UInt8[np.ndarray, "h w"]:
    rng = np.random.default_rng(seed)
    if sketch.strokes is not None:
        return draw_augmented(sketch, size_px, rng)
    assert sketch.raster is not None
    turned = Sketch(raster=turn_raster(sketch.raster, rng))
    line = max(LINE_FRACTION, float(rng.uniform(*_LINES)))
    return rasterise(turned, size_px, line * size_px)


def _mirror_odd(levels: Levels, view: int) -> Levels:
    if view % 2 == 0:
        return levels
    return np.array(ImageOps.mirror(Image.fromarray(levels)))
