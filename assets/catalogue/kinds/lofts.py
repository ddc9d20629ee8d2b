"""Solids made of rings and strips: hulls, car bodies, bags, sails; and many boxes at once.

Metres, y up, the object's front towards +z. Surfaces are closed and look outward.
"""

from typing import Literal

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, Vector, ellipse
from assets.catalogue.model import Part

Grid = NDArray[np.float64]
Axis = Literal["x", "y", "z"]


# ---- surfaces ----------------------------------------------------------------------------------
def loft(rings: ArrayLike, *, closed: bool = False) -> trimesh.Trimesh:
    """Skin rings of points, shape (rings, points, 3).

    The ends are covered by fans around their middles; with `closed` the last ring joins the first.
    """
    grid = np.asarray(rings, float)
    count, width = grid.shape[:2]
    i, j = np.indices((count if closed else count - 1, width)).reshape(2, -1)
    after, below = (j + 1) % width, (i + 1) % count
    a, b, c, d = i * width + j, i * width + after, below * width + after, below * width + j
    faces, points = [np.stack([a, b, c], 1), np.stack([a, c, d], 1)], [grid.reshape(-1, 3)]
    if not closed:
        k = np.arange(width)
        ahead, last, tip = (k + 1) % width, (count - 1) * width, count * width
        faces.append(np.stack([np.full(width, tip), ahead, k], 1))
        faces.append(np.stack([np.full(width, tip + 1), last + k, last + ahead], 1))
        points.append(grid[[0, -1]].mean(axis=1))
    return _outward(np.concatenate(points), np.concatenate(faces))


def standing(profile: ArrayLike, exponent: Real = 4.0, segments: int = 48) -> trimesh.Trimesh:
    """Stack superellipses along y; a profile that turns back down inside makes a vessel.

    Args:
        profile: Rows of half-width, half-depth, y and, in a fourth column if any, a shift in z.
        exponent: Of the section, 2 (oval) to 10 (box).
        segments: Around.
    """
    rows = np.asarray(profile, float)
    curve = ellipse((2, 2), segments, exponent)
    shift = rows[:, 3:4] if rows.shape[1] > 3 else np.zeros((len(rows), 1))
    x, z = rows[:, :1] * curve[:, 0], rows[:, 1:2] * curve[:, 1] + shift
    return loft(np.stack([x, np.broadcast_to(rows[:, 2:3], x.shape), z], -1))


def ribbon(
    path: ArrayLike, half_widths: Real | Points, thickness: Real, across: Vector = (1, 0, 0)
) -> trimesh.Trimesh:
    """Sweep a flat strip with softened edges along `path` (points, 3), `across` its run.

    Args:
        path: Middle line of the strip.
        half_widths: One, or one a point.
        thickness: Of the strip, half of it on either side of the path.
        across: Direction of the width.
    """
    line = np.asarray(path, float)
    half = np.broadcast_to(np.asarray(half_widths, float), len(line))[:, None]
    side = np.asarray(across, float) / np.linalg.norm(np.asarray(across, float))
    normal = np.cross(side, np.gradient(line, axis=0))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    soft = 0.5 * thickness
    section = [(-1, 0, -0.5), (-1, 0, 0.5), (-1, soft, 1), (1, soft, 1)]
    section += [(1, 0, 0.5), (1, 0, -0.5), (1, soft, -1), (-1, soft, -1)]
    rings = [
        line + side * sign * np.maximum(half - inset, 0.2 * half) + normal * level * thickness / 2
        for sign, inset, level in section
    ]
    return loft(np.stack(rings, axis=1))


def sheet(grid: ArrayLike, thickness: Real) -> trimesh.Trimesh:
    """Thicken a grid of points, shape (rows, columns, 3), into a sail or a pane."""
    points = np.asarray(grid, float)
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    mean = normal.sum(axis=(0, 1)) / max(float(np.linalg.norm(normal.sum(axis=(0, 1)))), 1e-12)
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    unit = np.where(length > 1e-7, normal / np.maximum(length, 1e-7), mean) * thickness / 2
    return loft(np.concatenate([points + unit, (points - unit)[:, ::-1]], axis=1))


