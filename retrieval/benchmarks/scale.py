"""Cost of a gallery by size: commits, maintenance, disk, memory, opening, searching."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval.benchmarks.end_to_end import synthetic_items, synthetic_layouts
from retrieval.benchmarks.engines import composed_queries, synthetic_vectors
from retrieval.benchmarks.indexing import peak_rss_bytes, run_in_subprocess
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.engines.protocol import Index
from retrieval.filters.language import parse
from retrieval.indexing.encode import COMPARED_FIELDS
from retrieval.indexing.near import mark_near_duplicates
from retrieval.store.schema import Manifest
from retrieval.store.table import Store

COMMIT_ROWS = 1000
LEAST_ITEMS = 2 * COMMIT_ROWS
NUM_QUERIES = 40
TOP_K = 100  # as many as are re-ranked
FILTER = "folder = 'folder 7'"  # a hundredth of the gallery
_LATE = 20  # last commits, which give the cost of a commit at this size


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleRow:
    """Cost of a gallery of one size.

    Attributes:
        num_items: Size of the gallery.
        commit_ms: Mean time of the last commits, of a thousand items each.
        grow_s: Time of all commits and the compaction at their end.
        near_s: Time to mark near-duplicates, all at once.
        near_next_s: The same for the next thousand items.
        bytes_per_item: Storage: vectors, region codes and items.
        listed_mib: Memory of the list of existing items during indexing.
        open_s: Time to open it first, which writes the mapped file.
        reopen_s: Time to open it again, with the mapped file.
        rss_mib: Memory of a process after exact searches, mapped file included.
        exact_ms: Median time of an exact search for a hundred hits, without re-ranking.
        filtered_ms: The same among a hundredth of the gallery.
        lance_build_s: Time to build LanceDB's index; zero for a gallery too small for one.
        lance_ms: Median time of a search with it.
        lance_recall: Its recall at ten.
        lance_rss_mib: Memory of a process after such searches.
        milvus_publish_s: Time to publish everything and prepare the search; None without a server.
        milvus_ms: Median time of a search by the server, measured at the client.
        milvus_recall: Its recall at ten.
    """

    num_items: int
    commit_ms: float
    grow_s: float
    near_s: float
    near_next_s: float
    bytes_per_item: float
    listed_mib: int
    open_s: float
    reopen_s: float
    rss_mib: int
    exact_ms: float
    filtered_ms: float
    lance_build_s: float
    lance_ms: float
    lance_recall: float
    lance_rss_mib: int
    milvus_publish_s: float | None
    milvus_ms: float | None
    milvus_recall: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the row, rounded to three digits."""
        values = asdict(self)
        return {
            name: float(f"{value:.3g}") if isinstance(value, float) else value
            for name, value in values.items()
        }


def scale_row(
    folder: Path, count: int, dim: int, *, seed: int = 0, milvus: str | None = None
) -> ScaleRow:
    """Grow a gallery in an empty folder, as indexing does, and measure it.

    Every part is measured in a separate process, with nothing else in memory.

    Args:
        folder: Folder of the gallery.
        count: Size of the gallery.
        dim: Width of its vectors.
        seed: Seed of its contents.
        milvus: Address to publish it to, replacing the collection; None to skip this part.

    Raises:
        ValueError: The gallery is smaller than two commits.
        GalleryError: The server does not answer.
    """
    if count < LEAST_ITEMS:
        raise ValueError(f"A gallery must have {LEAST_ITEMS} items or more, got {count}.")
    grown = run_in_subprocess(_grow, folder, count, dim, seed)
    listed = run_in_subprocess(_list, folder)
    exact = run_in_subprocess(_search, folder, count, seed, "exact")
    lance = run_in_subprocess(_search, folder, count, seed, "lance")
    served = run_in_subprocess(_publish, folder, count, seed, milvus)
    return ScaleRow(num_items=count, **grown, **listed, **exact, **lance, **served)


