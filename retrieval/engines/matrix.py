"""Exact search: every item is compared, so its ranking is the one all other engines must give."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

# What rounding to half precision may do to the cosine of unit vectors: 2^-11 by the query's
# elements, as much by the result's, and a little for sums.
_ROUNDING = 2**-10 + 2**-13
_MARGIN = 2 * _ROUNDING  # of two that are compared
_LOWEST = -2.0  # below any cosine, above what a mask leaves
_BLOCK = 64  # scores of which one maximum is taken
# Compared at once with several queries: what a cache holds in float32, what keeps a GPU busy.
_CPU_ROWS = 2048
_GPU_ROWS = 2**20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearest:
    """The k most similar rows of each query, best first.

    `similarities` are cosines in [-1, 1]; `rows` number the matrix. Fewer than k come back where
    the gallery, or what a mask leaves of it, is smaller.
    """

    similarities: Float[Tensor, "q k"]
    rows: Int[Tensor, "q k"]


class ExactMatrix:
    """Unit vectors, scanned in full for each query.

    Vectors in half precision stay so, in memory or mapped from a file: a scan of half the bytes
    finds candidates, wide enough for what rounding may do, and these are compared in float32. The
    ranking is that of float32 throughout, on a CPU as on a GPU.
    """

    def __init__(
        self, vectors: Float[np.ndarray, "n d"], *, device: str | torch.device = "cpu"
    ) -> None:
        """Take unit vectors, float16 or float32; on a CPU they are not copied."""
        exact = vectors if vectors.dtype == np.float16 else vectors.astype(np.float32, copy=False)
        self._matrix = torch.from_numpy(np.ascontiguousarray(exact)).to(device)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._matrix)

    def similarities(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q n"]:
        """Return the cosine of every query and every row, in float32.

        Raises:
            ValueError: The queries have another width.
        """
        wanted = self._checked(queries)
        found = wanted.new_empty(len(wanted), len(self))
        for start, part in self._float_parts():
            found[:, start : start + len(part)] = wanted @ part.T
        return found

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
        wanted = self._checked(queries)
        count = min(k, len(self) if mask is None else int(mask.sum()))
        kept = None if mask is None else mask.to(self._matrix.device)
        if count == 0:
            none = wanted.new_empty(len(wanted), 0)
            return Nearest(similarities=none, rows=none.long())
        if len(wanted) == 1 and self._matrix.dtype == torch.float16:
            candidates = [self._scan(wanted[0], count, kept)]
        else:
            candidates = self._scan_parts(wanted, count, kept)
        best = [self._best(q, rows, count) for q, rows in zip(wanted, candidates, strict=True)]
        return Nearest(
            similarities=torch.cat([found.similarities for found in best]),
            rows=torch.cat([found.rows for found in best]),
        )

    def _scan(
        self, query: Float[Tensor, " d"], count: int, mask: Bool[Tensor, " n"] | None
    ) -> Int[Tensor, " c"]:
        """Rows that may be among the best of one query, by one pass in half precision."""
        scores = torch.mv(self._matrix, query.half())
        if mask is not None:
            scores.masked_fill_(~mask, -torch.inf)
        if count > len(scores) // _BLOCK:
            least = scores.topk(count).values[-1].float() - _MARGIN
            return (scores >= least.clamp(min=_LOWEST)).nonzero()[:, 0]
        blocks = functional.pad(scores, (0, -len(scores) % _BLOCK), value=-torch.inf)
        blocks = blocks.view(-1, _BLOCK)
        nearest = blocks.amax(1)
        # As many blocks hold something so near: the k-th nearest of all is no further.
        least = (nearest.topk(count).values[-1].float() - _MARGIN).clamp(min=_LOWEST)
        promising = (nearest >= least).nonzero()[:, 0]
        own, place = (blocks[promising] >= least).nonzero(as_tuple=True)
        return promising[own] * _BLOCK + place

    def _scan_parts(
        self, queries: Float[Tensor, "q d"], count: int, mask: Bool[Tensor, " n"] | None
    ) -> list[Int[Tensor, " c"]]:
        """The same of several queries, which share the reading of the matrix part by part."""
        least = torch.full((len(queries), 1), _LOWEST, device=queries.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for start, scores in self._rough_scores(queries):
            if mask is not None:
                scores.masked_fill_(~mask[start : start + scores.shape[1]], -torch.inf)
            if scores.shape[1] >= count:
                least = torch.maximum(least, scores.topk(count, dim=1).values[:, -1:])
            numbers, places = (scores >= least - _MARGIN).nonzero(as_tuple=True)
            found.append((numbers, places + start, scores[numbers, places]))
        numbers, places, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        return [
            _near_the_best(places[numbers == number], scores[numbers == number], count)
            for number in range(len(queries))
        ]

    def _best(self, query: Float[Tensor, " d"], rows: Int[Tensor, " c"], count: int) -> Nearest:
        """Order candidates, which come in the order of their rows, by their cosine in float32."""
        scores = (self._matrix[rows].float() * query).sum(1)  # equal rows give equal sums
        best = scores.sort(descending=True, stable=True)
        first = best.indices[:count]
        return Nearest(similarities=scores[first][None], rows=rows[first][None])

    def _checked(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        if queries.shape[1] != self._matrix.shape[1]:
            raise ValueError(
                f"Queries must have the gallery's width ({self._matrix.shape[1]}), got "
                f"{queries.shape[1]}."
            )
        return queries.to(self._matrix.device, torch.float32)

    def _rough_scores(
        self, queries: Float[Tensor, "q d"]
    ) -> Iterator[tuple[int, Float[Tensor, "q r"]]]:
        """Yield where each part starts, and its cosines, good enough to choose candidates by."""
        if not self._matrix.is_cuda:
            for start, part in self._float_parts():
                yield start, queries @ part.T
            return
        rounded = queries.to(self._matrix.dtype).T
        for start in range(0, len(self), _GPU_ROWS):
            yield start, (self._matrix[start : start + _GPU_ROWS] @ rounded).T.float()

    def _float_parts(self) -> Iterator[tuple[int, Float[Tensor, "r d"]]]:
        """Yield where each part starts, and it in float32, good until the next is asked for."""
        rows = _GPU_ROWS // 16 if self._matrix.is_cuda else _CPU_ROWS
        held = self._matrix.new_empty(
            min(rows, len(self)), self._matrix.shape[1], dtype=torch.float32
        )
        for start in range(0, len(self), rows):
            part = self._matrix[start : start + rows]
            yield start, held[: len(part)].copy_(part)


def _near_the_best(
    places: Int[Tensor, " c"], scores: Float[Tensor, " c"], count: int
) -> Int[Tensor, " k"]:
    """What is near enough to the k-th best of all parts."""
    least = scores.topk(count).values[-1] - _MARGIN
    return places[scores >= least]
