"""Speed of exact search against other engines, on synthetic unit vectors."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn import functional

from retrieval.engines.matrix import ExactMatrix

NUM_CLUSTERS = 2000
TOP_K = 10
NUM_ROUNDS = 9
MOST_FOR_A_GRAPH = 200_000  # a graph of more takes minutes to build
_COPY_BYTES = 2**28
_CHUNK_ROWS = 65_536

Finder = Callable[[Float[np.ndarray, "q d"]], Int[np.ndarray, "q k"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRow:
    """Exact search against one other engine; medians of rounds in which each engine runs once.

    Attributes:
        what: Size of the gallery and number of queries per search.
        ours_ms: Time of exact search.
        peer: Name of the other engine.
        peer_ms: Time of the other engine.
        peer_recall: Recall of the other engine at ten, against float32.
        ours_gb_per_s: Bytes of the matrix over the time of exact search.
        copy_gb_per_s: Bytes read and written by a copy of a large array, over its time.
    """

    what: str
    ours_ms: float
    peer: str
    peer_ms: float
    peer_recall: float
    ours_gb_per_s: float
    copy_gb_per_s: float

    def as_json(self) -> dict[str, Any]:
        """Return the row with its ratios."""
        return {
            "what": self.what,
            "ours_ms": round(self.ours_ms, 2),
            "peer": self.peer,
            "peer_ms": round(self.peer_ms, 2),
            "ratio": round(self.peer_ms / self.ours_ms, 2),
            "peer_recall@10": round(self.peer_recall, 4),
            "ours_gb_per_s": round(self.ours_gb_per_s, 1),
            "copy_gb_per_s": round(self.copy_gb_per_s, 1),
            "share_of_copy": round(self.ours_gb_per_s / self.copy_gb_per_s, 2),
        }


def synthetic_vectors(count: int, dim: int, *, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """Return clustered unit vectors in float16 with a common direction, like CLIP's features.

    The mean cosine of two vectors is about a half.
    """
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(1, dim, generator=generator)
    centres = common + 0.85 * torch.randn(NUM_CLUSTERS, dim, generator=generator)
    vectors = torch.empty(count, dim, dtype=torch.float16)
    for start in range(0, count, _CHUNK_ROWS):
        part = vectors[start : start + _CHUNK_ROWS]
        chosen = torch.randint(NUM_CLUSTERS, (len(part),), generator=generator)
        noise = torch.randn(len(part), dim, generator=generator)
        part.copy_(functional.normalize(centres[chosen] + 0.5 * noise, dim=1))
    return vectors.numpy()


def composed_queries(
    vectors: Float[np.ndarray, "n d"], count: int, *, seed: int = 0
) -> Float[np.ndarray, "q d"]:
    """Return queries like those of a drawing with words: between two items, with noise."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(vectors), size=(2, count))
    mixed = vectors[first].astype(np.float32) + vectors[second].astype(np.float32)
    mixed += rng.standard_normal(mixed.shape, dtype=np.float32) * 0.5 / vectors.shape[1] ** 0.5
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def engine_rows(
    count: int, dim: int, *, seed: int = 0, num_queries: int = 1, device: str = "cpu"
) -> list[EngineRow]:
    """Time exact search and its peers on the same vectors and queries.

    Needs about seven bytes per number of the vectors. Peers are skipped that are not installed, do
    not run on the device, or would take minutes to build.

    Raises:
        ValueError: A size is below one.
    """
    if min(count, dim, num_queries) < 1:
        raise ValueError(
            f"Count, width and queries must be at least 1, got {count}, {dim}, {num_queries}."
        )
    vectors = synthetic_vectors(count, dim, seed=seed)
    queries = composed_queries(vectors, num_queries, seed=seed)
    matrix = ExactMatrix(vectors, device=device)
    on_device = torch.from_numpy(queries).to(device)
    finders: dict[str, Finder] = {
        "ours": lambda _: matrix.nearest(on_device, TOP_K).rows.cpu().numpy()
    }
    if device == "cpu":
        finders |= {"numpy": _numpy_finder(vectors), **_faiss_finders(vectors)}
    else:
        finders["torch"] = _torch_finder(vectors, device)
    times, rows, copy_s = _measure(finders, queries, device)
    expected = rows["ours"]
    what = f"{count:,} x {dim}, {num_queries} at once"
    return [
        EngineRow(
            what=what,
            ours_ms=1000 * times["ours"],
            peer=name,
            peer_ms=1000 * times[name],
            peer_recall=_recall(rows[name], expected),
            ours_gb_per_s=vectors.nbytes / times["ours"] / 1e9,
            copy_gb_per_s=2 * _COPY_BYTES / copy_s / 1e9,
        )
        for name in finders
        if name != "ours"
    ]


