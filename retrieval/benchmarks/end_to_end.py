"""Time of a whole search, from the words to the items of the hits, by size of the gallery."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int8

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.layout import NUM_CODES, SHORT_LIST
from retrieval.benchmarks.engines import composed_queries, synthetic_vectors
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

NUM_QUERIES = 60
_WARM_UP = 5
_COMMIT_ROWS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToEndRow:
    """Time of a search or a part of it, over distinct queries.

    Attributes:
        what: The part, or the engine.
        num_items: Size of the gallery.
        p50_ms: Median.
        p95_ms: 95th percentile.
    """

    what: str
    num_items: int
    p50_ms: float
    p95_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return the row, times rounded."""
        return asdict(self) | {"p50_ms": round(self.p50_ms, 2), "p95_ms": round(self.p95_ms, 2)}


def synthetic_gallery(folder: Path, count: int, backbone: Backbone, *, seed: int = 0) -> Gallery:
    """Create a gallery of `count` items with random vectors and layouts in an empty folder.

    Raises:
        GalleryError: The folder cannot be written.
    """
    manifest = Manifest(
        gallery_hash=backbone.gallery_hash, dim=backbone.joint_dim, kit="synthetic", root="."
    )
    store = Store.create(folder, manifest)
    vectors = synthetic_vectors(count, backbone.joint_dim, seed=seed)
    rng = np.random.default_rng(seed)
    for start in range(0, count, _COMMIT_ROWS):
        part = vectors[start : start + _COMMIT_ROWS]
        items = synthetic_items(rng, start, start + len(part))
        store.add(items, part, synthetic_layouts(rng, len(part)))
    store.compact()
    return Gallery(store, ExactIndex(store))


def synthetic_items(rng: np.random.Generator, start: int, stop: int) -> list[Item]:
    """Return the items of a range of a gallery, spread evenly over a hundred folders."""
    return [
        Item(
            id=rng.bytes(16).hex(),
            path=f"folder {number % 100}/{number}.jpg",
            caption=f"picture {number} of a synthetic gallery",
            width_px=640,
            height_px=480,
        )
        for number in range(start, stop)
    ]


def synthetic_layouts(rng: np.random.Generator, count: int) -> Int8[np.ndarray, "n c"]:
    """Return random region codes."""
    return rng.integers(-127, 128, (count, NUM_CODES), dtype=np.int8)


def end_to_end_rows(gallery: Gallery, compose: Callable[[str], ComposedQuery]) -> list[EndToEndRow]:
    """Time composing with new words, searching, and both.

    Args:
        gallery: Gallery to search and re-rank.
        compose: Composes a fixed drawing with the given words.
    """
    composing: list[float] = []
    searching: list[float] = []
    for number in range(_WARM_UP + NUM_QUERIES):
        started = time.perf_counter()
        query = compose(f"number {number} in red")
        composed = time.perf_counter()
        gallery.search(query)
        composing.append(composed - started)
        searching.append(time.perf_counter() - composed)
    parts = {
        "compose": composing,
        "search, re-rank and look up": searching,
        "all of it": np.add(composing, searching).tolist(),
    }
    return [_row(what, len(gallery), seconds) for what, seconds in parts.items()]


def lance_row(folder: Path, *, seed: int = 0) -> EndToEndRow:
    """Time LanceDB's vector index for as many hits as are re-ranked; the index is kept.

    Raises:
        GalleryError: The index cannot be written.
    """
    store = Store.open(folder)
    queries = composed_queries(store.ids_and_vectors().vectors, _WARM_UP + NUM_QUERIES, seed=seed)
    index = LanceIndex(store)
    index.build(min_rows=1)
    seconds: list[float] = []
    for query in torch.from_numpy(queries):
        started = time.perf_counter()
        index.search(query[None], SHORT_LIST)
        seconds.append(time.perf_counter() - started)
    return _row(f"LanceDB's index, {SHORT_LIST} hits", len(index), seconds)


def _row(what: str, num_items: int, seconds: list[float]) -> EndToEndRow:
    return EndToEndRow(
        what=what,
        num_items=num_items,
        p50_ms=1000 * float(np.median(seconds[_WARM_UP:])),
        p95_ms=1000 * float(np.quantile(seconds[_WARM_UP:], 0.95)),
    )
