"""Building blocks of seats and tables: outlines, slabs, tubes, sheets, and the drawing of choices.

Axes: x to the right, y up, z to the front; the floor is y = 0. Lengths are in metres.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from assets.catalogue.curves import Points, Real, Vector
from assets.catalogue.mesh import merge
from assets.catalogue.model import Colourway, Finish, Part

Path = Sequence[Vector] | Points
Size = Real | Vector
RING_POINTS = 20


class Values:
    """Typed reading of a shape's values."""

    def __init__(self, values: Mapping[str, float | int | str | bool]) -> None:
        """Keep the mapping; nothing is copied."""
        self._values = values

    def num(self, key: str) -> float:
        """Return a number."""
        return float(self._values[key])

    def count(self, key: str) -> int:
        """Return a whole number."""
        return int(self._values[key])

    def text(self, key: str) -> str:
        """Return a choice."""
        return str(self._values[key])

    def flag(self, key: str) -> bool:
        """Return a yes or no."""
        return bool(self._values[key])


def pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draw one key with probability proportional to its weight."""
    names = list(weights)
    shares = np.array([weights[name] for name in names], dtype=float)
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a length uniformly, rounded to a tenth of a millimetre."""
    return round(float(rng.uniform(low, high)), 4)


def colourway(
    named: Mapping[str, str], like: Mapping[str, str] | None = None, **others: str
) -> Colourway:
    """Write a colourway from finish phrases.

    Args:
        named: Part and phrase, the most conspicuous part first: `{"seat": "striped red fabric"}`.
        like: Parts that no caption names, each with the named part whose finish it shares.
        others: Further parts that no caption names, with their phrases.
    """
    unsaid = {piece: named[model] for piece, model in (like or {}).items()} | others
    return Colourway(
        finishes=tuple((piece, finish(phrase)) for piece, phrase in named.items()),
        others=tuple((piece, finish(phrase)) for piece, phrase in unsaid.items()),
    )


def finish(phrase: str) -> Finish:
    """Read "colour material" or "pattern colour material"."""
    *pattern, colour, material = phrase.split()
    return Finish(colour=colour, material=material, pattern=pattern[0] if pattern else "plain")


def part(name: str, meshes: Sequence[trimesh.Trimesh], uv: str = "box") -> Part:
    """Merge meshes into one named part."""
    return Part(name=name, mesh=merge(list(meshes)), uv=uv)


def assembled(**pieces: list[trimesh.Trimesh]) -> tuple[Part, ...]:
    """Return named parts of lists of meshes; an empty list gives no part."""
    return tuple(part(name, meshes) for name, meshes in pieces.items() if meshes)


def outline(width: float, depth: float, power: float = 8.0, taper: float = 0.0) -> Points:
    """Return a convex outline (n, 2) of (x, z).

    Power 2 is an ellipse, 4 a squircle, 12 nearly a rectangle.
    `taper` is how much narrower the back (z < 0) is than the front, as a share of the width.
    """
    unit = superellipse(power, 72)
    x, z = unit[:, 0] * width / 2, unit[:, 1] * depth / 2
    return np.stack([x * (1 - taper * (0.5 - z / depth)), z], axis=1)


def superellipse(power: float, num: int) -> Points:
    """Return `num` points of |x|^p + |y|^p = 1, dense at the corners; `num` divisible by 4."""
    angles = 2 * np.pi * (np.arange(num) + 0.5) / num
    both = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.sign(both) * np.abs(both) ** (2 / power)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slab:
    """A horizontal plate or cushion from `low` to `high`, its edges rounded by `edge`.

    `crown` raises the middle of its top; a negative crown is a dished top.
    """

    low: float
    high: float
    edge: float = 0.008
    crown: float = 0.0

    def build(self, shape: Points, centre: Vector = (0.0, 0.0)) -> trimesh.Trimesh:
        """Return the mesh over an outline (n, 2) of (x, z) about the origin, moved to `centre`."""
        half = np.abs(shape).max(axis=0)
        edge = min(self.edge, (self.high - self.low) / 2, half.min() / 2)
        turns = np.linspace(0, np.pi / 2, 5)
        inset = [edge * (1 - np.sin(t)) for t in turns] + [edge * (1 - np.cos(t)) for t in turns]
        height = [self.low + edge * (1 - np.cos(t)) for t in turns]
        height += [self.high - edge * (1 - np.sin(t)) for t in turns]
        scales = [1 - value / half for value in inset]
        for share in (0.9, 0.75, 0.55, 0.3):
            scales.append(scales[9] * share)
            height.append(self.high + self.crown * (1 - share**2.5))
        rings = [
            np.column_stack([shape[:, 0] * s[0], np.full(len(shape), y), shape[:, 1] * s[1]])
            for s, y in zip(scales, height, strict=True)
        ]
        top = (0.0, self.high + self.crown, 0.0)
        mesh = _lofted(np.array(rings), np.array((0.0, self.low, 0.0)), np.array(top))
        mesh.apply_translation((centre[0], 0.0, centre[1]))
        return mesh


