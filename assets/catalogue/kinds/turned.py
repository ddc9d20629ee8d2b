"""Turned ware: the bodies of lamps, vases, bottles, mugs, teapots, bowls and candlesticks.

A vessel is a meridian (a polyline of radius and height, going up) carried around the y axis by a
`RingSection`, which may be round, faceted, square, fluted, oval or twisted. Handles and spouts are
tubes along planar paths. The front is +z, lengths are in metres, angles in radians unless the name
says degrees.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from scipy.interpolate import PchipInterpolator

from assets.catalogue.kinds.ware import Number, Pair

Points = np.ndarray  # (n, 2): radius and height of a meridian, or x and y of a planar path

Radii = Number | Pair | Sequence[Pair] | Points

TAU = 2 * np.pi


@dataclass(frozen=True, kw_only=True, slots=True)
class RingSection:
    """How the outline seen from above departs from a circle of radius 1.

    `facets` and `squareness` exclude one another. `depth`: of the flutes, a fraction of the radius.
    The departure is full at height `full_at` and gone at `round_at`: square bottles, round necks.
    """

    facets: int = 0
    squareness: Number = 0.0
    flutes: int = 0
    depth: Number = 0.1
    sharp: bool = False
    oval: Number = 1.0
    twist: Number = 0.0  # radians a metre of height
    full_at: Number = 0.0
    round_at: Number = np.inf

    @property
    def segments(self) -> int:
        """Segments around: a multiple of the facets and flutes, so that edges stay edges."""
        if self.facets:
            return self.facets * 2 * max(1, 36 // self.facets)
        return (
            self.flutes * max(6, 72 // self.flutes)
            if self.flutes
            else 48 + 24 * bool(self.squareness)
        )

    def fading(self, full_at: Number, round_at: Number) -> "RingSection":
        """Return the section that is itself at `full_at` and a circle at `round_at`."""
        return replace(self, full_at=full_at, round_at=round_at)

    def scale(self, theta: np.ndarray) -> np.ndarray:
        """Return the radius factor at the angles `theta` where the departure is full."""
        if self.facets:
            half = np.pi / self.facets
            factor = np.cos(half) / np.cos((theta + half) % (2 * half) - half)
        elif self.squareness:
            p = self.squareness
            factor = 0.87 * (np.abs(np.cos(theta)) ** p + np.abs(np.sin(theta)) ** p) ** (-1 / p)
        else:
            factor = np.ones_like(theta)
        if self.flutes:
            wave = (
                np.abs(np.sin(self.flutes * theta / 2))
                if self.sharp
                else (1 - np.cos(self.flutes * theta)) / 2
            )
            factor = factor * (1 - self.depth * (1 - wave))
        return factor

    def weight(self, y: np.ndarray) -> np.ndarray:
        """Return how much of the departure is felt at the heights `y`, in [0, 1]."""
        if np.isinf(self.round_at):
            return np.ones_like(y)
        t = np.clip((y - self.round_at) / (self.full_at - self.round_at), 0, 1)
        return t * t * (3 - 2 * t)

    def reach(self, meridian: Points, y: Number, degrees: Number) -> float:
        """Return how far from the axis the surface is at height `y` in the direction `degrees`.

        Directions are 0 towards +z, 90 towards +x.
        """
        radius = np.interp(y, meridian[:, 1], meridian[:, 0])
        theta = np.array([np.radians(degrees) - self.twist * y])
        factor = 1 + self.weight(np.array([y])) * (self.scale(theta) - 1)
        across = np.hypot(np.sin(np.radians(degrees)), np.cos(np.radians(degrees)) * self.oval)
        return float(radius * factor[0] * across)


ROUND = RingSection()


SPINDLES: dict[str, tuple[Pair, ...]] = {
    "straight": ((1, 0), (1, 1)),
    "tapered": ((1.5, 0), (0.8, 1)),
    "baluster": (
        (0.9, 0),
        (1.1, 0.06),
        (0.7, 0.14),
        (2.0, 0.4),
        (1.5, 0.58),
        (0.7, 0.8),
        (1.2, 0.88),
        (0.8, 0.94),
        (0.9, 1),
    ),
    "inverted baluster": (
        (0.9, 0),
        (1.2, 0.08),
        (0.7, 0.16),
        (0.8, 0.3),
        (1.7, 0.6),
        (2.1, 0.76),
        (0.9, 0.9),
        (1.1, 1),
    ),
    "beaded": (
        (0.7, 0),
        (1.9, 0.14),
        (0.7, 0.28),
        (0.7, 0.36),
        (1.6, 0.5),
        (0.7, 0.64),
        (0.7, 0.7),
        (1.4, 0.84),
        (0.7, 0.97),
        (0.8, 1),
    ),
    "knopped": ((1.1, 0), (0.7, 0.2), (0.65, 0.38), (2.1, 0.5), (0.65, 0.62), (0.7, 0.8), (1.1, 1)),
    "waisted": ((2.0, 0), (1.0, 0.3), (0.7, 0.55), (0.9, 0.8), (1.6, 1)),
    "ringed": (
        (1, 0),
        (1, 0.2),
        (1.9, 0.21),
        (1.9, 0.29),
        (1, 0.3),
        (1, 0.66),
        (1.7, 0.67),
        (1.7, 0.75),
        (1, 0.76),
        (1, 1),
    ),
}


def spindle(style: str, low: Number, high: Number, radius: Number) -> Points:
    """Return the rising meridian of a turned column; `radius` is its plain radius."""
    knots = np.asarray(SPINDLES[style], dtype=float)
    return smooth(knots * [radius, high - low] + [0.0, low], 7)


def smooth(points: Sequence[Pair] | Points, num_per_span: int = 8) -> Points:
    """Draw a curve through the points that never overshoots them, `num_per_span` steps a span."""
    knots = np.asarray(points, dtype=float)
    chord = np.maximum(np.linalg.norm(np.diff(knots, axis=0), axis=1), 1e-6)
    at = np.concatenate([[0.0], np.cumsum(chord)])
    fine = np.concatenate(
        [np.linspace(a, b, num_per_span, endpoint=False) for a, b in itertools.pairwise(at)]
    )
    return PchipInterpolator(at, knots, axis=0)(np.append(fine, at[-1]))


def rounded(points: Sequence[Pair] | Points, times: int = 3) -> Points:
    """Cut the corners of a polyline `times` times; its ends stay where they are."""
    line = np.asarray(points, dtype=float)
    for _ in range(times):
        quarter = 0.75 * line[:-1] + 0.25 * line[1:]
        three = 0.25 * line[:-1] + 0.75 * line[1:]
        inner = np.stack([quarter, three], axis=1).reshape(-1, 2)
        line = np.vstack([line[:1], inner[1:-1], line[-1:]])
    return line


def chain(*pieces: Sequence[Pair] | Points) -> Points:
    """Join polylines end to end, dropping points that repeat."""
    line = np.vstack([np.asarray(piece, dtype=float) for piece in pieces])
    keep = np.append(True, np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-6)
    return line[keep]


def cut(meridian: Points, low: Number, high: Number) -> Points:
    """Return the stretch of a rising meridian between two heights."""
    between = meridian[(meridian[:, 1] > low + 1e-6) & (meridian[:, 1] < high - 1e-6)]
    ends = [(np.interp(y, meridian[:, 1], meridian[:, 0]), y) for y in (low, high)]
    return np.vstack([ends[:1], between, ends[1:]])


def radius_at(meridian: Points, y: Number) -> float:
    """Return the radius of a rising meridian at height `y`."""
    return float(np.interp(y, meridian[:, 1], meridian[:, 0]))


def solid(outer: Points, bevel: Number = 0.004) -> Points:
    """Close a meridian to the axis below and above, its two rims bevelled."""
    low = _edge(outer[0], outer[1], bevel)
    high = _edge(outer[-1], outer[-2], bevel)[::-1]
    return chain([(0.0, outer[0, 1])], low, outer[1:-1], high, [(0.0, outer[-1, 1])])


def walled(outer: Points, thickness: Number, floor: Number) -> Points:
    """Turn an outer meridian into a vessel's: bevelled foot, wall, rounded lip, inner wall, floor.

    `floor` is the height of the inside's bottom above the lowest point. The mouth stays open.
    """
    inner = _offset(outer, thickness)
    inside = inner[inner[:, 1] > outer[0, 1] + floor]
    inside = inside if len(inside) else inner[-1:]
    bottom = inside[0]
    floor_line = [
        (bottom[0] * 0.85, outer[0, 1] + floor + 0.15 * (bottom[1] - outer[0, 1] - floor))
    ]
    foot = _edge(outer[0], outer[1], thickness * 0.35)
    axis_low, axis_high = (0.0, outer[0, 1]), (0.0, outer[0, 1] + floor)
    return chain(
        [axis_low], foot, outer[1:], _lip(outer, inside[-1]), inside[::-1], floor_line, [axis_high]
    )


def band(outer: Points, proud: Number, sunk: Number) -> Points:
    """Return the closed meridian of a ring on `outer`, standing out by `proud` and let in."""
    face, back = (_offset(outer, by, clean=False) for by in (-proud, sunk))
    for side in (face, back):
        side[:, 1] = np.clip(side[:, 1], outer[0, 1], outer[-1, 1])
    trim = min(proud, 0.4 * float(np.ptp(outer[:, 1])))
    low, high = np.array([0.0, trim]), np.array([0.0, -trim])
    return np.vstack(
        [outer[:1], face[:1] + low, face[1:-1], face[-1:] + high, outer[-1:], back[::-1]]
    )


def rim(outer: Points, thickness: Number, proud: Number) -> Points:
    """Return the closed meridian of a dipped rim: it clasps the lip of a wall on both sides."""
    face = _offset(outer, -proud, clean=False)
    inside = _offset(outer, thickness + proud, clean=False)
    return np.vstack([face, _lip(face, inside[-1]), inside[::-1]])


def loft(
    meridian: Points,
    section: RingSection = ROUND,
    *,
    closed: bool = False,
    arc: Pair | None = None,
) -> trimesh.Trimesh:
    """Carry a meridian around the axis.

    An open meridian must begin and end on the axis. A `closed` one is a loop (a ring). With `arc`
    (two angles in degrees from the front, towards +x) a loop covers only that sector: a label.
    """
    count = section.segments
    full = arc is None
    theta = (
        np.linspace(0, TAU, count, endpoint=False) if full else np.radians(np.linspace(*arc, 33))
    )
    radius, y = meridian[:, :1], meridian[:, 1:]
    factor = 1 + section.weight(y) * (section.scale(theta)[None] - 1)
    angle = theta[None] + section.twist * y
    grid = np.stack(
        [
            radius * factor * np.sin(angle),
            y + 0 * angle,
            radius * factor * np.cos(angle) * section.oval,
        ],
        -1,
    )
    return _skin(grid, wraps=full, loops=closed)


def tube(path: Points, radii: Radii, *, hollow: Number = 0.0) -> trimesh.Trimesh:
    """Sweep an ellipse along a path in the plane z = 0, its ends rounded.

    `radii` are half the width across the plane and half the thickness within it, one pair for all
    points or one for each. With `hollow` the far end is open, bored to that fraction of the radius:
    a spout.
    """
    size = np.broadcast_to(np.asarray(radii, dtype=float), (len(path), 2))
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    rows = np.concatenate([path, size, normal], axis=1)  # (n, 6): centre, size, normal
    if hollow:
        bored = rows[: -max(3, len(rows) // 2) - 1 : -1] * [1, 1, hollow, hollow, 1, 1]
        lip = rows[-1:] * [1, 1, (1 + hollow) / 2, (1 + hollow) / 2, 1, 1]
        lip[:, :2] += tangent[-1] * size[-1, 1] * 0.1
        tail = [lip, bored, bored[-1:] * [1, 1, 0, 0, 1, 1]]
    else:
        tail = [_cap(rows[-1], tangent[-1])[::-1]]
    rows = np.vstack([_cap(rows[0], -tangent[0]), rows, *tail])
    phi = np.linspace(0, TAU, 20, endpoint=False)
    within, across = rows[:, 3:4] * np.sin(phi), rows[:, 2:3] * np.cos(phi)
    flat = rows[:, None, :2] + within[..., None] * rows[:, None, 4:]
    return _skin(np.concatenate([flat, across[..., None]], axis=-1), wraps=True, loops=False)


def ball(radius: Number, y: Number, squash: Number = 1.0) -> trimesh.Trimesh:
    """Return a ball on the axis, its middle at height `y`, flattened by `squash`."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 17)
    line = np.stack([radius * np.cos(angle), y + squash * radius * np.sin(angle)], axis=1)
    line[[0, -1], 0] = 0.0
    return loft(line)


