"""Brings a Milvus collection up to date with a store."""

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
    told,
)
from retrieval.engines.milvus_records import Place, Record, check_encoder
from retrieval.errors import GalleryError
from retrieval.store.table import Store

Progress = Callable[[int, int], None]
_AT_ONCE = 500  # records in one message, a few megabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishReport:
    """What became of the items.

    Attributes:
        num_sent: Published for the first time, or because they had changed.
        num_kept: Published already.
        num_removed: Published earlier, no longer in the store.
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
    """Publish a store, sending only what is not there yet: a stopped run goes on where it was.

    Several stores may share a collection, each with its own part below one root; what another one
    published stays. Of the same content in two stores, what was published last is found. Those who
    search meanwhile see the old and the new items mixed, each of them whole.

    Args:
        store: The truth about the gallery.
        uri: See `retrieval.engines.milvus`.
        root: Where the paths of a new collection begin, the store's own root or a folder above
            it; None for the store's own.
        rebuild: Drop what is published there first, by any store.
        min_graph_rows: Items from which on a graph is built in place of scanning.
        progress: Told how many items of how many are done.

    Raises:
        GalleryError: The server does not answer or refuses a record, another encoder made what is
            published, the store's pictures lie outside the collection's root, or the collection
            is not duet's.
    """
    index = _open(store, uri, root=root, rebuild=rebuild)
    source = hashlib.sha256(store.base.address.encode()).hexdigest()[:8]
    published = index.digests(source)
    num_sent, num_items = 0, len(store)
    seen: set[str] = set()
    for records in _records(store, index.root, source):
        changed = [one for one in records if published.get(one.item.id) != one.digest]
        if changed:
            index.send(changed)
        num_sent += len(changed)
        seen.update(one.item.id for one in records)
        if progress:
            progress(len(seen), num_items)
    gone = [one for one in published if one not in seen]
    index.remove(gone)
    index.settle(min_graph_rows)
    index.close()
    return PublishReport(num_sent=num_sent, num_kept=len(seen) - num_sent, num_removed=len(gone))


def _open(store: Store, uri: str, *, root: Path | None, rebuild: bool) -> MilvusIndex:
    place = Place.read(uri)
    own = store.root.resolve()
    common = wanted = own if root is None else root.resolve()
    with told(place):
        client = connect(place)
        if rebuild:
            drop_collection(client, place)
        elif (found := read_manifest(client, place)) is not None:
            check_encoder(found, store.manifest.gallery_hash, place)
            common = Path(found.root)
        if not own.is_relative_to(common) or (root is not None and wanted != common):
            raise GalleryError(
                f"What is published at {place.uri} lies below {common}, not below {wanted}. "
                f"Choose another name, {place.server}#NAME, or start anew with all of it below "
                "one folder: --rebuild --publish-root DIR."
            )
        manifest = replace(store.manifest, root=common.as_posix())
        create_collection(client, place, manifest)
    return MilvusIndex(client, place, manifest)


def _records(store: Store, root: Path, source: str) -> Iterator[list[Record]]:
    below = store.root.resolve().relative_to(root)
    found = store.ids_and_vectors()
    for start in range(0, len(found.ids), _AT_ONCE):
        ids = [one.decode() for one in found.ids[start : start + _AT_ONCE]]
        codes = store.read_regions(ids) if store.has_regions else None
        yield [
            Record(
                item=replace(item, path=(below / item.path).as_posix()),
                vector=found.vectors[start + number],
                codes=None if codes is None else codes[number],
                source=source,
            )
            for number, item in enumerate(store.items_of(ids))
            if item is not None  # removed meanwhile
        ]
