"""Reader of CIRR (Liu 2021): a photo, a sentence that changes it, and the target photo.

Layout: `captions/cap.rc2.<split>.json`, `image_splits/split.rc2.<split>.json`, and the pictures of
NLVR2 in `img_raw/` or beside the captions, or given separately.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from PIL import Image

from composer.data.tree import DatasetError, Tree, summarise
from composer.images import open_image

SPLITS = ("train", "val", "test1")
RAW = "img_raw"
HINT = (
    "Get the annotations from the cirr_dataset branch of CIRR's repository (Cuberick-Orion/CIRR)."
)
IMAGES_HINT = "CIRR's pictures are those of NLVR2; ask for them on the page of NLVR2."


@dataclass(frozen=True, kw_only=True, slots=True)
class CirrQuery:
    """One query.

    Attributes:
        pair_id: Its number.
        reference: Name of the picture it starts from; never an answer.
        target: Name of the right picture; empty in `test1`, whose answers are not published.
        text: The change to the reference.
        members: Names of the six similar pictures that the subset recall ranks, the reference
            among them.
    """

    pair_id: int
    reference: str
    target: str
    text: str
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CirrSplit:
    """Queries of a split and the gallery they search.

    Attributes:
        name: "train", "val" or "test1".
        tree: Where the pictures are.
        queries: In the order of the file.
        paths: The file of each picture of the gallery, below the root of the tree.
    """

    name: str
    tree: Tree
    queries: tuple[CirrQuery, ...]
    paths: Mapping[str, PurePosixPath]

    @property
    def gallery(self) -> tuple[str, ...]:
        """Names of the pictures that are searched, in the order of the file."""
        return tuple(self.paths)

    def image(self, name: str) -> Image.Image:
        """Decode a picture of the gallery to RGB.

        Raises:
            DatasetError: There is none of that name, or it is damaged.
        """
        if name not in self.paths:
            raise DatasetError(f"CIRR's split {self.name} has no picture {name!r}.")
        data = self.tree.read(self.paths[name])
        try:
            return open_image(data)
        except ValueError as error:
            raise DatasetError(f"{self.paths[name]} of CIRR cannot be used. {error}") from error


def open_cirr(path: Path, split: str = "val", *, images: Path | None = None) -> CirrSplit:
    """Open a split of CIRR.

    Args:
        path: Folder or archive of the annotations; wrapper folders do not matter.
        split: "train", "val" or "test1".
        images: Folder or archive of the pictures, where they are not beside the annotations.

    Raises:
        DatasetError: The split is unknown, a file is missing or has other fields, a query names a
            picture outside the gallery, or a picture of the gallery is missing.
    """
    if split not in SPLITS:
        raise DatasetError(f"CIRR has the splits {', '.join(SPLITS)}, got {split!r}.")
    tree = Tree.open(path).rooted("captions", "image_splits", hint=HINT)
    listed = _gallery(tree, split)
    queries = _queries(tree, split, listed)
    pictures = tree if images is None else Tree.open(images)
    paths = _picture_paths(pictures, listed)
    return CirrSplit(name=split, tree=pictures, queries=queries, paths=paths)


def _gallery(tree: Tree, split: str) -> dict[str, PurePosixPath]:
    file = PurePosixPath("image_splits", f"split.rc2.{split}.json")
    listed = _load(tree, file)
    if not isinstance(listed, dict) or not listed:
        raise DatasetError(f"{file} must map names of pictures to their files. {HINT}")
    paths = {name: PurePosixPath(str(at)) for name, at in listed.items()}
    if unsafe := [at for at in paths.values() if at.is_absolute() or ".." in at.parts]:
        raise DatasetError(f"{file} must list paths below the pictures, got {summarise(unsafe)}.")
    return paths


def _queries(tree: Tree, split: str, listed: Mapping[str, PurePosixPath]) -> tuple[CirrQuery, ...]:
    file = PurePosixPath("captions", f"cap.rc2.{split}.json")
    rows = _load(tree, file)
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{file} must be a list of queries. {HINT}")
    queries = tuple(_query(row, file, has_target=split != "test1") for row in rows)
    for query in queries:
        named = {query.reference, *query.members, *filter(None, (query.target,))}
        if unknown := named - set(listed):
            raise DatasetError(
                f"Query {query.pair_id} of {file} names pictures that the split does not list: "
                f"{summarise(unknown)}. {HINT}"
            )
    return queries


def _query(row: object, file: PurePosixPath, *, has_target: bool) -> CirrQuery:
    number = "?"
    try:
        fields = cast(Mapping[str, Any], row)
        number = str(fields["pairid"])
        return CirrQuery(
            pair_id=int(number),
            reference=str(fields["reference"]),
            target=str(fields["target_hard"]) if has_target else "",
            text=str(fields["caption"]),
            members=tuple(str(name) for name in fields["img_set"]["members"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"Query {number} of {file} must have pairid, reference, target_hard, caption and "
            f"img_set.members. {HINT}"
        ) from error


def _load(tree: Tree, file: PurePosixPath) -> object:
    if file not in tree.files:
        raise DatasetError(f"{tree.name} must hold {file}. {HINT}")
    try:
        return json.loads(tree.read(file))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file} of {tree.name} is no valid JSON. {HINT}") from error


def _picture_paths(tree: Tree, listed: Mapping[str, PurePosixPath]) -> dict[str, PurePosixPath]:
    split_folder = next(iter(listed.values())).parts[0]
    has_raw = bool(tree.under(RAW))
    root = PurePosixPath(RAW) if has_raw else tree.locate(split_folder, hint=IMAGES_HINT)
    paths = {name: root / at for name, at in listed.items()}
    if missing := set(paths.values()) - set(tree.files):
        raise DatasetError(
            f"{tree.name} lacks {len(missing)} of {len(paths)} pictures: {summarise(missing)}. "
            f"{IMAGES_HINT}"
        )
    return paths
