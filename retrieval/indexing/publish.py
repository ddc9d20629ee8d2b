"""Publication of a store to a Milvus collection."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.engines.milvus import (
    MIN_GRAPH_ROWS,
    MilvusIndex,
    connect,
    create_collection,
    drop_collection,
    read_manifest,
    translate_errors,
)
from retrieval.engines.milvus_records import Record, check_encoder
from retrieval.errors import GalleryError
from retrieval.store.address import MilvusAddress
from retrieval.store.table import Store

Progress = Callable[[int, int], None]
_AT_ONCE = 500  # records per message, a few megabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishReport:
    """Result of a publication.

    Attributes:
        num_sent: Items sent, new or changed.
        num_kept: Items published before and unchanged.
        num_removed: Items removed, as they are no longer in the store.
    """

    num_sent: int
    num_kept: int
    num_removed: int


def publish(
    store: Store,
    uri: str,
    *,
    root: Path | None = None,
    rebuild: bool = False,
    min_graph_rows: int = MIN_GRAPH_ROWS,
    progress: Progress | None = None,
) -> PublishReport:
    """Publish a store; only new and changed items are sent, so an interrupted run resumes.

    Several stores may share a collection, if their pictures are below one root; the items of other
    stores are kept. Of the same content in two stores, the last one published is kept. Searches
    meanwhile find a mixture of old and new items.

    Args:
        store: Store of the gallery.
        uri: Address of the collection, see `retrieval.engines.milvus`.
        root: Folder to which the paths of a new collection are relative, the store's root or a
            folder above it; None for the store's root.
        rebuild: Whether to drop the collection first, with the items of all stores.
        min_graph_rows: Number of items from which on a graph replaces the scan.
        progress: Called with the numbers of items done and of all items.

    Raises:
        GalleryError: The server does not answer or refuses a record, the collection is of another
            encoder or was not made by duet, or the store's pictures lie outside its root.
    """
    index = _open(store, uri, root=root, rebuild=rebuild)
    source = hashlib.sha256(store.storage.address.encode()).hexdigest()[:8]
    published = index.digests(source)
    num_sent, num_items = 0, len(store)
    current: set[str] = set()
    for records in _records(store, index.root, source):
        changed = [record for record in records if published.get(record.item.id) != record.digest]
        if changed:
            index.send(changed)
        num_sent += len(changed)
        current.update(record.item.id for record in records)
        if progress:
            progress(len(current), num_items)
    removed = [id_ for id_ in published if id_ not in current]
    index.remove(removed)
    index.settle(min_graph_rows)
    index.close()
    return PublishReport(
        num_sent=num_sent, num_kept=len(current) - num_sent, num_removed=len(removed)
    )


def _open(store: Store, uri: str, *, root: Path | None, rebuild: bool) -> MilvusIndex:
    address = MilvusAddress.parse(uri)
    store_root = store.root.resolve()
    common = requested = store_root if root is None else root.resolve()
    with translate_errors(address):
        client = connect(address)
        if rebuild:
            drop_collection(client, address)
        elif (existing := read_manifest(client, address)) is not None:
            check_encoder(existing, store.manifest.gallery_hash, address)
            common = Path(existing.root)
        if not store_root.is_relative_to(common) or (root is not None and requested != common):
            raise GalleryError(
                f"The root of {address.uri} is {common}, not {requested}. Choose another name, "
                f"{address.server}#NAME, or publish everything again below one folder: "
                "--rebuild --publish-root DIR."
            )
        manifest = replace(store.manifest, root=common.as_posix())
        create_collection(client, address, manifest)
    return MilvusIndex(client, address, manifest)


def _records(store: Store, root: Path, source: str) -> Iterator[list[Record]]:
    below = store.root.resolve().relative_to(root)
    gallery = store.ids_and_vectors()
    for start in range(0, len(gallery.ids), _AT_ONCE):
        ids = [id_.decode() for id_ in gallery.ids[start : start + _AT_ONCE]]
        codes = store.read_regions(ids) if store.has_regions else None
        yield [
            Record(
                item=replace(
                    item,
                    path=(below / item.path).as_posix(),
                    copies=tuple((below / copy).as_posix() for copy in item.copies),
                ),
                vector=gallery.vectors[start + number],
                codes=None if codes is None else codes[number],
                source=source,
            )
            for number, item in enumerate(store.items_of(ids))
            if item is not None  # removed meanwhile
        ]
