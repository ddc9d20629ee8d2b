"""Reader of the Sketchy database (Sangkloy 2016) and of its extension, with the splits in use.

Layout: `photo/<transform>/<class>/<id>.jpg`, `sketch/<transform>/<class>/<id>-<n>.png`, beside
them or above them `EXTEND_image_sketchy/<class>/<name>.jpg` (Liu 2017, 73,002 photos in all).
"""

from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from composer.data import heldout
from composer.data.instances import Drawing, InstanceDataset, Photo
from composer.data.tree import DatasetError, Tree, is_picture, summarise

STRETCHED = "tx_000000000000"
CENTRED = "tx_000100000000"
EXTENSION = "EXTEND_image_sketchy"
HINT = (
    "Get the rendered 256x256 images from the page of the Sketchy database (Georgia Tech) and "
    "pass their folder, a .tar or a .zip."
)
SEEN_104 = (
    "airplane", "alarm_clock", "ant", "ape", "apple", "armor", "axe", "banana", "bear", "bee",
    "beetle", "bell", "bench", "bicycle", "blimp", "bread", "butterfly", "camel", "candle",
    "cannon", "car_(sedan)", "castle", "cat", "chair", "chicken", "church", "couch", "crab",
    "crocodilian", "cup", "deer", "dog", "duck", "elephant", "eyeglasses", "fan", "fish", "flower",
    "frog", "geyser", "guitar", "hamburger", "hammer", "harp", "hat", "hedgehog", "hermit_crab",
    "horse", "hot-air_balloon", "hotdog", "hourglass", "jack-o-lantern", "jellyfish", "kangaroo",
    "knife", "lion", "lizard", "lobster", "motorcycle", "mushroom", "owl", "parrot", "penguin",
    "piano", "pickup_truck", "pig", "pineapple", "pistol", "pizza", "pretzel", "rabbit", "racket",
    "ray", "rifle", "rocket", "sailboat", "saxophone", "scorpion", "sea_turtle", "seal", "shark",
    "sheep", "shoe", "snail", "snake", "spider", "spoon", "squirrel", "starfish", "strawberry",
    "swan", "table", "tank", "teapot", "teddy_bear", "tiger", "trumpet", "turtle", "umbrella",
    "violin", "volcano", "wading_bird", "wine_bottle", "zebra",
)  # fmt: skip
UNSEEN_21 = (
    "bat", "cabin", "cow", "dolphin", "door", "giraffe", "helicopter", "mouse", "pear", "raccoon",
    "rhinoceros", "saw", "scissors", "seagull", "skyscraper", "songbird", "sword", "tree",
    "wheelchair", "windmill", "window",
)  # fmt: skip
UNSEEN_25 = (
    "airplane", "bell", "butterfly", "camel", "chicken", "cup", "deer", "harp", "horse", "parrot",
    "pineapple", "ray", "rifle", "scissors", "snail", "squirrel", "swan", "tank", "teddy_bear",
    "tree", "umbrella", "volcano", "wheelchair", "windmill", "wine_bottle",
)  # fmt: skip


