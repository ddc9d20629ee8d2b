"""Reader of ImageNet-R in Pic2Word's protocol: a real photo and a domain word ask for a rendition.

Layouts: `<wnid>/<rendition>_<n>.jpg` with `README.txt`, whose lines are `<wnid> <name>`; and, given
separately, ImageNet's validation photos sorted into `<wnid>/`. A right answer shows the queried
class in the queried domain. Pic2Word's published gallery holds the real photos too, as distractors.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from composer.data.instances import InstanceDataset, Photo
from composer.data.tree import DatasetError, Tree, is_picture, summarise

DOMAINS = ("cartoon", "origami", "toy", "sculpture")
README = "README.txt"
HINT = "Get ImageNet-R from its repository (hendrycks/imagenet-r)."
REAL_HINT = (
    "Get the validation images of ILSVRC2012 from the ImageNet site and sort them into one folder "
    "for each class, named by its wnid."
)
_WNID = re.compile(r"n\d{8}")
_README_LINE = re.compile(r"(n\d{8})[\s:,]+(\S.*?)\s*")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageNetR:
    """Renditions and real photos of the same classes; a class is named by its wnid.

    Attributes:
        renditions: The gallery; the domain of a picture is its rendition.
        real: The queries, domain "photo".
        words: The name of each class in plain words ("great white shark").
    """

    renditions: InstanceDataset
    real: InstanceDataset
    words: Mapping[str, str]


def open_imagenet_r(path: Path, real: Path, *, domains: tuple[str, ...] = DOMAINS) -> ImageNetR:
    """Open ImageNet-R and the real photos of its classes.

    Args:
        path: Folder or archive of ImageNet-R.
        real: Folder or archive of ImageNet's validation photos; classes that ImageNet-R lacks are
            left out.
        domains: The renditions to keep; the protocol's four by default.

    Raises:
        DatasetError: A layout is another one, README.txt is missing, a class is not in it, has no
            renditions or no real photos, or a domain has no pictures.
    """
    tree = _class_folders(Tree.open(path), HINT)
    words = _words(tree)
    everything = [_rendition(file) for file in _class_pictures(tree)]
    classes = {photo.class_name for photo in everything}
    if classes != set(words):
        raise DatasetError(
            f"The classes of {tree.name} must be those of its {README}; they differ in "
            f"{summarise(classes ^ set(words))}. {HINT}"
        )
    kept = tuple(photo for photo in everything if photo.domain in domains)
    if missing := set(domains) - {photo.domain for photo in kept}:
        there = summarise({photo.domain for photo in everything}, 20)
        raise DatasetError(f"{tree.name} has no pictures of {summarise(missing)}, only of {there}.")
    return ImageNetR(
        renditions=InstanceDataset(name="ImageNet-R", tree=tree, photos=kept, drawings=()),
        real=_open_real(real, frozenset(words)),
        words=words,
    )


def _open_real(path: Path, classes: frozenset[str]) -> InstanceDataset:
    tree = _class_folders(Tree.open(path), REAL_HINT)
    photos = tuple(
        Photo(path=file, class_name=file.parent.name, instance=file.stem)
        for file in _class_pictures(tree)
        if file.parent.name in classes
    )
    if missing := classes - {photo.class_name for photo in photos}:
        raise DatasetError(f"{tree.name} has no real photos of {summarise(missing)}. {REAL_HINT}")
    return InstanceDataset(name="ImageNet validation", tree=tree, photos=photos, drawings=())


def _class_folders(tree: Tree, hint: str) -> Tree:
    """Return a tree rooted at the folder whose subfolders are the classes."""
    holders = {file.parent.parent for file in tree.files if _WNID.fullmatch(file.parent.name)}
    if len(holders) != 1:
        where = f"in {summarise(holders)}" if holders else "nowhere"
        raise DatasetError(
            f"{tree.name} must hold folders named by wnid (n01443537) in one folder, but they are "
            f"{where}. {hint}"
        )
    return tree.at(holders.pop())


def _class_pictures(tree: Tree) -> list[PurePosixPath]:
    return [
        file
        for file in tree.files
        if len(file.parts) == 2 and _WNID.fullmatch(file.parts[0]) and is_picture(file)
    ]


def _rendition(file: PurePosixPath) -> Photo:
    domain, _, number = file.stem.rpartition("_")
    if not domain or not number.isdecimal():
        raise DatasetError(f"A picture must be named <rendition>_<number>, got {file}. {HINT}")
    return Photo(path=file, class_name=file.parent.name, instance=str(file), domain=domain)


def _words(tree: Tree) -> dict[str, str]:
    if PurePosixPath(README) not in tree.files:
        raise DatasetError(f"{tree.name} must hold {README}, which names the classes. {HINT}")
    text = tree.read(PurePosixPath(README)).decode(errors="replace")
    lines = (_README_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {line[1]: line[2].replace("_", " ") for line in lines if line}