def patch(corners: ArrayLike, rows: int = 12, columns: int = 12) -> Grid:
    """Fill four corners (a, b, c, d in order around) by a flat grid from edge ab to edge dc."""
    a, b, c, d = np.asarray(corners, float)
    u, v = np.linspace(0, 1, columns)[None, :, None], np.linspace(0, 1, rows)[:, None, None]
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)


def slab(
    outline: ArrayLike, depth: Real, bevel: Real = 0.0, *, axis: Axis = "z", at: Real = 0.0
) -> trimesh.Trimesh:
    """Extrude an outline across an axis, the slab's middle `at` that place of the axis.

    Rows are (x, y) for axis "z", (z, y) for axis "x" and (x, z) for axis "y".
    """
    flat = np.asarray(outline, float)
    match axis:
        case "x":
            return mesh.moved(mesh.rotated(_plate(flat * (-1, 1), depth, bevel), 90), (at, 0, 0))
        case "y":
            lying = mesh.rotated(_plate(flat * (1, -1), depth, bevel), -90, "x")
            return mesh.moved(lying, (0, at, 0))
        case "z":
            return mesh.moved(_plate(flat, depth, bevel), (0, 0, at))


def _plate(outline: Points, depth: Real, bevel: Real) -> trimesh.Trimesh:
    """Extrude along z; convex outlines are covered by fans, which is much faster than ears."""
    edge = np.roll(outline, -1, 0) - outline
    turns = edge[:, 0] * np.roll(edge, -1, 0)[:, 1] - edge[:, 1] * np.roll(edge, -1, 0)[:, 0]
    if turns.max() > 1e-12 and turns.min() < -1e-12:
        return mesh.extrude(outline, depth, bevel)
    flat = outline if turns.sum() > 0 else outline[::-1]
    bevel = min(bevel, 0.49 * depth)
    angles = np.linspace(0, np.pi / 2, 5) if bevel > 0 else np.zeros(1)
    levels = [(bevel * (1 - np.cos(a)), depth / 2 - bevel * (1 - np.sin(a))) for a in angles]
    rings = [(d, -z) for d, z in levels[::-1]] + levels
    return loft([np.column_stack([inset(flat, d), np.full(len(flat), z)]) for d, z in rings])


def boxes(sizes: ArrayLike, centres: ArrayLike, bevel: Real = 0.004) -> trimesh.Trimesh:
    """Return many boxes with chamfered edges at once; both arguments have shape (n, 3)."""
    size, centre = (np.asarray(a, float).reshape(-1, 3) for a in (sizes, centres))
    signs, inward, faces = _BOX
    cut = np.minimum(bevel, 0.3 * size.min(axis=1))[:, None, None]
    corners = signs * (size[:, None] / 2 - cut * inward) + centre[:, None]
    starts = np.arange(len(size))[:, None, None] * len(signs)
    return trimesh.Trimesh(corners.reshape(-1, 3), (faces + starts).reshape(-1, 3), process=False)


def box(size: Vector, centre: Vector, radius: Real = 0.008) -> trimesh.Trimesh:
    """Return one rounded box; `mesh.rounded_box` with the arguments in the order used here."""
    return mesh.rounded_box(size, radius, centre)


def hoop(
    outline: ArrayLike, thickness: Real, depth: Real, soft: Real = 0.004, at: Real = 0.0
) -> trimesh.Trimesh:
    """Return the border of an outline of the x-y plane: a frame, a rim, a case without its back.

    Args:
        outline: (n, 2) outer edge, anticlockwise, first point not repeated.
        thickness: Inwards.
        depth: Along z.
        soft: Chamfer of the edges.
        at: Where the middle of the depth lies.
    """
    outer = np.asarray(outline, float)
    cut = min(soft, 0.3 * thickness, 0.3 * depth)
    near, far, half = cut, thickness - cut, depth / 2
    section = [(0, half - cut), (near, half), (far, half), (thickness, half - cut)]
    section += [(thickness, cut - half), (far, -half), (near, -half), (0, cut - half)]
    rings = [
        np.column_stack([inset(outer, distance), np.full(len(outer), at + z)])
        for distance, z in section
    ]
    return loft(np.stack(rings, axis=1), closed=True)