def arched(
    path: Points,
    radii: Radii,
    *,
    times: int = 3,
    hollow: Number = 0.0,
) -> trimesh.Trimesh:
    """Return a tube along the path with its corners rounded `times` times.

    `radii`: one radius, one pair (half width, half thickness) or (n, 2) pairs spread evenly from
    end to end.
    """
    line = rounded(path, times)
    given = np.asarray(radii, dtype=float)
    given = given if given.ndim == 2 else np.broadcast_to(given, (2, 2))
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    walk = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    at = np.linspace(0, 1, len(given))
    sizes = [np.interp(walk, at, given[:, i]) for i in (0, 1)]
    return tube(line, np.stack(sizes, axis=1), hollow=hollow)


def _edge(rim_point: np.ndarray, next_point: np.ndarray, bevel: Number) -> Points:
    radius, y = rim_point
    step = next_point - rim_point
    bevel = min(bevel, 0.45 * float(radius), float(np.linalg.norm(step)) if np.any(step) else bevel)
    along = step / max(float(np.linalg.norm(step)), 1e-9) * bevel
    middle = np.array([radius - 0.3 * bevel, y]) + 0.3 * along
    return np.array([(radius - bevel, y), middle, rim_point + along])


def _lip(outer: Points, inner_end: np.ndarray, num: int = 5) -> Points:
    end = outer[-1]
    middle, half = (end + inner_end) / 2, (end - inner_end) / 2
    tangent = end - outer[-2]
    up = tangent / max(float(np.linalg.norm(tangent)), 1e-9) * np.linalg.norm(half)
    angle = np.linspace(0, np.pi, num + 2)[1:-1, None]
    return middle + half * np.cos(angle) + up * np.sin(angle)


