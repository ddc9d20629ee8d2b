"""The exact engine over a store: its vectors as one matrix, mapped from a file where large."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from composer.files import atomic_file
from retrieval.engines.matrix import ExactMatrix
from retrieval.engines.protocol import Matches
from retrieval.filters.tree import Filter
from retrieval.store.columns import IdsAndVectors
from retrieval.store.table import Store

LEAST_MAPPED = 20_000  # items; below, reading the store takes a blink


class ExactIndex:
    """Compares every item of a store.

    What it knows is the store's version at the time it was opened.

    Attributes:
        ids: Of the items, in ascending order, which is that of the rows of `matrix`.
        matrix: Their vectors.
    """

    def __init__(self, store: Store, *, device: str | torch.device = "cpu") -> None:
        """Read the vectors, or map the file that an earlier reading of the same version left.

        Raises:
            GalleryError: The index cannot be read.
        """
        self._store = store
        found = _read(store)
        self.ids = found.ids
        self.matrix = ExactMatrix(found.vectors, device=device)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def search(
        self, queries: Float[Tensor, "q d"], k: int, *, where: Filter | None = None
    ) -> list[Matches]:
        """Return the items nearest to each query; equal ones in the order of their ids.

        Raises:
            ValueError: `k` is below one, the queries have another width, or `where` asks a field
                for what it does not hold.
            GalleryError: The index cannot be read.
        """
        mask = None if where is None else self._passing(where)
        nearest = self.matrix.nearest(queries, k, mask=mask)
        rows, similarities = nearest.rows.cpu().numpy(), nearest.similarities.tolist()
        return [
            Matches(ids=tuple(one.decode() for one in self.ids[own]), similarities=tuple(scores))
            for own, scores in zip(rows, similarities, strict=True)
        ]

    def _passing(self, where: Filter) -> Bool[Tensor, " n"]:
        """Mark the rows that pass; an item added since this was opened has none."""
        return torch.from_numpy(np.isin(self.ids, self._store.ids_where(where)))


def _read(store: Store) -> IdsAndVectors:
    """Ids and vectors, through a file of the store's version where it pays."""
    if len(store) < LEAST_MAPPED:
        return store.ids_and_vectors()
    version = store.version
    ids, vectors = _files(store.base.cache, version)
    if not (ids.exists() and vectors.exists()):
        found = store.ids_and_vectors()
        version = found.version
        ids, vectors = _files(store.base.cache, version)
        try:
            _write({vectors: found.vectors, ids: found.ids})
        except OSError:  # a folder that can only be read is searched all the same
            return found
    mapped = np.load(vectors, mmap_mode="c")  # torch takes no array that may not be written
    return IdsAndVectors(ids=np.load(ids), vectors=mapped, version=version)


def _files(cache: Path, version: int) -> tuple[Path, Path]:
    """Where ids and vectors of a version are kept."""
    return cache / f"ids-v{version}.npy", cache / f"vectors-v{version}.npy"


def _write(arrays: dict[Path, np.ndarray]) -> None:
    """Write files of one folder, whole or not at all, and delete those of other versions."""
    for path, array in arrays.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, array, allow_pickle=False)
    for old in next(iter(arrays)).parent.iterdir():
        if old not in arrays:
            old.unlink(missing_ok=True)
