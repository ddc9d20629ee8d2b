"""Galleries that an engine searches: the shipped one, folders, object stores, Milvus."""

from pathlib import Path
from typing import Final

from retrieval.errors import GalleryError
from retrieval.search import Gallery
from retrieval.store.address import is_milvus
from retrieval.store.table import Store
from studio.kit_file import assets_folder

SHIPPED: Final = "shipped"
NO_MILVUS = (
    "Galleries on Milvus need its client. Install it with: pip install 'duet-studio[cluster]'"
)


def open_gallery(index: Path | str | None, gallery_hash: str, kit: str) -> Gallery:
    """Open an index: a folder, or an address of Milvus or of an object store.

    Args:
        index: Where it is; None is the shipped gallery.
        gallery_hash: Tower that it must be encoded with.
        kit: Name of that tower's kit.

    Raises:
        GalleryError: There is no index, it is empty, or it is of another encoder.
    """
    if index is None:
        index = assets_folder() / "gallery" / "index"
        _check_shipped(index, gallery_hash, kit)
    if isinstance(index, str) and is_milvus(index):
        return _open_published(index, gallery_hash)
    return Gallery.open(index, gallery_hash)


def _check_shipped(index: Path, gallery_hash: str, kit: str) -> None:
    """Raise where the shipped gallery is of another kit; nobody needs to rebuild that one."""
    manifest = Store.open(index).manifest
    if manifest.gallery_hash != gallery_hash:
        raise GalleryError(
            f"The shipped gallery is indexed for the kit {manifest.kit!r}. Index pictures of "
            f"your own with: duet index FOLDER --kit {kit}; then name them with --index FOLDER."
        )


def _open_published(address: str, gallery_hash: str) -> Gallery:
    try:
        from retrieval.engines.milvus import MilvusIndex
    except ImportError as error:
        raise GalleryError(NO_MILVUS) from error
    index = MilvusIndex.open(address, gallery_hash)
    return Gallery(index, index)