def _lofted(rings: Points, first: Points, last: Points) -> trimesh.Trimesh:
    """Skin rings (m, n, 3) and close both ends with a fan around a point."""
    num_rings, num_points, _ = rings.shape
    index = np.arange(num_rings * num_points).reshape(num_rings, num_points)
    here, there = index[:-1], index[1:]
    beside_here, beside_there = np.roll(here, -1, axis=1), np.roll(there, -1, axis=1)
    start, end = index.size, index.size + 1
    faces = [
        np.stack([here, beside_here, there], axis=-1).reshape(-1, 3),
        np.stack([beside_here, beside_there, there], axis=-1).reshape(-1, 3),
        np.stack([np.full(num_points, start), np.roll(index[0], -1), index[0]], axis=-1),
        np.stack([np.full(num_points, end), index[-1], np.roll(index[-1], -1)], axis=-1),
    ]
    return solid(np.concatenate([rings.reshape(-1, 3), [first, last]]), np.concatenate(faces))


def solid(vertices: Points, faces: NDArray[np.int64]) -> trimesh.Trimesh:
    """Return a closed mesh whose faces look outwards, whichever way they were wound."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    if np.einsum("ij,ij->", a, np.cross(b, c)) < 0:
        faces = faces[:, ::-1]
    return trimesh.Trimesh(vertices=vertices, faces=faces, process=False)


def curve(points: Path, num: int = 24) -> Points:
    """Return `num` points of a smooth curve through the given points, evenly in chord length."""
    through = np.asarray(points, dtype=float)
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(through, axis=0), axis=1))])
    if len(through) == 2:
        return np.linspace(through[0], through[1], num)
    return CubicSpline(chord, through)(np.linspace(0, chord[-1], num))


def rounded_path(points: Path, radius: float, num: int = 6) -> Points:
    """Return a polyline with its inner corners rounded, as a bent steel tube is."""
    corners = np.asarray(points, dtype=float)
    path = [corners[:1]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        back, ahead = before - corner, after - corner
        reach = min(radius, np.linalg.norm(back) * 0.48, np.linalg.norm(ahead) * 0.48)
        start = corner + back / np.linalg.norm(back) * reach
        end = corner + ahead / np.linalg.norm(ahead) * reach
        t = np.linspace(0, 1, num)[:, None]
        path.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate([*path, corners[-1:]])


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeSection:
    """The cross section of a tube: power 2 is round, 6 a soft square.

    The sizes scale the radius on both axes. The first axis starts out as close to x as the path
    allows (z for a path along x) and is carried along without twisting.
    """

    power: float = 2.0
    across: float = 1.0
    along: float = 1.0


ROUND = TubeSection()
SQUARE = TubeSection(power=7.0)


def tube(
    path: Path, radius: Size, section: TubeSection = ROUND, *, closed: bool = False
) -> trimesh.Trimesh:
    """Sweep a section along a path (n, 3).

    `radius` is one number, or one per point. Open ends are bevelled.
    """
    points = np.asarray(path, dtype=float)
    radii = np.broadcast_to(np.asarray(radius, dtype=float), (len(points),)).copy()
    if not closed:
        points, radii = _with_bevelled_ends(points, radii)
    tangents = (
        np.roll(points, -1, 0) - np.roll(points, 1, 0) if closed else np.gradient(points, axis=0)
    )
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    across = _carried(tangents)
    along = np.cross(tangents, across)
    shape = superellipse(section.power, RING_POINTS) * (section.across, section.along)
    rings = points[:, None] + radii[:, None, None] * (
        shape[None, :, :1] * across[:, None] + shape[None, :, 1:] * along[:, None]
    )
    if closed:
        return _ring(rings)
    return _lofted(rings, points[0], points[-1])


def _with_bevelled_ends(points: Points, radii: Points) -> tuple[Points, Points]:
    first, last = points[1] - points[0], points[-2] - points[-1]
    cut = [
        min(0.3 * r, 0.006, 0.3 * float(np.linalg.norm(d)))
        for r, d in ((radii[0], first), (radii[-1], last))
    ]
    inner = [
        p + d / np.linalg.norm(d) * c
        for p, d, c in zip((points[0], points[-1]), (first, last), cut, strict=True)
    ]
    points = np.concatenate([points[:1], [inner[0]], points[1:-1], [inner[1]], points[-1:]])
    radii = np.concatenate(
        [[radii[0] - cut[0]], radii[:1], radii[1:-1], radii[-1:], [radii[-1] - cut[1]]]
    )
    return points, radii


def _carried(tangents: Points) -> Points:
    """Return unit vectors across each tangent, starting near the x axis and never twisting."""
    start = np.array([1.0, 0.0, 0.0]) if abs(tangents[0, 0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    carried = []
    for tangent in tangents:
        start = start - tangent * (start @ tangent)
        start = start / np.linalg.norm(start)
        carried.append(start)
    return np.array(carried)


def _ring(rings: Points) -> trimesh.Trimesh:
    num_rings, num_points, _ = rings.shape
    index = np.arange(num_rings * num_points).reshape(num_rings, num_points)
    there = np.roll(index, -1, axis=0)
    a, b = np.roll(index, -1, axis=1), np.roll(there, -1, axis=1)
    faces = np.concatenate(
        [np.stack([index, a, there], -1).reshape(-1, 3), np.stack([a, b, there], -1).reshape(-1, 3)]
    )
    return solid(rings.reshape(-1, 3), faces)


def rod(start: Vector, end: Vector, radius: float, section: TubeSection = ROUND) -> trimesh.Trimesh:
    """Return a straight bar between two points."""
    return tube(np.linspace(np.asarray(start, float), np.asarray(end, float), 4), radius, section)


def sheet(grid: Points, thickness: Size) -> trimesh.Trimesh:
    """Give a surface of points (m, n, 3) a thickness (one number, or (m, n)) and a rounded rim."""
    half = np.broadcast_to(np.asarray(thickness, dtype=float), grid.shape[:2])[..., None] / 2
    rows, columns = np.gradient(grid, axis=0), np.gradient(grid, axis=1)
    normals = np.cross(columns, rows)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    num_rows, num_columns = grid.shape[:2]
    index = np.arange(num_rows * num_columns).reshape(num_rows, num_columns)
    rim = np.concatenate([index[0, :-1], index[:-1, -1], index[-1, :0:-1], index[:0:-1, 0]])
    flat = [a.reshape(-1, 3) for a in (grid, normals, rows, columns)]
    points, normal, down, right = (a[rim] for a in flat)
    row, column = np.divmod(rim, num_columns)
    sign_row = (row == num_rows - 1).astype(float) - (row == 0)
    sign_column = (column == num_columns - 1).astype(float) - (column == 0)
    outward = _unit(down) * sign_row[:, None] + _unit(right) * sign_column[:, None]
    reach = np.broadcast_to(half, (*grid.shape[:2], 1)).reshape(-1, 1)[rim]
    turns = np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1]
    rounds = [points + reach * (_unit(outward) * np.cos(t) + normal * np.sin(t)) for t in turns]
    vertices = np.concatenate(
        [(grid - half * normals).reshape(-1, 3), (grid + half * normals).reshape(-1, 3), *rounds]
    )
    size, length = index.size, len(rim)
    loops = [
        rim,
        *(2 * size + i * length + np.arange(length) for i in range(len(rounds))),
        rim + size,
    ]
    cells = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(
        -1, 4
    )
    quads = [cells, cells[:, ::-1] + size]
    quads += [
        np.stack([a, np.roll(a, -1), np.roll(b, -1), b], -1) for a, b in itertools.pairwise(loops)
    ]
    corners = np.concatenate(quads)
    return solid(vertices, np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]))


def _unit(vectors: Points) -> Points:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def puffed(num_rows: int, num_columns: int, thickness: float, rim: float = 0.35) -> Points:
    """Return thicknesses (m, n) of a padded panel: full in the middle, `rim` of it at the edge."""
    u = np.linspace(-1, 1, num_columns)[None]
    v = np.linspace(-1, 1, num_rows)[:, None]
    return thickness * (rim + (1 - rim) * np.sqrt((1 - u**6) * (1 - v**6)))
