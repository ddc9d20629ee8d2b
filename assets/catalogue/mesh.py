"""Primitives that objects are built from: y up, front facing +z, every result a `trimesh.Trimesh`.

Vertices are shared, so that one surface is one connected mesh; shading normals, with creases above
30 degrees kept sharp, come from `corner_normals` when a scene is made. Outlines and paths to build
from are in `assets.catalogue.curves`.
"""

from collections.abc import Iterable

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from assets.catalogue.curves import (
    Points,
    Real,
    Section,
    Vector,
    arc,
    catmull_rom,
    signed_area,
    subdivided,
    triangulate,
)

CREASE_DEGREES = 30.0
ARC_STEPS = 2  # of 22.5 degrees each, below the crease angle
AXES = {"x": 0, "y": 1, "z": 2}
ORIGIN = (0.0, 0.0, 0.0)


def rounded_box(
    size: Vector, radius: Real = 0.01, centre: Vector = ORIGIN, divisions: int = 1
) -> trimesh.Trimesh:
    """Return a box with rounded edges.

    Args:
        size: Full width, height and depth, rounding included.
        radius: Of the edges; cut to half the smallest side.
        centre: Of the box.
        divisions: Segments of each flat side; above 1 for meshes that are bent afterwards.
    """
    half = np.asarray(size, float) / 2
    radius = min(radius, float(half.min()) * 0.999)
    tangents = np.tan(np.radians(np.linspace(0, 45, ARC_STEPS + 1)))
    flat = np.linspace(-1, 1, divisions + 1)
    position = np.concatenate([-np.ones(ARC_STEPS), flat, np.ones(ARC_STEPS)])
    lean = np.concatenate([-tangents[:0:-1], np.zeros(divisions + 1), tangents[1:]])
    inner, outward, faces = _cube(position, lean)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return _solid(inner * (half - radius) + radius * outward + np.asarray(centre), faces)


def superellipsoid(
    size: Vector, exponent: Real = 4.0, centre: Vector = ORIGIN, steps: int = 14
) -> trimesh.Trimesh:
    """Return a blob between an ellipsoid (exponent 2) and a box (exponent 10 and above)."""
    t = np.tan(np.linspace(-np.pi / 4, np.pi / 4, steps + 1))
    points, _, faces = _cube(t, t)
    norm = (np.abs(points) ** exponent).sum(1, keepdims=True) ** (1 / exponent)
    return _solid(points / norm * np.asarray(size) / 2 + np.asarray(centre), faces)


def cushion(size: Vector, centre: Vector = ORIGIN, puff: Real = 0.35) -> trimesh.Trimesh:
    """Return a soft box, thickest in the middle.

    Args:
        size: Full width, height (at the crown) and depth.
        centre: Of the bounding box.
        puff: How much thinner the corners are than the crown, 0 (a soft slab) to 1.
    """
    mesh = superellipsoid((2, 2, 2), 7.0, steps=18)
    x, y, z = np.asarray(mesh.vertices).T
    crown = np.cos(x * np.pi / 2.4) * np.cos(z * np.pi / 2.4)
    pinch = 1 - 0.04 * puff * (np.cos(x * np.pi / 2) + np.cos(z * np.pi / 2))
    points = np.stack([x * pinch, y * (1 - puff * (1 - crown)), z * pinch], 1)
    points /= np.abs(points).max(0)
    return _solid(points * np.asarray(size) / 2 + np.asarray(centre), mesh.faces)


def revolve(profile: ArrayLike, segments: int = 64, *, smooth: bool = False) -> trimesh.Trimesh:
    """Turn a profile about the y axis.

    Args:
        profile: (n, 2) rows (radius, y). Open ends are closed by flat caps, unless the last point
            repeats the first (a ring).
        segments: Around the axis.
        smooth: Whether to pass a Catmull-Rom curve through the profile.
    """
    p = np.asarray(profile, float)
    is_ring = bool(np.allclose(p[0], p[-1]))
    if smooth:
        p = _smooth_profile(p[:-1] if is_ring else p, closed=is_ring)
        p = np.concatenate([p, p[:1]]) if is_ring else p
    p = np.stack([np.maximum(p[:, 0], 0), p[:, 1]], 1)
    if not is_ring:
        p = np.concatenate([[[0, p[0, 1]]], p, [[0, p[-1, 1]]]])
    turn = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    radius, height = p[:, :1], np.broadcast_to(p[:, 1:], (len(p), segments))
    grid = np.stack([radius * np.sin(turn), height, radius * np.cos(turn)], -1)
    return _solid(grid.reshape(-1, 3), _grid_faces(len(p), segments, wrap_columns=True))


