"""Readers of QMUL-ShoeV2 and QMUL-ChairV2: product photos and freehand sketches of each.

Two layouts are read. `photo/<stem>.<jpg|png>` with `sketch/[<split>/]<stem>_<k>.<json|png>`; and
`trainA`, `testA` (sketches) with `trainB`, `testB` (photos). Sketch `<stem>_<k>` belongs to photo
`<stem>`, which may hold underscores itself. The pickled `*_Coordinate` files of some releases are
not read: a pickle can run code.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from composer.data import heldout
from composer.data.instances import Drawing, InstanceDataset, Parts, Photo, split_parts
from composer.data.tree import DatasetError, Tree, is_picture, summarise

SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sheet:
    """A drawing and the split that its folder names; empty where it names none."""

    drawing: Drawing
    split: str


def open_shoev2(path: Path, *, split: str = "") -> InstanceDataset:
    """Open QMUL-ShoeV2: 2,000 photos and 6,648 sketches in the full release.

    Args:
        path: Folder or archive; wrapper folders do not matter.
        split: "train" or "test" where the layout distinguishes them; empty for all.

    Raises:
        DatasetError: The layout is another one, the split is not there, a sketch is not named
            after a photo, or its photo is missing.
    """
    return _open(path, "ShoeV2", "shoe", split)


def open_chairv2(path: Path, *, split: str = "") -> InstanceDataset:
    """Open QMUL-ChairV2: 400 photos and 1,275 sketches in the full release.

    Args:
        path: Folder or archive; wrapper folders do not matter.
        split: "train" or "test" where the layout distinguishes them; empty for all.

    Raises:
        DatasetError: As `open_shoev2`.
    """
    return _open(path, "ChairV2", "chair", split)


def chairv2_parts(dataset: InstanceDataset) -> Parts:
    """Divide ChairV2's training split into our parts: 240 photos to train on, 60 held out.

    Raises:
        DatasetError: One of the parts is empty.
    """
    return split_parts(dataset, lambda item: heldout.chairv2_is_held_out(item.instance))


def _open(path: Path, name: str, class_name: str, split: str) -> InstanceDataset:
    hint = f"Get QMUL-{name} from the downloads page of the SketchX lab."
    tree = Tree.open(path)
    folders = {part for file in tree.files for part in file.parts[:-1]}
    paired = [part for part in SPLITS if f"{part}B" in folders]
    if paired and "photo" not in folders:
        tree = tree.rooted(*(f"{part}{half}" for part in paired for half in "AB"), hint=hint)
        photos, sheets = _paired_folders(tree, class_name, paired, split)
    else:
        tree = tree.rooted("photo", hint=hint)
        photos, sheets = _photo_and_sketch(tree, class_name)
    if split:
        photos, sheets = _of_split(name, photos, sheets, split, hint)
    if lost := {s.drawing.instance for s in sheets} - {p.instance for p in photos}:
        raise DatasetError(
            f"{name} has sketches of photos that are missing: {summarise(lost)}. {hint}"
        )
    sheets = _without_rasters_of_strokes(sheets)
    drawings = tuple(sheet.drawing for sheet in sheets)
    return InstanceDataset(name=name, tree=tree, photos=tuple(photos), drawings=drawings)


def _photo_and_sketch(tree: Tree, class_name: str) -> tuple[list[Photo], list[_Sheet]]:
    photos = [_photo(file, class_name) for file in tree.under("photo") if is_picture(file)]
    sheets = [
        _sheet(file, class_name, file.parts[1] if len(file.parts) > 2 else "")
        for file in tree.under("sketch")
        if _is_drawing(file)
    ]
    return photos, sheets


def _paired_folders(
    tree: Tree, class_name: str, splits: Iterable[str], chosen: str
) -> tuple[list[Photo], list[_Sheet]]:
    photos: list[Photo] = []
    sheets: list[_Sheet] = []
    for split in splits:
        drawn = (file for file in tree.under(f"{split}A") if _is_drawing(file))
        sheets += [_sheet(file, class_name, split) for file in drawn]
        if chosen in ("", split):
            pictures = (file for file in tree.under(f"{split}B") if is_picture(file))
            photos += [_photo(file, class_name) for file in pictures]
    return photos, sheets


def _of_split(
    name: str, photos: Iterable[Photo], sheets: Iterable[_Sheet], split: str, hint: str
) -> tuple[list[Photo], list[_Sheet]]:
    """Keep the sketches of a split, and the photos that no other split has sketches of."""
    kept = [sheet for sheet in sheets if sheet.split == split]
    if not kept:
        known = {sheet.split for sheet in sheets} - {""}
        splits_text = (
            f"the splits there are {summarise(known)}" if known else "its folders name no split"
        )
        raise DatasetError(f"{name} has no sketches of split {split!r}; {splits_text}. {hint}")
    drawn = {sheet.drawing.instance for sheet in kept}
    elsewhere = {sheet.drawing.instance for sheet in sheets} - drawn
    return [photo for photo in photos if photo.instance not in elsewhere], kept


def _without_rasters_of_strokes(sheets: Iterable[_Sheet]) -> list[_Sheet]:
    """Leave out the raster of a sketch whose strokes are there too."""
    ordered = sorted(sheets, key=lambda sheet: sheet.drawing.path.suffix != ".json")
    first: dict[tuple[str, int], _Sheet] = {}
    for sheet in ordered:
        first.setdefault((sheet.drawing.instance, sheet.drawing.number), sheet)
    return sorted(first.values(), key=lambda sheet: sheet.drawing.path)


def _photo(file: PurePosixPath, class_name: str) -> Photo:
    return Photo(path=file, class_name=class_name, instance=file.stem)


def _sheet(file: PurePosixPath, class_name: str, split: str) -> _Sheet:
    instance, _, number = file.stem.rpartition("_")
    if not instance or not number.isdecimal():
        raise DatasetError(f"A sketch must be named <photo>_<number>, got {file}.")
    drawing = Drawing(path=file, class_name=class_name, instance=instance, number=int(number))
    return _Sheet(drawing=drawing, split=split)


def _is_drawing(file: PurePosixPath) -> bool:
    return file.suffix == ".json" or is_picture(file)
