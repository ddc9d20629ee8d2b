"""Where the pictures of an index are: the folder that its paths begin at."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from composer.backbone import Backbone
from retrieval.errors import GalleryError
from retrieval.files import printable
from retrieval.store.location import IndexPlace, base_of
from retrieval.store.schema import Manifest


def root_for(folders: Sequence[Path], index: IndexPlace) -> Path:
    """Return the folder that paths begin at: the index's, or what the folders have in common."""
    base = base_of(index)
    if base.is_made and (root := base.root_of(base.read_manifest())).is_dir():
        return root
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


def manifest_of(
    folders: Sequence[Path], index: IndexPlace, backbone: Backbone, *, kit: str, origin: str = ""
) -> Manifest:
    """Return what an index of some folders says of itself, made by this encoder.

    The first run fixes the root: the folder, or what several have in common. Later ones may bring
    any folder below it. A root that is gone has been moved, with its pictures: one folder takes
    its place, and the manifest is rewritten.

    Raises:
        GalleryError: A folder is not there, or lies outside the root of the index.
    """
    for folder in folders:
        if not folder.is_dir():
            raise GalleryError(f"There is no folder {printable(folder)}; check the path.")
    real = [folder.resolve() for folder in folders]
    base = base_of(index)
    fresh = Manifest(
        gallery_hash=backbone.gallery_hash,
        dim=backbone.joint_dim,
        kit=kit,
        root=base.named_root(Path(os.path.commonpath(real))),
        origin=origin,
    )
    if not base.is_made:
        return fresh
    found = base.read_manifest()
    root = base.root_of(found)
    if found.gallery_hash != fresh.gallery_hash:
        return fresh  # refused where it is opened
    if not root.is_dir() and len(folders) == 1:
        moved = replace(found, root=fresh.root)
        base.write_manifest(moved)
        return moved
    outside = [folder for folder in real if not folder.is_relative_to(root.resolve())]
    if outside:
        named = " ".join(str(folder) for folder in [root, *outside])
        raise GalleryError(
            f"The index {index} is of pictures below {root}, and {outside[0]} lies elsewhere. "
            f"Choose another --index, or start anew: duet index {named} --index {index} --rebuild"
        )
    return found