class ClassSplit(NamedTuple):
    """Names of the classes to train on and to measure on, each sorted."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def open_sketchy(
    path: Path, *, transform: str = STRETCHED, with_extension: bool = True
) -> InstanceDataset:
    """Open the Sketchy database.

    The extension repeats the originals in another framing: a photo of it whose name an original of
    the class carries is left out. Drawings whose photo is missing are kept, their pairing is not
    checked here.

    Args:
        path: Folder or archive; wrapper folders do not matter.
        transform: `tx_000000000000` is stretched to the square, `tx_000100000000` is centred with
            a margin.
        with_extension: Add the photos of `EXTEND_image_sketchy`, where that folder is there.

    Raises:
        DatasetError: The layout is another one, the transform is missing, a class has no photos,
            or a sketch is not named after its photo.
    """
    tree = Tree.open(path)
    base = tree.locate("photo", "sketch", hint=HINT)
    originals = [_photo(file) for file in _class_files(tree, base / "photo" / transform)]
    drawings = [_drawing(file) for file in _class_files(tree, base / "sketch" / transform)]
    pictured = {photo.class_name for photo in originals}
    if bare := {drawing.class_name for drawing in drawings} - pictured:
        raise DatasetError(
            f"Every class of Sketchy needs photos; {summarise(bare)} has none. {HINT}"
        )
    added = _extension(tree, originals) if with_extension else []
    return InstanceDataset(
        name="Sketchy", tree=tree, photos=(*originals, *added), drawings=tuple(drawings)
    )


def split_104_21(dataset: InstanceDataset) -> ClassSplit:
    """Return the split whose 21 unseen classes are not among ImageNet's 1,000 (Yelamarthi 2018).

    Raises:
        DatasetError: A class is missing, or one has no photos or no sketches.
    """
    return _split(dataset, {*SEEN_104, *UNSEEN_21}, UNSEEN_21)


def split_100_25(dataset: InstanceDataset) -> ClassSplit:
    """Return the random split of the zero-shot literature (Shen 2018), as ZSE-SBIR's lists have it.

    Results on other random classes cannot be compared.

    Raises:
        DatasetError: A class is missing, or one has no photos or no sketches.
    """
    return _split(dataset, {*SEEN_104, *UNSEEN_21}, UNSEEN_25)


def split_heldout(dataset: InstanceDataset) -> ClassSplit:
    """Return our split: of the 104 training classes, 20 are held out from every training of ours.

    The 21 unseen classes are in neither part and need not be in the data set.

    Raises:
        DatasetError: A class of the 104 is missing, or has no photos or no sketches.
    """
    return _split(dataset, set(SEEN_104), heldout.SKETCHY_CLASSES)


def _split(dataset: InstanceDataset, classes: set[str], test: Collection[str]) -> ClassSplit:
    """Divide classes, each of which must have photos and sketches."""
    for what, items in (("photos", dataset.photos), ("sketches", dataset.drawings)):
        if missing := classes - {item.class_name for item in items}:
            raise DatasetError(
                f"The split needs {what} of {len(classes)} classes, but {dataset.tree.name} has "
                f"none of {summarise(missing)}. {HINT}"
            )
    return ClassSplit(train=tuple(sorted(classes - set(test))), test=tuple(sorted(test)))


def _class_files(tree: Tree, folder: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield the pictures of `<folder>/<class>/`."""
    files = [file for file in tree.under(folder) if is_picture(file)]
    if not files:
        present = {file.relative_to(folder.parent).parts[0] for file in tree.under(folder.parent)}
        raise DatasetError(
            f"{tree.name} must hold pictures in {folder}/<class>/, but {folder.parent} has "
            f"{summarise(present)}. {HINT}"
        )
    for file in files:
        if file.parent.parent != folder:
            raise DatasetError(f"{file} of {tree.name} must lie in {folder}/<class>/. {HINT}")
        yield file


def _photo(file: PurePosixPath) -> Photo:
    return Photo(path=file, class_name=file.parent.name, instance=file.stem)


def _drawing(file: PurePosixPath) -> Drawing:
    instance = heldout.sketchy_photo_stem(file.stem)
    if instance == file.stem:
        raise DatasetError(f"A sketch must be named <photo>-<number>.png, got {file}. {HINT}")
    number = int(file.stem[len(instance) + 1 :])
    return Drawing(path=file, class_name=file.parent.name, instance=instance, number=number)


def _extension(tree: Tree, originals: Collection[Photo]) -> list[Photo]:
    if not any(EXTENSION in file.parts[:-1] for file in tree.files):
        return []
    known = {(photo.class_name, photo.instance) for photo in originals}
    classes = {photo.class_name for photo in originals}
    folder = tree.locate(EXTENSION) / EXTENSION
    photos = [_photo(file) for file in _class_files(tree, folder)]
    if strange := {photo.class_name for photo in photos} - classes:
        raise DatasetError(f"{EXTENSION} has classes Sketchy has not: {summarise(strange)}. {HINT}")
    return [photo for photo in photos if (photo.class_name, photo.instance) not in known]
