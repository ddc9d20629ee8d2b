"""Curves and outlines that meshes are made from; points are rows of (n, 2) or (n, 3) arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Real = float | int
Section = Real | Sequence[Real] | Sequence[Sequence[Real]] | NDArray[np.float64]
Vector = Sequence[Real] | NDArray[np.float64] | NDArray[np.int64]


def catmull_rom(points: ArrayLike, samples: int = 8, *, closed: bool = False) -> Points:
    """Return a smooth curve through the points (centripetal enough for even spacing).

    Args:
        points: (n, d) control points, n >= 2.
        samples: Points per control segment.
        closed: Whether the curve returns to its first point (which is then not repeated).
    """
    p = np.asarray(points, float)
    before = p[-1:] if closed else 2 * p[:1] - p[1:2]
    after = p[:2] if closed else 2 * p[-1:] - p[-2:-1]
    q = np.concatenate([before, p, after])
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    pieces = [_spline_piece(q[i : i + 4], t) for i in range(len(q) - 3)]
    return np.concatenate(pieces if closed else [*pieces, p[-1:]])


def _spline_piece(q: Points, t: Points) -> Points:
    a = 2 * q[1]
    b = q[2] - q[0]
    c = 2 * q[0] - 5 * q[1] + 4 * q[2] - q[3]
    d = 3 * (q[1] - q[2]) + q[3] - q[0]
    return 0.5 * (a + b * t + c * t**2 + d * t**3)


def bezier(points: ArrayLike, samples: int = 24) -> Points:
    """Return a Bezier curve of any degree as `samples` points, both ends included."""
    p = np.asarray(points, float)
    t = np.linspace(0, 1, samples)[:, None, None]
    level = np.broadcast_to(p, (samples, *p.shape))
    while level.shape[1] > 1:
        level = (1 - t) * level[:, :-1] + t * level[:, 1:]
    return level[:, 0]


def arc(radius: Real, start: Real, end: Real, samples: int = 24) -> Points:
    """Return a circular arc (samples, 2); angles in degrees, anticlockwise from +x."""
    angles = np.radians(np.linspace(start, end, samples))
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def ellipse(size: Vector, segments: int = 48, exponent: Real = 2.0) -> Points:
    """Return a closed (super)ellipse outline; `size` is its full width and height."""
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.sign(unit) * np.abs(unit) ** (2 / exponent) * np.asarray(size, float) / 2


def rounded_rectangle(size: Vector, radius: Real, samples: int = 5) -> Points:
    """Return a closed rectangle outline with rounded corners; `size` is its width and height."""
    half = np.asarray(size, float) / 2
    radius = min(radius, float(half.min()) * 0.999)
    corners = [(1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270)]
    pieces = [
        arc(radius, start, start + 90, samples) + (half - radius) * (sx, sy)
        for sx, sy, start in corners
    ]
    return np.concatenate(pieces)


def rounded_corners(polygon: ArrayLike, radius: Real, samples: int = 5) -> Points:
    """Round the corners of a closed polygon by arcs of up to `radius`, as the sides allow."""
    p = np.asarray(polygon, float)
    ahead, behind = np.roll(p, -1, 0) - p, np.roll(p, 1, 0) - p
    length = np.minimum(np.linalg.norm(ahead, axis=1), np.linalg.norm(behind, axis=1))
    cut = np.minimum(radius, 0.45 * length)[:, None]
    begin = p + behind / np.linalg.norm(behind, axis=1, keepdims=True) * cut
    end = p + ahead / np.linalg.norm(ahead, axis=1, keepdims=True) * cut
    return np.concatenate(
        [bezier([b, c, e], samples) for b, c, e in zip(begin, p, end, strict=True)]
    )


def resample(points: ArrayLike, count: int) -> Points:
    """Return `count` points evenly spaced along an open polyline."""
    p = np.asarray(points, float)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(at, lengths, p[:, i]) for i in range(p.shape[1])], 1)


def subdivided(p: Points, pieces: int = 5) -> Points:
    """Return a polyline with each segment cut into `pieces`; corners stay."""
    at = np.arange(len(p), dtype=float)
    dense = np.linspace(0, len(p) - 1, pieces * (len(p) - 1) + 1)
    return np.stack([np.interp(dense, at, p[:, i]) for i in range(p.shape[1])], 1)


def triangulate(polygon: ArrayLike) -> NDArray[np.int64]:
    """Return (n - 2, 3) anticlockwise triangles of a simple polygon, by ear clipping."""
    p = np.asarray(polygon, float)
    order = list(range(len(p)) if signed_area(p) >= 0 else range(len(p))[::-1])
    triangles: list[tuple[int, int, int]] = []
    while len(order) > 3:
        ear = next((i for i in range(len(order)) if _is_ear(p, order, i)), 0)
        around = (order[ear - 1], order[ear], order[(ear + 1) % len(order)])
        triangles.append(around)
        del order[ear]
    triangles.append((order[0], order[1], order[2]))
    return np.array(triangles)


def _is_ear(p: Points, order: list[int], i: int) -> bool:
    ring = p[order]
    a, b, c = ring[i - 1], ring[i], ring[(i + 1) % len(order)]
    if _cross(b - a, c - a) <= 1e-14:
        return False
    rest = np.delete(ring, [i - 1 if i else len(order) - 1, i, (i + 1) % len(order)], axis=0)
    sides = [_cross(e - s, rest - s) for s, e in ((a, b), (b, c), (c, a))]
    return not bool((np.min(sides, axis=0) >= 0).any())


def _cross(a: Points, b: Points) -> Points | np.float64:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def signed_area(p: Points) -> float:
    """Return the area of a closed outline, positive where it runs anticlockwise."""
    return float(_cross(p, np.roll(p, -1, 0)).sum() / 2)