def shell(
    profile: ArrayLike, thickness: Real, segments: int = 64, *, smooth: bool = False
) -> trimesh.Trimesh:
    """Turn the outer profile of a vessel, from the bottom's middle up to the rim, and hollow it.

    Args:
        profile: (n, 2) rows (radius, y) of the outside, starting near radius 0.
        thickness: Of the wall; the rim is rounded.
        segments: Around the axis.
        smooth: Whether to pass a Catmull-Rom curve through the profile.
    """
    outer = np.asarray(profile, float)
    outer = _smooth_profile(outer) if smooth else subdivided(outer)
    along = np.gradient(outer, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    inward = np.stack([-along[:, 1], along[:, 0]], 1)
    inner = outer + thickness * inward
    inner = inner[(inner[:, 0] > 0) & (inner[:, 1] >= outer[:, 1].min() + 0.9 * thickness)]
    middle, spoke = (outer[-1] + inner[-1]) / 2, (outer[-1] - inner[-1]) / 2
    angles = np.linspace(0, np.pi, 9)[1:-1, None]
    rim = middle + np.cos(angles) * spoke + np.sin(angles) * along[-1] * thickness / 2
    floor = [[0, inner[0, 1]]]
    return revolve(np.concatenate([outer, rim, inner[::-1], floor]), segments)


def cylinder(
    radius: Real, height: Real, centre: Vector = ORIGIN, axis: str = "y", bevel: Real = 0.0
) -> trimesh.Trimesh:
    """Return a cylinder along an axis, `height` long, its edges rounded by `bevel`."""
    bevel = min(bevel, 0.49 * height, 0.98 * radius)
    corner = arc(bevel, 0, 90, 5) if bevel > 0 else np.zeros((1, 2))
    top = corner + np.array([radius - bevel, height / 2 - bevel])
    mesh = revolve(np.concatenate([top[::-1] * (1, -1), top]), 48)
    turned = {"y": None, "x": ("z", -90.0), "z": ("x", 90.0)}[axis]
    mesh = mesh if turned is None else rotated(mesh, turned[1], turned[0])
    return moved(mesh, centre)


def tapered(r0: Real, r1: Real, p0: Vector, p1: Vector, segments: int = 24) -> trimesh.Trimesh:
    """Return a rod or leg from p0 (radius r0) to p1 (radius r1)."""
    a, b = np.asarray(p0, float), np.asarray(p1, float)
    t = np.array([0, 0.5, 1])
    return sweep(a + t[:, None] * (b - a), r0 + (r1 - r0) * t, segments=segments)


def torus_arc(
    radius: Real, tube: Real, start: Real = 0, end: Real = 360, centre: Vector = ORIGIN
) -> trimesh.Trimesh:
    """Return a bent tube in the x-y plane; angles in degrees anticlockwise from +x."""
    closed = abs(end - start) >= 360
    flat = arc(radius, start, end, 49)
    flat = flat[:-1] if closed else flat
    path = np.concatenate([flat, np.zeros((len(flat), 1))], 1) + np.asarray(centre)
    return sweep(path, tube, closed=closed)


def sweep(
    path: ArrayLike,
    section: Section,
    *,
    closed: bool = False,
    segments: int = 20,
) -> trimesh.Trimesh:
    """Move a section along a path without twisting it.

    Args:
        path: (n, 3) points, n >= 2.
        section: A radius, n radii (one a point), or an (m, 2) outline, anticlockwise. The outline's
            second axis starts as near to +y as the path allows (+z for a vertical path).
        closed: Whether the path returns to its first point (not repeated). Open ends are capped.
        segments: Of a round section.
    """
    p = np.asarray(path, float)
    outline = np.asarray(section, float)
    circle = arc(1.0, 0, 360, segments + 1)[:-1]
    if outline.ndim == 2:
        rings = np.broadcast_to(outline, (len(p), *outline.shape))
    else:
        rings = np.broadcast_to(outline, len(p))[:, None, None] * circle
    side, up = _frames(p, closed=closed)
    grid = p[:, None] + rings[..., :1] * side[:, None] + rings[..., 1:] * up[:, None]
    num_rings, num_columns = grid.shape[:2]
    faces = _grid_faces(num_rings, num_columns, wrap_columns=True, wrap_rows=closed)
    points = grid.reshape(-1, 3)
    if not closed:
        cap = triangulate(rings[0])
        last = (num_rings - 1) * num_columns
        # The grid runs (ring, column); its caps close the two ends against it.
        faces = np.concatenate([faces, cap[:, ::-1], cap + last])
    return _solid(points, faces)


def extrude(polygon: ArrayLike, depth: Real, bevel: Real = 0.0) -> trimesh.Trimesh:
    """Extrude an outline of the x-y plane along z, centred on z = 0.

    Args:
        polygon: (n, 2) simple closed outline, first point not repeated.
        depth: Full thickness along z.
        bevel: Radius of the rounded edges, inside the outline; below half of what it meets.
    """
    outline = np.asarray(polygon, float)
    if signed_area(outline) < 0:
        outline = outline[::-1]
    bevel = min(bevel, 0.49 * depth)
    corner = arc(bevel, 0, 90, 5) if bevel > 0 else np.zeros((1, 2))
    inward = _inward(outline)
    levels = [(bevel - x, depth / 2 - bevel + z) for x, z in corner]
    rings = [(inset, -z) for inset, z in levels[::-1]] + levels
    points = np.concatenate(
        [np.column_stack([outline + d * inward, np.full(len(outline), z)]) for d, z in rings]
    )
    faces = _grid_faces(len(rings), len(outline), wrap_columns=True)
    cap = triangulate(outline)
    last = (len(rings) - 1) * len(outline)
    return _solid(points, np.concatenate([faces, cap[:, ::-1], cap + last]))


def moved(mesh: trimesh.Trimesh, offset: Vector) -> trimesh.Trimesh:
    """Return the mesh shifted by `offset`."""
    return _copy(mesh, mesh.vertices + np.asarray(offset, float))


def scaled(mesh: trimesh.Trimesh, factors: Real | Vector) -> trimesh.Trimesh:
    """Return the mesh scaled about the origin; factors must be positive."""
    return _copy(mesh, mesh.vertices * np.asarray(factors, float))


def rotated(
    mesh: trimesh.Trimesh, degrees: Real, axis: str = "y", about: Vector = ORIGIN
) -> trimesh.Trimesh:
    """Return the mesh turned anticlockwise about an axis ("x", "y", "z") through `about`."""
    direction = np.eye(3)[AXES[axis]]
    matrix = Rotation.from_rotvec(degrees * direction, degrees=True).as_matrix()
    pivot = np.asarray(about, float)
    return _copy(mesh, (mesh.vertices - pivot) @ matrix.T + pivot)


def mirrored(mesh: trimesh.Trimesh, axis: str = "x") -> trimesh.Trimesh:
    """Return the mirror image across the plane through the origin."""
    factors = np.ones(3)
    factors[AXES[axis]] = -1
    return _solid(mesh.vertices * factors, mesh.faces[:, ::-1])


def taper(mesh: trimesh.Trimesh, top: Vector) -> trimesh.Trimesh:
    """Scale x and z by factors growing from 1 at the lowest point to `top` at the highest."""
    height = _unit_range(mesh.vertices[:, 1])[:, None]
    points = np.array(mesh.vertices)
    points[:, [0, 2]] *= 1 + height * (np.asarray(top, float) - 1)
    return _copy(mesh, points)


def twist(mesh: trimesh.Trimesh, degrees: Real) -> trimesh.Trimesh:
    """Turn the mesh about the y axis, from 0 at the lowest point to `degrees` at the highest."""
    angles = np.radians(degrees) * _unit_range(mesh.vertices[:, 1])
    x, y, z = np.array(mesh.vertices).T
    cos, sin = np.cos(angles), np.sin(angles)
    return _copy(mesh, np.stack([x * cos + z * sin, y, z * cos - x * sin], 1))


def bend(
    mesh: trimesh.Trimesh, degrees: Real, along: str = "x", towards: str = "z"
) -> trimesh.Trimesh:
    """Roll the mesh into an arc: its `along` axis curves, both ends leaning to `towards`.

    The middle of the extent stays in place. Give `rounded_box` enough `divisions` beforehand.
    """
    if abs(degrees) < 1e-6:
        return mesh
    i, j = AXES[along], AXES[towards]
    points = np.array(mesh.vertices)
    low, high = points[:, i].min(), points[:, i].max()
    radius = (high - low) / np.radians(degrees)
    angle = (points[:, i] - (low + high) / 2) / radius
    reach = radius - points[:, j]
    points[:, i] = (low + high) / 2 + reach * np.sin(angle)
    points[:, j] = radius - reach * np.cos(angle)
    return _copy(mesh, points)


def merge(meshes: Iterable[trimesh.Trimesh]) -> trimesh.Trimesh:
    """Return one mesh of several; touching surfaces stay separate surfaces."""
    parts = list(meshes)
    starts = np.cumsum([0, *(len(m.vertices) for m in parts[:-1])])
    faces = [m.faces + start for m, start in zip(parts, starts, strict=True)]
    points = np.concatenate([m.vertices for m in parts])
    return trimesh.Trimesh(points, np.concatenate(faces), process=False)


def corner_normals(mesh: trimesh.Trimesh, crease: Real = CREASE_DEGREES) -> Points:
    """Return (faces, 3, 3) unit shading normals: smooth, but not across creases above `crease`.

    Faces weigh in by area, so that flat sides stay flat beside their rounded edges.
    """
    corners = mesh.vertices[mesh.faces]
    weighted = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = weighted / np.maximum(area, 1e-20)
    vertex = mesh.faces.reshape(-1)
    face = np.repeat(np.arange(len(mesh.faces)), 3)
    order = np.argsort(vertex, kind="stable")
    counts = np.bincount(vertex, minlength=len(mesh.vertices))
    first = np.cumsum(counts) - counts
    repeats = counts[vertex]
    begin = np.cumsum(repeats) - repeats
    here = np.repeat(np.arange(len(vertex)), repeats)
    step = np.arange(len(here)) - begin[here]
    there = face[order[first[vertex[here]] + step]]
    near = np.einsum("ij,ij->i", unit[face[here]], unit[there]) > np.cos(np.radians(crease))
    normals = np.add.reduceat(weighted[there] * near[:, None], begin)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    return normals.reshape(-1, 3, 3)


def _solid(points: Points, faces: NDArray[np.int64]) -> trimesh.Trimesh:
    """Weld equal vertices, drop empty triangles and turn the surface outward."""
    keys = np.round(points, 6) + 0.0
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    points, faces = points[first], index.reshape(-1)[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    corners = points[faces] - points.mean(0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    return trimesh.Trimesh(points, faces if volume >= 0 else faces[:, ::-1], process=False)


def _smooth_profile(p: Points, *, closed: bool = False) -> Points:
    """Return a curve through the points that keeps to their height and to radius >= 0."""
    curve = catmull_rom(p, 6, closed=closed)
    return np.clip(curve, (0, p[:, 1].min()), (np.inf, p[:, 1].max()))


def _copy(mesh: trimesh.Trimesh, points: Points) -> trimesh.Trimesh:
    return trimesh.Trimesh(points, mesh.faces, process=False)


def _grid_faces(
    rows: int, columns: int, *, wrap_columns: bool = False, wrap_rows: bool = False
) -> NDArray[np.int64]:
    r = np.arange(rows if wrap_rows else rows - 1)[:, None]
    c = np.arange(columns if wrap_columns else columns - 1)[None, :]
    r1, c1 = (r + 1) % rows, (c + 1) % columns
    a, b, d, e = (
        i.reshape(-1)
        for i in (r * columns + c, r * columns + c1, r1 * columns + c1, r1 * columns + c)
    )
    return np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, e], 1)])