def _grow(folder: Path, count: int, dim: int, seed: int) -> dict[str, Any]:
    manifest = Manifest(gallery_hash="synthetic", dim=dim, kit="synthetic", root=".")
    store = Store.create(folder, manifest)
    vectors = synthetic_vectors(count + COMMIT_ROWS, dim, seed=seed)
    rng = np.random.default_rng(seed)
    seconds: list[float] = []

    def commit(start: int, stop: int) -> None:
        items, layouts = synthetic_items(rng, start, stop), synthetic_layouts(rng, stop - start)
        began = time.perf_counter()
        store.add(items, vectors[start:stop], layouts)
        seconds.append(time.perf_counter() - began)

    for start in range(0, count, COMMIT_ROWS):
        commit(start, min(start + COMMIT_ROWS, count))
    began = time.perf_counter()
    store.compact()
    grow_s, late = sum(seconds) + time.perf_counter() - began, seconds[-_LATE:]
    size = store.storage.open_table().stats()["total_bytes"]
    began = time.perf_counter()
    mark_near_duplicates(store, confirms=False)
    near_s = time.perf_counter() - began
    commit(count, count + COMMIT_ROWS)
    began = time.perf_counter()
    mark_near_duplicates(store, confirms=False)
    return {
        "commit_ms": 1000 * sum(late) / len(late),
        "grow_s": grow_s,
        "near_s": near_s,
        "near_next_s": time.perf_counter() - began,
        "bytes_per_item": size / count,
    }


def _list(folder: Path) -> dict[str, Any]:
    store = Store.open(folder)
    before = peak_rss_bytes()
    items = store.items(COMPARED_FIELDS)
    by_id = {item.id: item for item in items}
    return {"listed_mib": (peak_rss_bytes() - before) >> 20 if by_id else 0}


def _search(folder: Path, count: int, seed: int, engine: str) -> dict[str, Any]:
    store = Store.open(folder)
    queries = _queries(store, count, seed)
    if engine == "exact":
        began = time.perf_counter()
        index: Index = ExactIndex(store)
        opened = time.perf_counter()
        index = ExactIndex(store)
        reopened = time.perf_counter()
        exact_ms = _median_ms(index, queries)
        return {
            "open_s": opened - began,
            "reopen_s": reopened - opened,
            "exact_ms": exact_ms,
            "filtered_ms": _median_ms(index, queries, FILTER),
            "rss_mib": peak_rss_bytes() >> 20,
        }
    on_disk = LanceIndex(store)
    began = time.perf_counter()
    on_disk.build()
    built = time.perf_counter()
    lance_ms = _median_ms(on_disk, queries)
    rss = peak_rss_bytes() >> 20
    return {
        "lance_build_s": built - began if on_disk.is_built else 0.0,
        "lance_ms": lance_ms,
        "lance_recall": _recall(store, on_disk, queries),
        "lance_rss_mib": rss,
    }


def _publish(folder: Path, count: int, seed: int, address: str | None) -> dict[str, Any]:
    if address is None:
        return dict.fromkeys(("milvus_publish_s", "milvus_ms", "milvus_recall"))
    from retrieval.engines.milvus import MilvusIndex  # needs an optional dependency
    from retrieval.indexing.publish import publish

    store = Store.open(folder)
    queries = _queries(store, count, seed)
    began = time.perf_counter()
    publish(store, address, rebuild=True)
    index = MilvusIndex.open(address)
    index.search(queries[:1], TOP_K)
    published = time.perf_counter()
    return {
        "milvus_publish_s": published - began,
        "milvus_ms": _median_ms(index, queries),
        "milvus_recall": _recall(store, index, queries),
    }


def _queries(store: Store, count: int, seed: int) -> torch.Tensor:
    vectors = synthetic_vectors(min(count, 100_000), store.manifest.dim, seed=seed)
    return torch.from_numpy(composed_queries(vectors, NUM_QUERIES, seed=seed))


def _recall(store: Store, index: Index, queries: torch.Tensor) -> float:
    pairs = zip(ExactIndex(store).search(queries, 10), index.search(queries, 10), strict=True)
    shares = [len(set(exact.ids) & set(approximate.ids)) / 10 for exact, approximate in pairs]
    return float(np.mean(shares))


def _median_ms(index: Index, queries: torch.Tensor, condition: str | None = None) -> float:
    where = None if condition is None else parse(condition)
    seconds: list[float] = []
    for query in queries:
        began = time.perf_counter()
        index.search(query[None], TOP_K, where=where)
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds[len(seconds) // 8 :]))
