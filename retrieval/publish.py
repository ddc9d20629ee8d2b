"""Brings a Milvus collection up to date with a store."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from retrieval.milvus_index import (
    MIN_GRAPH_ROWS,
    MilvusIndex,
    connect,
    create_collection,
    drop_collection,
    read_manifest,
    told,
)
from retrieval.milvus_records import Place, Record, check_encoder
from retrieval.store import Store

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
    rebuild: bool = False,
    min_graph_rows: int = MIN_GRAPH_ROWS,
    progress: Progress | None = None,
) -> PublishReport:
    """Publish a store, sending only what is not there yet: a stopped run goes on where it was.

    Those who search meanwhile see the old and the new items mixed, each of them whole.

    Args:
        store: The truth about the gallery.
        uri: See `retrieval.milvus_index`.
        rebuild: Drop what is published there first.
        min_graph_rows: Items from which on a graph is built in place of scanning.
        progress: Told how many items of how many are done.

    Raises:
        GalleryError: The server does not answer or refuses a record, another encoder made what is
            published, or the collection is not duet's.
    """
    index = _open(store, uri, rebuild=rebuild)
    published = index.digests()
    num_sent, num_items = 0, len(store)
    seen: set[str] = set()
    for records in _records(store):
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


def _open(store: Store, uri: str, *, rebuild: bool) -> MilvusIndex:
    place = Place.read(uri)
    manifest = replace(store.manifest, root=store.root.resolve().as_posix())
    with told(place):
        client = connect(place)
        if rebuild:
            drop_collection(client, place)
        elif (found := read_manifest(client, place)) is not None:
            check_encoder(found, manifest.gallery_hash, place)
        create_collection(client, place, manifest)
    return MilvusIndex(client, place, manifest)


def _records(store: Store) -> Iterator[list[Record]]:
    found = store.ids_and_vectors()
    for start in range(0, len(found.ids), _AT_ONCE):
        ids = [one.decode() for one in found.ids[start : start + _AT_ONCE]]
        codes = store.read_regions(ids) if store.has_regions else None
        yield [
            Record(
                item=item,
                vector=found.vectors[start + number],
                codes=None if codes is None else codes[number],
            )
            for number, item in enumerate(store.items_of(ids))
            if item is not None  # removed meanwhile
        ]