def _cube(position: Points, lean: Points) -> tuple[Points, Points, NDArray[np.int64]]:
    """Return the six gridded sides of a cube: positions, outward directions and faces."""
    n = len(position)
    ones = np.ones((n, n))
    pairs = [np.meshgrid(values, values, indexing="ij") for values in (position, lean)]
    positions, leans, faces = [], [], []
    grid = _grid_faces(n, n)
    for axis in range(3):
        for sign in (1, -1):
            for (u, v), out in zip(pairs, (positions, leans), strict=True):
                side = np.roll(np.stack([sign * ones, u, v], -1), axis, axis=-1)
                out.append(side.reshape(-1, 3))
            faces.append((grid if sign > 0 else grid[:, ::-1]) + n * n * len(faces))
    return np.concatenate(positions), np.concatenate(leans), np.concatenate(faces)


def _frames(p: Points, *, closed: bool) -> tuple[Points, Points]:
    """Return the side and up vectors of a path, carried along it without twist."""
    steps = np.roll(p, -1, 0) - np.roll(p, 1, 0) if closed else np.gradient(p, axis=0)
    forward = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    guide = np.array([0.0, 1.0, 0.0]) if abs(forward[0, 1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    up = [guide - forward[0] * (guide @ forward[0])]
    for direction in forward[1:]:
        up.append(up[-1] - direction * (up[-1] @ direction))
    ups = np.array([u / np.linalg.norm(u) for u in up])
    if closed:  # the leftover turn between last and first ring, spread over the path
        carried = ups[-1] - forward[0] * (ups[-1] @ forward[0])
        side = np.cross(ups[0], forward[0])
        turn = np.arctan2(carried @ side, carried @ ups[0])
        angles = -turn * np.arange(len(p)) / len(p)
        sides = np.cross(ups, forward)
        ups = ups * np.cos(angles)[:, None] + sides * np.sin(angles)[:, None]
    return np.cross(ups, forward), ups


def _inward(outline: Points) -> Points:
    """Return mitred inward offsets of an anticlockwise outline, for an inset of 1."""
    edge = np.roll(outline, -1, 0) - outline
    edge /= np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-12)
    normal = np.stack([-edge[:, 1], edge[:, 0]], 1)
    both = normal + np.roll(normal, 1, 0)
    return both / np.maximum((both**2).sum(1, keepdims=True) / 2, 0.5)


def _unit_range(values: Points) -> Points:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1e-12)
