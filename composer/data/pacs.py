"""Reader of PACS (Li 2017): `<domain>/<class>/<file>`, four domains of seven classes, unpaired."""

from pathlib import Path, PurePosixPath

from composer.data import heldout
from composer.data.instances import Drawing, InstanceDataset, Parts, Photo, split_parts
from composer.data.tree import DatasetError, Tree, is_picture, summarise

DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
HINT = "Get PACS from the domain generalisation page of its authors (SketchX lab)."


def open_pacs(path: Path) -> InstanceDataset:
    """Open PACS.

    Pictures of all four domains are photos, their domain beside them; those of the sketch domain
    are unpaired drawings too, number 0. A photo's instance is its path as `domain/class/name`.

    Args:
        path: Folder or archive; wrapper folders do not matter.

    Raises:
        DatasetError: A domain is missing, a class has no pictures in one, or there is another one.
    """
    tree = Tree.open(path).rooted(*DOMAINS, hint=HINT)
    files = [file for domain in DOMAINS for file in tree.under(domain) if is_picture(file)]
    _check(tree, files)
    return InstanceDataset(
        name="PACS",
        tree=tree,
        photos=tuple(
            Photo(path=f, class_name=f.parts[1], instance=str(f), domain=f.parts[0]) for f in files
        ),
        drawings=tuple(
            Drawing(path=f, class_name=f.parts[1], instance="", number=0)
            for f in files
            if f.parts[0] == "sketch"
        ),
    )


def pacs_parts(dataset: InstanceDataset) -> Parts:
    """Divide PACS into our parts: a quarter of each domain is held out.

    Raises:
        DatasetError: One of the parts is empty.
    """
    return split_parts(dataset, lambda item: heldout.pacs_is_held_out(str(item.path)))


def _check(tree: Tree, files: list[PurePosixPath]) -> None:
    present = {"/".join(file.parts[:-1]) for file in files}
    expected = {f"{domain}/{name}" for domain in DOMAINS for name in CLASSES}
    if missing := expected - present:
        raise DatasetError(f"{tree.name} has no pictures in {summarise(missing)}. {HINT}")
    if unknown := present - expected:
        raise DatasetError(
            f"PACS has pictures in <domain>/<class>/ of {len(CLASSES)} classes, but {tree.name} "
            f"has some in {summarise(unknown)}. {HINT}"
        )