def _measure(
    finders: dict[str, Finder], queries: Float[np.ndarray, "q d"], device: str
) -> tuple[dict[str, float], dict[str, Int[np.ndarray, "q k"]], float]:
    """Return median seconds and rows of each finder, alternated, and the seconds of a copy."""
    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    rows = {name: find(queries) for name, find in finders.items()}
    times: dict[str, list[float]] = {name: [] for name in (*finders, "")}
    for _ in range(NUM_ROUNDS):
        times[""].append(_seconds(lambda: target.copy_(source), device))
        for name, find in finders.items():
            times[name].append(_seconds(lambda find=find: find(queries), device))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return medians, rows, medians[""]


def _seconds(action: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    action()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _recall(rows: Int[np.ndarray, "q k"], expected: Int[np.ndarray, "q k"]) -> float:
    shares = [
        len(set(actual) & set(right)) / len(right)
        for actual, right in zip(rows.tolist(), expected.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def _numpy_finder(vectors: Float[np.ndarray, "n d"]) -> Finder:
    matrix = vectors.astype(np.float32)

    def find(queries: Float[np.ndarray, "q d"]) -> Int[np.ndarray, "q k"]:
        scores = queries @ matrix.T
        best = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
        order = np.take_along_axis(scores, best, axis=1).argsort(axis=1)[:, ::-1]
        return np.take_along_axis(best, order, axis=1)

    return find


def _torch_finder(vectors: Float[np.ndarray, "n d"], device: str) -> Finder:
    matrix = torch.from_numpy(vectors).to(device)

    def find(queries: Float[np.ndarray, "q d"]) -> Int[np.ndarray, "q k"]:
        on_device = torch.from_numpy(queries).to(device, torch.float16)
        return (matrix @ on_device.T).T.topk(TOP_K, dim=1).indices.cpu().numpy()

    return find


def _faiss_finders(vectors: Float[np.ndarray, "n d"]) -> dict[str, Finder]:
    """Return finders of Faiss: flat index, scalar quantisers, and a graph for small galleries."""
    try:
        import faiss  # not needed to search
    except ImportError:
        return {}
    faiss.omp_set_num_threads(torch.get_num_threads())
    dim, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    kinds = faiss.ScalarQuantizer
    indexes: dict[str, Any] = {
        "faiss Flat": faiss.IndexFlatIP(dim),
        "faiss SQfp16": faiss.IndexScalarQuantizer(dim, kinds.QT_fp16, metric),
        "faiss SQ8": faiss.IndexScalarQuantizer(dim, kinds.QT_8bit, metric),
    }
    if len(vectors) <= MOST_FOR_A_GRAPH:
        indexes["faiss HNSW"] = faiss.IndexHNSWFlat(dim, 32, metric)
    for index in indexes.values():
        index.train(vectors[:_CHUNK_ROWS].astype(np.float32))
        for start in range(0, len(vectors), _CHUNK_ROWS):
            index.add(vectors[start : start + _CHUNK_ROWS].astype(np.float32))
    return {
        name: lambda queries, index=index: index.search(queries, TOP_K)[1]
        for name, index in indexes.items()
    }
