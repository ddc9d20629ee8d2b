"""Exact engine over a store: its vectors as a matrix, memory-mapped for large galleries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from composer.files import atomic_file
from retrieval.engines.matrix import ExactMatrix
from retrieval.engines.protocol import Matches, check_search
from retrieval.filters.tree import Filter
from retrieval.store.columns import IdsAndVectors
from retrieval.store.table import Store

LEAST_MAPPED = 20_000  # items; smaller stores are read in milliseconds


class ExactIndex:
    """Exact search over one version of a store, fixed when the index is opened.

    Attributes:
        ids: Ids of the items, ascending, one per row of `matrix`.
        matrix: Their vectors.
    """

    def __init__(self, store: Store, *, device: str | torch.device = "cpu") -> None:
        """Read the vectors, or map the file that an earlier run wrote for the same version.

        Raises:
            GalleryError: The index cannot be read.
        """
        self._store = store
        items = _read(store)
        self.ids = items.ids
        self.matrix = ExactMatrix(items.vectors, device=device)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def search(
        self, queries: Float[Tensor, "q d"], k: int, *, where: Filter | None = None
    ) -> list[Matches]:
        """Return the items nearest to each query; equal similarities are ordered by id.

        Raises:
            ValueError: `k` is below one, the queries have another width, or `where` compares a
                field with an unsuitable value.
            GalleryError: The index cannot be read.
        """
        mask = None if where is None else self._matching(where)
        nearest = self.matrix.nearest(queries, k, mask=mask)
        rows, similarities = nearest.rows.cpu().numpy(), nearest.similarities.tolist()
        return [
            Matches(
                ids=tuple(id_.decode() for id_ in self.ids[nearest_rows]),
                similarities=tuple(scores),
            )
            for nearest_rows, scores in zip(rows, similarities, strict=True)
        ]

    def scan(
        self,
        vectors: Float[Tensor, "s d"],
        fuse: Callable[[Float[Tensor, "s n"]], Float[Tensor, " n"]],
        k: int,
        *,
        where: Filter | None = None,
    ) -> Matches:
        """Return the items with the best scores; equal scores are ordered by id.

        Raises:
            ValueError: As `search` does.
            GalleryError: The index cannot be read.
        """
        check_search(vectors, k, self.matrix.dim)
        scores = fuse(self.matrix.similarities(vectors).cpu())
        rows = torch.arange(len(scores)) if where is None else self._matching(where).nonzero()[:, 0]
        scores, count = scores[rows], min(k, len(rows))
        if count == 0:
            return Matches(ids=(), similarities=())
        least = scores.topk(count).values[-1]
        promising = (scores >= least).nonzero()[:, 0]
        best = promising[scores[promising].argsort(descending=True, stable=True)][:count]
        return Matches(
            ids=tuple(id_.decode() for id_ in self.ids[rows[best].numpy()]),
            similarities=tuple(scores[best].tolist()),
        )

    def _matching(self, where: Filter) -> Bool[Tensor, " n"]:
        """Return a mask of matching rows; items added after opening have no row."""
        return torch.from_numpy(np.isin(self.ids, self._store.ids_where(where)))


def _read(store: Store) -> IdsAndVectors:
    """Return ids and vectors; those of a large store through a file of its version."""
    if len(store) < LEAST_MAPPED:
        return store.ids_and_vectors()
    version = store.version
    ids, vectors = _files(store.storage.cache, version)
    if not (ids.exists() and vectors.exists()):
        items = store.ids_and_vectors()
        version = items.version
        ids, vectors = _files(store.storage.cache, version)
        try:
            _write({vectors: items.vectors, ids: items.ids})
        except OSError:  # a read-only folder can be searched without the file
            return items
    mapped = np.load(vectors, mmap_mode="c")  # torch accepts writable arrays only
    return IdsAndVectors(ids=np.load(ids), vectors=mapped, version=version)


def _files(cache: Path, version: int) -> tuple[Path, Path]:
    """Return the files of ids and vectors of a version."""
    return cache / f"ids-v{version}.npy", cache / f"vectors-v{version}.npy"


def _write(arrays: dict[Path, np.ndarray]) -> None:
    """Write files of one folder atomically, and delete those of other versions."""
    for path, array in arrays.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, array, allow_pickle=False)
    for old in next(iter(arrays)).parent.iterdir():
        if old not in arrays:
            old.unlink(missing_ok=True)
