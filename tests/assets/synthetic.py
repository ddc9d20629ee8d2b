"""Small scenes for the tests of sketches and domains: a z-buffer of trimesh bodies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh

from assets.catalogue.render import Buffers, Render


def box(size: Sequence[float], centre: Sequence[float]) -> trimesh.Trimesh:
    """Return an axis-aligned box."""
    body = trimesh.creation.box(extents=size)
    body.apply_translation(centre)
    return body


def chair_meshes() -> list[trimesh.Trimesh]:
    """Seat, back and legs of a plain chair; y up, front towards +z."""
    seat = box((0.5, 0.06, 0.5), (0.0, 0.45, 0.0))
    back = box((0.5, 0.5, 0.05), (0.0, 0.73, -0.225))
    legs = [trimesh.creation.cylinder(radius=0.02, height=0.42, sections=16) for _ in range(4)]
    turn = trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
    for leg, (x, z) in zip(legs, ((-1, -1), (1, -1), (-1, 1), (1, 1)), strict=True):
        leg.apply_transform(turn)
        leg.apply_translation((0.22 * x, 0.21, 0.22 * z))
    return [seat, back, sum(legs[1:], start=legs[0])]


def orthographic(
    meshes: Sequence[trimesh.Trimesh],
    *,
    azimuth: float = 30.0,
    elevation: float = 18.0,
    size_px: int = 128,
) -> Buffers:
    """Buffers of bodies seen by a distant camera; degrees as in the catalogue's cameras."""
    a, e = np.radians([azimuth, elevation])
    back = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0.0, -np.sin(a)])
    frame = np.stack([right, np.cross(back, right), back])
    placed = [mesh.vertices @ frame.T for mesh in meshes]
    low, high = np.vstack(placed).min(0), np.vstack(placed).max(0)
    scale = 0.76 * size_px / (high - low)[:2].max()
    middle = 0.5 * (low + high)[:2]
    splats = [
        _splats(vertices, mesh, frame, middle, scale)
        for mesh, vertices in zip(meshes, placed, strict=True)
    ]
    return _nearest(splats, size_px)


def _splats(vertices, mesh, frame, middle, scale) -> tuple[np.ndarray, np.ndarray]:
    """Return points (x, y px from the middle, depth) dense on the faces, and their normals."""
    facing = np.asarray(mesh.face_normals) @ frame.T
    corners = vertices[mesh.faces][facing[:, 2] > 1e-6] - (*middle, 0.0)
    facing = facing[facing[:, 2] > 1e-6]
    sides = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).max(1) * scale
    points, normals = [], []
    for level in np.unique(counts := 2 ** np.ceil(np.log2(1.6 * sides + 1)).astype(int)):
        chosen = counts == level
        u, v = (grid.ravel() / level for grid in np.mgrid[0 : level + 1, 0 : level + 1])
        weights = np.stack([u, v, 1 - u - v], axis=1)[u + v <= 1 + 1e-9]
        spread = np.einsum("pk,fkc->fpc", weights, corners[chosen])
        points.append(spread.reshape(-1, 3))
        normals.append(np.repeat(facing[chosen], len(weights), axis=0))
    return np.vstack(points) * (scale, -scale, -1.0), np.vstack(normals)


def _nearest(splats: list[tuple[np.ndarray, np.ndarray]], size_px: int) -> Buffers:
    points = np.vstack([positions for positions, _ in splats])
    normals = np.vstack([facing for _, facing in splats])
    parts = np.repeat(np.arange(1, len(splats) + 1), [len(positions) for positions, _ in splats])
    cols, rows = np.floor(points[:, :2] + 0.5 * size_px).astype(int).T
    order = np.argsort(-points[:, 2], kind="stable")  # the nearest is written last
    at = rows[order], cols[order]
    buffers = Buffers(
        part_ids=np.zeros((size_px, size_px), np.uint8),
        depth=np.full((size_px, size_px), np.inf, np.float32),
        normals=np.zeros((size_px, size_px, 3), np.float32),
    )
    buffers.part_ids[at] = parts[order]
    buffers.depth[at] = points[order, 2] + 10.0
    buffers.normals[at] = normals[order]
    return buffers


def shaded(buffers: Buffers, colours: Sequence[Sequence[float]]) -> Render:
    """Return a plain picture of buffers: one colour a part, lit from the upper left."""
    light = np.array([-0.4, 0.6, 0.7]) / np.linalg.norm([-0.4, 0.6, 0.7])
    shade = 0.35 + 0.65 * np.clip(buffers.normals @ light, 0.0, 1.0)
    table = np.vstack([(0.62, 0.60, 0.58), *colours])
    image = table[buffers.part_ids] * np.where(buffers.part_ids > 0, shade, 1.0)[..., None]
    return Render(image=(255 * np.clip(image, 0, 1)).astype(np.uint8), buffers=buffers)
