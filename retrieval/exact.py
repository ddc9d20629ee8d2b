"""Exact search: every item is compared, so its ranking is the one all other engines must give."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearest:
    """The k most similar rows of each query, best first.

    `similarities` are cosines in [-1, 1]; `rows` number the matrix. Fewer than k come back where
    the gallery, or what a mask leaves of it, is smaller.
    """

    similarities: Float[Tensor, "q k"]
    rows: Int[Tensor, "q k"]


class ExactIndex:
    """Unit vectors in memory, scanned in full for each query."""

    def __init__(
        self, vectors: Float[np.ndarray, "n d"], *, device: str | torch.device = "cpu"
    ) -> None:
        """Take unit vectors of any float type; they are compared in float32."""
        self._matrix = torch.from_numpy(np.ascontiguousarray(vectors)).to(device, torch.float32)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._matrix)

    def similarities(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q n"]:
        """Return the cosine of every query and every row.

        Raises:
            ValueError: The queries have another width.
        """
        if queries.shape[1] != self._matrix.shape[1]:
            raise ValueError(
                f"Queries must have the gallery's width ({self._matrix.shape[1]}), got "
                f"{queries.shape[1]}."
            )
        return queries.to(self._matrix) @ self._matrix.T

    def nearest(
        self, queries: Float[Tensor, "q d"], k: int, *, mask: Bool[Tensor, " n"] | None = None
    ) -> Nearest:
        """Return the k most similar rows of each query; equal ones in the order of the rows.

        Args:
            queries: Unit vectors.
            k: How many, at least one.
            mask: Rows that may be returned.

        Raises:
            ValueError: `k` is below one, or the queries have another width.
        """
        if k < 1:
            raise ValueError(f"`k` must be at least 1, got {k}.")
        scores = self.similarities(queries)
        allowed = len(self)
        if mask is not None:
            scores = scores.masked_fill(~mask.to(scores.device), -torch.inf)
            allowed = int(mask.sum())
        best = scores.sort(dim=1, descending=True, stable=True)
        count = min(k, allowed)
        return Nearest(similarities=best.values[:, :count], rows=best.indices[:, :count])
