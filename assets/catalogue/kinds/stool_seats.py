"""Seats of stools, from plain discs to saddles and tractor seats."""

import numpy as np

from assets.catalogue.curves import Points
from assets.catalogue.kinds.furniture import Slab, TubeSection, Values, outline, rod, sheet
from assets.catalogue.kinds.legs import Meshes

SEATS = {
    "round": 2.0,
    "square": 1.3,
    "squircle": 1.0,
    "saddle": 1.4,
    "slatted": 0.8,
    "tractor": 0.8,
}
SEAT_WORDS = {
    "round": "a round seat",
    "square": "a square seat",
    "squircle": "a rounded seat",
    "saddle": "a saddle seat",
    "slatted": "a slatted seat",
    "tractor": "a dished seat with a low back edge",
}
POWERS = {
    "round": 2.0,
    "square": 12.0,
    "squircle": 3.4,
    "saddle": 5.0,
    "slatted": 12.0,
    "tractor": 2.3,
}


def is_cushioned(v: Values) -> bool:
    """Return whether the seat is a board with a cushion on it."""
    return v.flag("padded") and v.text("seat") in ("round", "square", "squircle")


def _shape(v: Values) -> Points:
    width = v.num("width")
    depth = width if v.text("seat") in ("round", "tractor") else width * v.num("ratio")
    return outline(width, depth, POWERS[v.text("seat")])


def seat(v: Values) -> tuple[Meshes, float]:
    """Return the seat and the height of its underside."""
    high, thick, width = v.num("height"), v.num("thick"), v.num("width")
    shape = _shape(v)
    match v.text("seat"):
        case "saddle":
            depth = width * v.num("ratio")
            z, x = np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 24), indexing="ij")
            y = high - thick / 2 - 0.028 + 0.028 * np.abs(x) ** 2.2 - 0.008 * np.abs(z) ** 3
            grid = np.stack([x * (width / 2 - thick / 2), y, z * (depth / 2 - thick / 2)], axis=-1)
            return [sheet(grid, thick)], high - thick - 0.012
        case "slatted":
            depth = width * v.num("ratio")
            bar = TubeSection(power=6.0, across=1.0, along=0.42)
            positions = (np.arange(5) - 2) * depth / 5
            bars = [
                rod(
                    (-width / 2, high - 0.012, z),
                    (width / 2, high - 0.012, z),
                    depth * 0.082,
                    TubeSection(power=6.0, across=1.0, along=0.36),
                )
                for z in positions
            ]
            sides = [
                rod((x, high - 0.03, -depth / 2), (x, high - 0.03, depth / 2), 0.02, bar)
                for x in (-0.4 * width, 0.0, 0.4 * width)
            ]
            return bars + sides, high - 0.045
        case "tractor":
            b, a = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25), indexing="ij")
            u, w = a * np.sqrt(1 - b**2 / 2), b * np.sqrt(1 - a**2 / 2)
            rise = 0.13 * np.clip(-w, 0, 1) ** 2.6 + 0.03 * np.abs(u) ** 3
            grid = np.stack([u * width / 2, high - thick + rise, w * width / 2], axis=-1)
            return [sheet(grid, 0.022)], high - thick - 0.008
        case _:
            pass
    if is_cushioned(v):
        board = Slab(low=high - 0.085, high=high - 0.055, edge=0.008).build(shape * 0.97)
        return [
            board,
            Slab(low=high - 0.07, high=high, edge=0.03, crown=0.014).build(shape),
        ], high - 0.085
    return [Slab(low=high - thick, high=high, edge=0.011, crown=-0.006).build(shape)], high - thick
