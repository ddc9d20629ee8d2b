"""The fields of a cabinet's front: doors, drawers, niches, glazed doors, and their handles."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, Vector, rounded_rectangle
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, dense, hoop, vec


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A field of the front: its middle, its size, its position in a row."""

    x: float
    y: float
    width: float
    height: float
    index: int
    count: int

    @property
    def opening(self) -> int:
        """Which way a door's handle lies from its middle: 1 right, -1 left."""
        return 1 if self.index % 2 == 0 and self.count > 1 else -1


def bowed(v: Values, pieces: Iterable[trimesh.Trimesh]) -> list[trimesh.Trimesh]:
    """Swell the front half of pieces forwards, most in the middle."""
    swollen = []
    for piece in pieces:
        points = np.array(piece.vertices)
        reach = 1 - (2 * points[:, 0] / v.num("width")) ** 2
        points[:, 2] += (
            v.num("bow")
            * np.clip(reach, 0, 1)
            * np.clip(points[:, 2] / (0.5 * v.num("depth")), 0, 1)
        )
        swollen.append(trimesh.Trimesh(points, piece.faces, process=False))
    return swollen


def curved_board(v: Values, size: Vector, centre: Vector, radius: Real = 0.005) -> trimesh.Trimesh:
    """Return a board that follows the bow of the front."""
    return bowed(v, [mesh.rounded_box(size, radius, centre, 10 if v.num("bow") else 1)])[0]


def _door(cabinet: Assembly, v: Values, cell: Cell, *, drawer: bool = False) -> None:
    wide, tall = cell.width - 0.008, cell.height - 0.008
    z = v.num("depth") / 2 + 0.002
    behind = (cell.x, cell.y, z - 0.016)
    cabinet.add(
        "body", curved_board(v, (cell.width + 0.012, cell.height + 0.012, 0.012), behind, 0.0)
    )
    pieces = [curved_board(v, (wide, tall, 0.024), (cell.x, cell.y, z), 0.006)]
    if v.text("style") == "panelled":
        rim = min(0.055, 0.22 * min(wide, tall))
        ring = _ring(v, cell, wide - 0.004, tall - 0.004)
        pieces += bowed(v, [hoop(ring, rim, 0.02, 0.005, at=z + 0.013)])
        pieces.append(
            curved_board(
                v, (wide - 3.4 * rim, tall - 3.4 * rim, 0.014), (cell.x, cell.y, z + 0.012), 0.006
            )
        )
    elif v.text("style") == "ribbed" and not drawer:
        count = max(4, int(wide / 0.045))
        for k in range(count):
            x = cell.x + ((k + 0.5) / count - 0.5) * (wide - 0.012)
            pieces += bowed(
                v, [box((0.62 * wide / count, tall - 0.012, 0.026), (x, cell.y, z + 0.01), 0.009)]
            )
    cabinet.add("fronts", *pieces)
    _handle(cabinet, v, cell, drawer)


def _ring(v: Values, cell: Cell, wide: Real, tall: Real) -> Points:
    """Return the outline of a front, fine enough to be bent where the front is bowed."""
    outline = rounded_rectangle((wide, tall), 0.006, 3) + vec(cell.x, cell.y)
    return dense(outline, 0.06) if v.num("bow") else outline


def _drawer(cabinet: Assembly, v: Values, cell: Cell) -> None:
    _door(cabinet, v, cell, drawer=True)


def _niche(cabinet: Assembly, v: Values, cell: Cell) -> None:
    depth, board = v.num("depth"), 0.8 * v.num("board")
    for side in (-1, 1):
        x, y = cell.x + side * (cell.width - board) / 2, cell.y + side * (cell.height - board) / 2
        cabinet.add("body", box((board, cell.height + 0.01, depth - 0.02), (x, cell.y, 0), 0.003))
        cabinet.add(
            "body", curved_board(v, (cell.width + 0.01, board, depth - 0.02), (cell.x, y, 0), 0.003)
        )
    if cell.height > 0.4:
        cabinet.add(
            "body", curved_board(v, (cell.width, board, depth - 0.04), (cell.x, cell.y, 0), 0.004)
        )


def _glazed(cabinet: Assembly, v: Values, cell: Cell) -> None:
    wide, tall, z = cell.width - 0.008, cell.height - 0.008, v.num("depth") / 2 + 0.002
    cabinet.add("fronts", *bowed(v, [hoop(_ring(v, cell, wide, tall), 0.05, 0.026, 0.005, at=z)]))
    jamb = _ring(v, cell, cell.width + 0.012, cell.height + 0.012)
    cabinet.add("body", *bowed(v, [hoop(jamb, 0.024, 0.02, 0.0, at=z - 0.02)]))
    bars = 1 if v.text("style") == "flat" else 2 if v.text("style") == "panelled" else 3
    for k in range(1, bars + 1):
        y = cell.y + (k / (bars + 1) - 0.5) * tall
        cabinet.add(
            "body",
            curved_board(v, (cell.width, 0.018, v.num("depth") - 0.06), (cell.x, y, -0.01), 0.004),
        )
        cabinet.add("fronts", curved_board(v, (wide - 0.06, 0.018, 0.016), (cell.x, y, z), 0.004))
    cabinet.add(
        "panes",
        curved_board(v, (wide - 0.06, tall - 0.06, 0.006), (cell.x, cell.y, z - 0.004), 0.0),
    )
    _handle(cabinet, v, cell, False)


def _handle(cabinet: Assembly, v: Values, cell: Cell, drawer: bool) -> None:
    style, z = v.text("handles"), v.num("depth") / 2 + 0.014
    if v.text("style") != "flat":
        z += 0.008
    offset = 0.0 if drawer or cell.count == 1 else cell.opening * (cell.width / 2 - 0.035)
    x, y = cell.x + offset, cell.y + (0.0 if drawer else min(0.15 * cell.height, 0.1))
    z += v.num("bow") * max(0.0, 1 - (2 * x / v.num("width")) ** 2)
    if style == "knob":
        stem = mesh.tapered(0.009, 0.008, (x, y, z - 0.006), (x, y, z + 0.018), 12)
        cabinet.add(
            "handles", stem, mesh.superellipsoid((0.038, 0.038, 0.026), 2.3, (x, y, z + 0.024), 8)
        )
    elif style == "ring":
        cabinet.add(
            "handles",
            mesh.cylinder(0.022, 0.012, (x, y + 0.02, z + 0.001), "z", 0.003),
            mesh.torus_arc(0.03, 0.006, centre=(x, y - 0.006, z + 0.008)),
        )
    else:
        reach = (0.5 if style == "long" else 0.24) * (
            cell.width if drawer else min(cell.height, 0.6)
        )
        way = np.array((1, 0, 0) if drawer else (0, 1, 0)) * min(reach, 0.34) / 2
        centre = np.array((x, y, z + 0.024))
        rail = mesh.tapered(0.008, 0.008, centre - way * 1.12, centre + way * 1.12, 12)
        posts = (
            mesh.tapered(0.007, 0.007, centre + s * way - vec(0, 0, 0.032), centre + s * way, 10)
            for s in (-0.9, 0.9)
        )
        cabinet.add("handles", rail, *posts)


CELLS = {"D": _door, "R": _drawer, "O": _niche, "G": _glazed}
