"""Tracing of edge maps that live between pixels into chains of lattice corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up: (dy, dx)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cracks:
    """Edges between 4-neighbouring pixels of an (H, W) image.

    Attributes:
        across: (H, W - 1); true where pixels (y, x) and (y, x + 1) are separated.
        below: (H - 1, W); true where pixels (y, x) and (y + 1, x) are separated.
    """

    across: Bool[np.ndarray, "h w1"]
    below: Bool[np.ndarray, "h1 w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """One run of cracks from junction to junction, or a closed loop.

    Attributes:
        corners: (n, 2) lattice corners (y, x); corner (y, x) is the upper left of pixel (y, x).
        first: (n - 1, 2) pixel (y, x) above or left of each crack.
        second: (n - 1, 2) pixel below or right of each crack.
    """

    corners: Int[np.ndarray, "n 2"]
    first: Int[np.ndarray, "m 2"]
    second: Int[np.ndarray, "m 2"]

    @property
    def is_closed(self) -> bool:
        """Whether the chain ends where it starts."""
        return bool((self.corners[0] == self.corners[-1]).all())


def trace(cracks: Cracks) -> list[Chain]:
    """Split an edge map at its junctions into chains; every crack lies in exactly one chain.

    Args:
        cracks: the separated pixel pairs; the border of the image itself is never an edge.
    """
    height, width = cracks.across.shape[0], cracks.below.shape[1]
    ways = _ways(cracks, height, width)
    degree = np.sum([(ways >> k) & 1 for k in range(4)], axis=0)
    graph = _Graph(ways, degree != 2)
    starts = np.flatnonzero((degree != 2) & (degree > 0)).tolist()
    chains = [
        graph.walk(node, way) for node in starts for way in range(4) if graph.is_open(node, way)
    ]
    for node in np.flatnonzero(degree == 2).tolist():  # what is left are loops without a junction
        if graph.is_open(node):
            chains += [graph.walk(node, graph.first_way(node))]
    return [_with_pixels(chain, width + 1) for chain in chains]


def smooth(corners: Int[np.ndarray, "n 2"], sigma_px: float) -> Float[np.ndarray, "m 2"]:
    """Take the staircase out of a chain of corners; the ends of an open chain stay in place.

    Args:
        corners: (n, 2) lattice corners; a closed chain repeats its first corner at the end.
        sigma_px: width of the Gaussian along the chain.
    """
    points = corners.astype(np.float64)
    if len(points) < 4:
        return points
    if (corners[0] == corners[-1]).all():
        loop = gaussian_filter1d(points[:-1], sigma_px, axis=0, mode="wrap")
        return np.vstack([loop, loop[:1]])
    middle = gaussian_filter1d(0.5 * (points[:-1] + points[1:]), sigma_px, axis=0, mode="nearest")
    return np.vstack([points[:1], middle[1:-1], points[-1:]])


def _ways(cracks: Cracks, height: int, width: int) -> Int[np.ndarray, "y x"]:
    """Return bit k is set where a corner has a crack in direction k of `_STEPS`."""
    ways = np.zeros((height + 1, width + 1), np.int64)
    ways[1:-1, :-1] |= cracks.below  # rightwards from (y + 1, x)
    ways[1:-1, 1:] |= cracks.below.astype(np.int64) << 2
    ways[:-1, 1:-1] |= cracks.across.astype(np.int64) << 1  # downwards from (y, x + 1)
    ways[1:, 1:-1] |= cracks.across.astype(np.int64) << 3
    return ways


class _Graph:
    """The cracks not walked yet: one bit per corner and direction."""

    def __init__(self, ways: np.ndarray, is_junction: np.ndarray) -> None:
        stride = ways.shape[1]
        self._open = ways.ravel().tolist()
        self._is_junction = is_junction.ravel().tolist()
        self._steps = [dy * stride + dx for dy, dx in _STEPS]

    def is_open(self, node: int, way: int | None = None) -> bool:
        return bool(self._open[node] if way is None else self._open[node] >> way & 1)

    def first_way(self, node: int) -> int:
        return self._open[node].bit_length() - 1

    def walk(self, node: int, way: int) -> list[int]:
        """Walk to the next junction or back to the start, closing what it passes."""
        path, start = [node], node
        while True:
            self._open[node] &= ~(1 << way)
            node += self._steps[way]
            self._open[node] &= ~(1 << (way ^ 2))
            path.append(node)
            if node == start or self._is_junction[node]:
                return path
            way = self.first_way(node)


def _with_pixels(path: list[int], stride: int) -> Chain:
    corners = np.stack(np.divmod(np.asarray(path), stride), axis=1)
    second = np.minimum(corners[:-1], corners[1:])
    runs_right = corners[:-1, 0] == corners[1:, 0]
    offset = np.where(runs_right[:, None], [1, 0], [0, 1])
    return Chain(corners=corners, first=second - offset, second=second)