def inset(outline: ArrayLike, distance: Real) -> Points:
    """Move an anticlockwise outline inwards with mitred corners, point for point.

    Corners rounder than the distance allows shrink to a point instead of turning inside out.
    """
    points = np.asarray(outline, float)
    edge = np.roll(points, -1, 0) - points
    unit = edge / np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-12)
    normal = np.stack([-unit[:, 1], unit[:, 0]], 1)
    both = normal + np.roll(normal, 1, 0)
    points = points + distance * both / np.maximum((both**2).sum(1, keepdims=True) / 2, 0.3)
    for _ in range(6):
        turned = ((np.roll(points, -1, 0) - points) * edge).sum(1) < -1e-12
        if not turned.any() or turned.all():
            break
        _collapse(points, edge, turned)
    return points


def _collapse(points: Points, edge: Points, turned: NDArray[np.bool_]) -> None:
    """Draw each run of marked edges together where its neighbours meet, in place.

    Edge i leads from point i; `edge` holds the directions before anything moved.
    """
    count = len(points)
    start = int(np.flatnonzero(~turned)[0]) + 1
    run: list[int] = []
    for i in (np.arange(count) + start) % count:
        if turned[i]:
            run.append(int(i))
        elif run:
            points[[*run, int(i)]] = _meeting(
                points[run[0]], edge[run[0] - 1], points[i], edge[int(i)]
            )
            run = []


def _meeting(a: Points, along_a: Points, b: Points, along_b: Points) -> Points:
    """Return where two lines of the plane cross; the middle of a and b where they hardly do."""
    cross = along_a[0] * along_b[1] - along_a[1] * along_b[0]
    if abs(cross) < 0.05 * np.linalg.norm(along_a) * np.linalg.norm(along_b):
        return (a + b) / 2
    gap = b - a
    return a + (gap[0] * along_b[1] - gap[1] * along_b[0]) / cross * along_a


def dense(outline: ArrayLike, step: Real) -> Points:
    """Return a closed outline with points added, so that no edge is longer than `step`."""
    points = np.asarray(outline, float)
    pieces = []
    for a, b in zip(points, np.roll(points, -1, 0), strict=True):
        count = max(1, int(np.ceil(np.linalg.norm(b - a) / step)))
        pieces.append(a + np.linspace(0, 1, count, endpoint=False)[:, None] * (b - a))
    return np.concatenate(pieces)


def vec(*values: Real) -> Points:
    """Return a point or an offset as an array."""
    return np.array(values, float)


# ---- putting together --------------------------------------------------------------------------
class Assembly:
    """Meshes gathered under the names of the parts they belong to."""

    def __init__(self, *names: str) -> None:
        """Keep the names, in the order in which the parts are listed."""
        self._meshes: dict[str, list[trimesh.Trimesh]] = {name: [] for name in names}

    def add(self, name: str, *meshes: trimesh.Trimesh) -> None:
        """Add meshes to a part."""
        self._meshes[name] += meshes

    def parts(self, **uv: str) -> tuple[Part, ...]:
        """Return the parts that have meshes; `uv` names projections other than "box".

        What reaches below the floor, such as the end of a slanted leg, is cut flat there.
        """
        parts = []
        for name, meshes in self._meshes.items():
            if meshes:
                whole = mesh.merge(meshes)
                points = np.array(whole.vertices)
                points[:, 1] = np.maximum(points[:, 1], 0)
                standing_mesh = trimesh.Trimesh(points, whole.faces, process=False)
                parts.append(Part(name=name, mesh=standing_mesh, uv=uv.get(name, "box")))
        return tuple(parts)


def chance(rng: np.random.Generator, probability: Real) -> bool:
    """Draw whether something happens."""
    return bool(rng.random() < probability)


# ---- shared ------------------------------------------------------------------------------------
def _outward(points: Points, faces: NDArray[np.int64]) -> trimesh.Trimesh:
    corners = points[faces] - points.mean(axis=0)
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return trimesh.Trimesh(points, faces if volume >= 0 else faces[:, ::-1], process=False)


def _box_template() -> tuple[Grid, Grid, NDArray[np.int64]]:
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    signs = np.repeat(np.array(corners, float), 3, axis=0)
    inward = np.tile(1 - np.eye(3), (8, 1))
    chamfered = signs * (1 - 0.2 * inward)
    hull = trimesh.Trimesh(chamfered, process=False).convex_hull
    distance = np.linalg.norm(chamfered[:, None] - hull.vertices[None], axis=2)
    return signs, inward, np.argmin(distance, axis=0)[hull.faces]


_BOX = _box_template()