def _offset(line: Points, inwards: Number, *, clean: bool = True) -> Points:
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    moved_line = line + inwards * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    moved_line[:, 0] = np.maximum(moved_line[:, 0], 1e-4)
    if not clean:
        return moved_line
    gap = np.linalg.norm(moved_line[:, None] - line[None], axis=-1).min(axis=1)
    good = moved_line[gap > 0.9 * abs(inwards)]
    rising = np.append(True, np.diff(np.maximum.accumulate(good[:, 1])) > 0) if len(good) else []
    return good[rising] if len(good) else moved_line[-1:]


def _cap(row: np.ndarray, away: np.ndarray) -> np.ndarray:
    angle = np.radians([90.0, 65.0, 42.0, 20.0])[:, None]
    cap = np.repeat(row[None], len(angle), axis=0)
    cap[:, :2] += away * np.sin(angle) * row[3]
    cap[:, 2:4] *= np.cos(angle) * (angle < 1.57)
    return cap


def _skin(grid: np.ndarray, *, wraps: bool, loops: bool) -> trimesh.Trimesh:
    """Make a closed mesh of a grid (rows, columns, 3) whose columns wrap, or rows loop, or both."""
    rows, columns = grid.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    is_pole = np.ptp(grid, axis=1).max(axis=1) < 1e-9
    index[is_pole] = index[is_pole, :1]  # a ring without extent is one vertex
    faces = [] if wraps else [_fan(index[:, 0]), _fan(index[:, -1])[:, ::-1]]
    index = np.concatenate([index, index[:, :1]], axis=1) if wraps else index
    index = np.concatenate([index, index[:1]], axis=0) if loops else index
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces += [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    triangles = np.vstack(faces)
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    used, triangles = np.unique(triangles, return_inverse=True)
    points, triangles = grid.reshape(-1, 3)[used], triangles.reshape(-1, 3)
    first, second, third = (points - points.mean(axis=0))[triangles.T]
    is_inside_out = float(np.einsum("ij,ij->", first, np.cross(second, third))) < 0
    return trimesh.Trimesh(
        points, triangles[:, ::-1] if is_inside_out else triangles, process=False
    )


def _fan(loop: np.ndarray) -> np.ndarray:
    """Close a band-shaped loop (face, then back in reverse) by a strip between its two sides."""
    ends = np.stack([loop, loop[::-1]], axis=1)[: len(loop) // 2]
    a, b = ends[:-1], ends[1:]
    return np.vstack(
        [np.stack([a[:, 1], a[:, 0], b[:, 0]], -1), np.stack([a[:, 1], b[:, 0], b[:, 1]], -1)]
    )
