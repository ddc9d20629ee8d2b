"""Handles of bags: hoops, straps, chains and wrist loops."""

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, ellipse, resample
from assets.catalogue.kinds.bag_details import Anchor
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, ribbon


def _bow(anchor: Anchor, rise: Real, power: Real = 0.75, num: int = 33) -> Points:
    """Return an arch from one anchor to the other, in the plane z = 0."""
    t = np.linspace(np.pi, 0, num)
    return np.column_stack(
        [anchor.x * np.cos(t), anchor.y + rise * np.sin(t) ** power, np.zeros(num)]
    )


def _tabs(bag: Assembly, anchor: Anchor, z: Real) -> None:
    for side in (-1, 1):
        bag.add(
            "clasp",
            mesh.superellipsoid(
                (0.032, 0.036, 0.022), 3, (side * anchor.x, anchor.y + 0.004, z), 8
            ),
        )


def _single(bag: Assembly, v: Values, anchor: Anchor) -> None:
    rise = anchor.x * (0.75 + 0.6 * v.num("reach"))
    path = _bow(anchor, rise, 0.6)
    bag.add("handle", mesh.sweep(path, 0.010 + 0.003 * np.sin(np.linspace(0, np.pi, len(path)))))
    _tabs(bag, anchor, 0.0)


def _twin(bag: Assembly, v: Values, anchor: Anchor) -> None:
    rise = anchor.x * (1.1 + 0.9 * v.num("reach"))
    for side in (-1, 1):
        path = _bow(anchor, rise, 0.7)
        lean = (0.25 if side > 0 else 0.05) * (path[:, 1] - anchor.y)
        path[:, 2] = side * (anchor.z + lean * (0.4 if anchor.z < 0.03 else 1))
        bag.add("handle", mesh.sweep(path, 0.009))
        _tabs(bag, anchor, side * anchor.z)


def _long(bag: Assembly, v: Values, anchor: Anchor) -> None:
    rise = 0.14 + 0.16 * v.num("reach")
    path = _bow(anchor, rise, 0.85, 41)
    bag.add("handle", ribbon(path, 0.016, 0.009, (0, 0, 1)))
    _tabs(bag, anchor, 0.0)


def _chain(bag: Assembly, v: Values, anchor: Anchor) -> None:
    rise = 0.13 + 0.13 * v.num("reach")
    path = _bow(anchor, rise, 0.85, 81)
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    count = int(length / 0.027)
    points = resample(path, 2 * count + 1)
    for k in range(count):
        a, b = points[2 * k], points[2 * k + 2]
        link = ellipse((float(np.linalg.norm(b - a)) + 0.012, 0.022), 24, 3.0)
        ring = np.column_stack([link, np.zeros(len(link))])
        ring = ring if k % 2 else ring[:, [0, 2, 1]]
        way = (b - a) / np.linalg.norm(b - a)
        frame = np.array([way, (-way[1], way[0], 0.0), (0.0, 0.0, 1.0)])
        bag.add("handle", mesh.sweep(ring @ frame + (a + b) / 2, 0.0042, closed=True, segments=8))
    _tabs(bag, anchor, 0.0)


def _wrist(bag: Assembly, v: Values, anchor: Anchor) -> None:
    x, y = anchor.x, anchor.y
    long, wide = 0.1 + 0.05 * v.num("reach"), 0.032
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    loop = np.column_stack(
        [
            x + 0.012 + wide * (1 - np.cos(t)) * 0.9,
            y - long * (0.5 - 0.5 * np.cos(t)) * 1.0,
            0.02 * np.sin(t),
        ]
    )
    loop[:, 0] += 0.02 * np.sin(t)
    bag.add("handle", mesh.sweep(loop, 0.0075, closed=True))
    bag.add("clasp", mesh.superellipsoid((0.05, 0.03, 0.024), 3, (x + 0.004, y, 0), 8))


CARRIES = {"single": _single, "twin": _twin, "long": _long, "chain": _chain, "wrist": _wrist}
