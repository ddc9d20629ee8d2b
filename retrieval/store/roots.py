"""Root folder of the pictures of an index, to which its paths are relative."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from composer.backbone import Backbone
from retrieval.errors import GalleryError
from retrieval.files import printable
from retrieval.store.address import IndexLocation
from retrieval.store.disk import check_utf8
from retrieval.store.location import storage_at
from retrieval.store.schema import Manifest


def root_for(folders: Sequence[Path], index: IndexLocation) -> Path:
    """Return the root of an existing index, else the common parent of the folders."""
    storage = storage_at(index)
    if storage.exists and (root := storage.root_of(storage.read_manifest())).is_dir():
        return root
    return Path(os.path.commonpath([folder.resolve() for folder in folders]))


def manifest_of(
    folders: Sequence[Path], index: IndexLocation, backbone: Backbone, *, kit: str, origin: str = ""
) -> Manifest:
    """Return the manifest of an index of folders by this encoder.

    The first run fixes the root: the folder, or the common parent of several. Later runs may add
    any folder below it. If the root no longer exists, its pictures are taken as moved: a single
    folder replaces it, and the manifest is rewritten.

    Raises:
        GalleryError: A folder does not exist, has a name that is not UTF-8, or lies outside the
            root of the index.
    """
    for folder in folders:
        if not folder.is_dir():
            raise GalleryError(f"There is no folder {printable(folder)}; check the path.")
    real = [folder.resolve() for folder in folders]
    for folder in real:
        check_utf8(folder)
    storage = storage_at(index)
    new = Manifest(
        gallery_hash=backbone.gallery_hash,
        dim=backbone.joint_dim,
        kit=kit,
        root=storage.named_root(Path(os.path.commonpath(real))),
        origin=origin,
    )
    if not storage.exists:
        return new
    existing = storage.read_manifest()
    root = storage.root_of(existing)
    if existing.gallery_hash != new.gallery_hash:
        return new  # refused when the index is opened
    if not root.is_dir() and len(folders) == 1:
        moved = replace(existing, root=new.root)
        storage.write_manifest(moved)
        return moved
    outside = [folder for folder in real if not folder.is_relative_to(root.resolve())]
    if outside:
        all_folders = " ".join(str(folder) for folder in [root, *outside])
        raise GalleryError(
            f"The index {index} is of pictures below {root}, and {outside[0]} lies elsewhere. "
            "Choose another --index, or rebuild this one with: "
            f"duet index {all_folders} --index {index} --rebuild"
        )
    return existing
