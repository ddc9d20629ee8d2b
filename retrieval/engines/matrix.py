"""Exact search over a matrix of vectors, the reference ranking of all other engines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

# Bound on the error of a cosine of unit vectors in half precision: 2^-11 from the elements of the
# query, as much from the result, and a little from sums.
_ROUNDING = 2**-10 + 2**-13
_MARGIN = 2 * _ROUNDING  # of a comparison of two cosines
_LOWEST = -2.0  # below any cosine, above masked scores
_BLOCK = 64  # scores per maximum
# Rows compared with several queries at a time: they fit a cache in float32, or keep a GPU busy.
_CPU_ROWS = 2048
_GPU_ROWS = 2**20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearest:
    """The k most similar rows of each query, best first; fewer if the (masked) matrix has fewer.

    Attributes:
        similarities: Cosines in [-1, 1].
        rows: Row numbers of the matrix.
    """

    similarities: Float[Tensor, "q k"]
    rows: Int[Tensor, "q k"]


class ExactMatrix:
    """Unit vectors, scanned in full for each query.

    Half-precision vectors are kept as they are, in memory or mapped from a file: a scan in half
    precision selects candidates with a margin for rounding errors, and these are compared in
    float32. The ranking is that of float32, on a CPU and on a GPU.
    """

    def __init__(
        self, vectors: Float[np.ndarray, "n d"], *, device: str | torch.device = "cpu"
    ) -> None:
        """Wrap unit vectors, float16 or float32; on a CPU they are not copied."""
        exact = vectors if vectors.dtype == np.float16 else vectors.astype(np.float32, copy=False)
        self._matrix = torch.from_numpy(np.ascontiguousarray(exact)).to(device)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._matrix)

    @property
    def vectors(self) -> Float[Tensor, "n d"]:
        """The vectors, as they are stored."""
        return self._matrix

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._matrix.shape[1]

    def similarities(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q n"]:
        """Return the cosine of every query and every row, in float32.

        Raises:
            ValueError: The queries have another width.
        """
        queries = self._checked(queries)
        similarities = queries.new_empty(len(queries), len(self))
        for start, part in self._float_parts():
            similarities[:, start : start + len(part)] = queries @ part.T
        return similarities

    def nearest(
        self, queries: Float[Tensor, "q d"], k: int, *, mask: Bool[Tensor, " n"] | None = None
    ) -> Nearest:
        """Return the k most similar rows of each query; equal similarities are ordered by row.

        Args:
            queries: Unit vectors.
            k: Number of rows, at least one.
            mask: True for rows that may be returned.

        Raises:
            ValueError: `k` is below one, or the queries have another width.
        """
        if k < 1:
            raise ValueError(f"`k` must be at least 1, got {k}.")
        queries = self._checked(queries)
        count = min(k, len(self) if mask is None else int(mask.sum()))
        kept = None if mask is None else mask.to(self._matrix.device)
        if count == 0:
            none = queries.new_empty(len(queries), 0)
            return Nearest(similarities=none, rows=none.long())
        if len(queries) == 1 and self._matrix.dtype == torch.float16:
            candidates = [self._scan(queries[0], count, kept)]
        else:
            candidates = self._scan_parts(queries, count, kept)
        best = [self._best(q, rows, count) for q, rows in zip(queries, candidates, strict=True)]
        return Nearest(
            similarities=torch.cat([nearest.similarities for nearest in best]),
            rows=torch.cat([nearest.rows for nearest in best]),
        )

    def _scan(
        self, query: Float[Tensor, " d"], count: int, mask: Bool[Tensor, " n"] | None
    ) -> Int[Tensor, " c"]:
        """Return candidate rows of one query, by a scan in half precision."""
        scores = torch.mv(self._matrix, query.half())
        if mask is not None:
            scores.masked_fill_(~mask, -torch.inf)
        if count > len(scores) // _BLOCK:
            least = scores.topk(count).values[-1].float() - _MARGIN
            return (scores >= least.clamp(min=_LOWEST)).nonzero()[:, 0]
        blocks = functional.pad(scores, (0, -len(scores) % _BLOCK), value=-torch.inf)
        blocks = blocks.view(-1, _BLOCK)
        nearest = blocks.amax(1)
        # At least `count` blocks hold a score this high, so the best `count` rows are no lower.
        least = (nearest.topk(count).values[-1].float() - _MARGIN).clamp(min=_LOWEST)
        promising = (nearest >= least).nonzero()[:, 0]
        block, offset = (blocks[promising] >= least).nonzero(as_tuple=True)
        return promising[block] * _BLOCK + offset

    def _scan_parts(
        self, queries: Float[Tensor, "q d"], count: int, mask: Bool[Tensor, " n"] | None
    ) -> list[Int[Tensor, " c"]]:
        """Return candidate rows of several queries, which share one pass over the matrix."""
        least = torch.full((len(queries), 1), _LOWEST, device=queries.device)
        candidates: list[tuple[Tensor, Tensor, Tensor]] = []
        for start, scores in self._rough_scores(queries):
            if mask is not None:
                scores.masked_fill_(~mask[start : start + scores.shape[1]], -torch.inf)
            if scores.shape[1] >= count:
                least = torch.maximum(least, scores.topk(count, dim=1).values[:, -1:])
            numbers, rows = (scores >= least - _MARGIN).nonzero(as_tuple=True)
            candidates.append((numbers, rows + start, scores[numbers, rows]))
        numbers, rows, scores = (torch.cat(parts) for parts in zip(*candidates, strict=True))
        return [
            _near_the_best(rows[numbers == number], scores[numbers == number], count)
            for number in range(len(queries))
        ]

    def _best(self, query: Float[Tensor, " d"], rows: Int[Tensor, " c"], count: int) -> Nearest:
        """Order candidates, given in ascending order, by their cosine in float32."""
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
        """Yield the start of each part and its cosines, precise enough to select candidates."""
        if not self._matrix.is_cuda:
            for start, part in self._float_parts():
                yield start, queries @ part.T
            return
        rounded = queries.to(self._matrix.dtype).T
        for start in range(0, len(self), _GPU_ROWS):
            yield start, (self._matrix[start : start + _GPU_ROWS] @ rounded).T.float()

    def _float_parts(self) -> Iterator[tuple[int, Float[Tensor, "r d"]]]:
        """Yield the start of each part and its rows in float32, valid until the next part."""
        rows = _GPU_ROWS // 16 if self._matrix.is_cuda else _CPU_ROWS
        held = self._matrix.new_empty(
            min(rows, len(self)), self._matrix.shape[1], dtype=torch.float32
        )
        for start in range(0, len(self), rows):
            part = self._matrix[start : start + rows]
            yield start, held[: len(part)].copy_(part)


def _near_the_best(
    rows: Int[Tensor, " c"], scores: Float[Tensor, " c"], count: int
) -> Int[Tensor, " k"]:
    """Return the rows within the margin of the best `count` of all parts."""
    least = scores.topk(count).values[-1] - _MARGIN
    return rows[scores >= least]
