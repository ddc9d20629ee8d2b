"""Children that are killed: each does one kind of work on an index, again and again.

Run as `python -m tests.retrieval.store.crash WHAT FOLDER`; "committed N" means: this must last.
"""

import sys
import time
from pathlib import Path

import numpy as np

from composer.layout import NUM_CODES
from retrieval.store import versions
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

DIM = 8
MANIFEST = Manifest(gallery_hash="h", dim=DIM, kit="tiny", root=".")
ROWS = 20


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def row_id(writer: int, number: int) -> str:
    return f"{writer:016x}{number:016x}"


def add_rows(store: Store, writer: int, start: int, count: int = ROWS) -> None:
    rng = np.random.default_rng(start)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(id=row_id(writer, number), path=f"{writer}/{number}.png")
        for number in range(start, start + count)
    ]
    store.add(items, vectors, np.full((count, NUM_CODES), start % 100, np.int8))


def index(folder: Path, *, on_cluster: bool = False) -> None:
    """Index a folder as `duet index` does, a commit every four pictures."""
    # Imported here alone: the other children start in a third of the time without.
    from retrieval.indexing.encode import IndexOptions, index_folders
    from tests.composer.tiny import tiny_backbone, write_clip

    backbone, embedder = tiny_backbone(), None
    if on_cluster:
        from retrieval.indexing.cluster import ClusterEmbedder

        clip = write_clip(folder.parent / "clip")
        embedder = ClusterEmbedder(clip, backbone.gallery_hash, files_at_once=3)
    adding = Store.add

    def add_and_report(self: Store, items: list[Item], *rest: np.ndarray) -> None:
        adding(self, items, *rest)
        say(f"committed {len(self)}")

    Store.add = add_and_report
    options = IndexOptions(batch_size=2, commit_every=4)
    say("begun")
    index_folders(
        [folder], folder / ".duet", backbone, kit="tiny", options=options, embedder=embedder
    )
    say("done")


def index_on_cluster(folder: Path) -> None:
    """The same, embedded by Ray Data."""
    index(folder, on_cluster=True)


def compact(folder: Path) -> None:
    """Add and compact, so that a kill falls into a compaction or an update of the index of ids."""
    versions.MAX_FRAGMENTS, versions.INDEXED_ROWS = 1, 1
    store = Store.create(folder / ".duet", MANIFEST)
    start = len(store)
    say("begun")
    while True:
        add_rows(store, 0, start)
        start += ROWS
        say(f"committed {start}")
        store.compact()


def delete(folder: Path) -> None:
    """Delete rows one after the other."""
    store = Store.create(folder / ".duet", MANIFEST)
    if not len(store):
        for start in range(0, 400, 100):
            add_rows(store, 0, start, 100)
    left = sorted(item.id for item in store.items())
    say("begun")
    while left:
        store.remove(left[:2])
        left = left[2:]
        say(f"committed {len(left)}")


def write(folder: Path, writer: int, seconds: float) -> None:
    """Add rows and compact now and then, for some time."""
    versions.MAX_FRAGMENTS, versions.INDEXED_ROWS = 4, 50
    store = Store.create(folder / ".duet", MANIFEST)
    end, start = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        add_rows(store, writer, start)
        start += ROWS
        if start % (5 * ROWS) == 0:
            store.compact()
    say(f"committed {start}")


def read(folder: Path, seconds: float) -> None:
    """Read in every way, for some time: what was there stays there, and rows are whole."""
    store = Store.create(folder / ".duet", MANIFEST)
    end, most, num_reads = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        gallery = store.ids_and_vectors()
        assert len(gallery.ids) >= most, (len(gallery.ids), most)
        assert len(set(gallery.ids.tolist())) == len(gallery.ids)
        most = len(gallery.ids)
        if most:
            ids = gallery.ids[:: max(1, most // 20)].astype(str).tolist()
            assert [item and item.id for item in store.items_of(ids)] == ids
            starts = [int(id_[16:], 16) // ROWS * ROWS % 100 for id_ in ids]
            assert store.read_regions(ids)[:, 0].tolist() == starts
            lengths = np.linalg.norm(gallery.vectors.astype(np.float32), axis=1)
            assert np.abs(lengths - 1).max() < 5e-3
        num_reads += 1
    say(f"read {num_reads}")


def main() -> None:
    what, folder, *rest = sys.argv[1:]
    work = {
        "index": index,
        "cluster": index_on_cluster,
        "compact": compact,
        "delete": delete,
        "write": write,
        "read": read,
    }
    numbers = [
        float(number) if what == "read" or position else int(number)
        for position, number in enumerate(rest)
    ]
    work[what](Path(folder), *numbers)


if __name__ == "__main__":
    main()
