"""Building blocks of bags: vessels, pillows, bands, flaps, pockets, locks, stitches, tassels."""

from dataclasses import dataclass

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, ellipse, resample, rounded_rectangle
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, hoop, loft, ribbon, slab, standing, vec


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """Where handles meet a bag: half-span in x, height, half-distance in z; and the front's z."""

    x: float
    y: float
    z: float = 0.0
    front: float = 0.0


def stitch(bag: Assembly, path: Points) -> None:
    """Sew dashes along a path (n, 3)."""
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    count = 2 * max(3, min(24, int(length / 0.018)))
    points = resample(path, count)
    bag.add(
        "stitching",
        *(mesh.tapered(0.0022, 0.0022, points[k], points[k + 1], 6) for k in range(0, count, 2)),
    )


def buckle(bag: Assembly, x: Real, y: Real, z: Real, size: Real = 0.022) -> None:
    """Put a framed buckle with its pin on a front."""
    ring = rounded_rectangle((2 * size, 1.6 * size), 0.3 * size, 3) + vec(x, y)
    bag.add(
        "clasp",
        hoop(ring, 0.3 * size, 0.012, 0.002, at=z),
        box((0.2 * size, 1.4 * size, 0.008), (x, y, z), 0.002),
    )


def lock(bag: Assembly, v: Values, y: Real, z: Real) -> None:
    """Put a clasp on a front: a round stud or a turn lock."""
    if v.flag("stud"):
        bag.add(
            "clasp",
            mesh.cylinder(0.02, 0.016, (0, y, z), "z", 0.004),
            mesh.cylinder(0.009, 0.026, (0, y, z), "z", 0.003),
        )
    else:
        bag.add(
            "clasp",
            box((0.05, 0.032, 0.014), (0, y, z), 0.004),
            box((0.012, 0.028, 0.026), (0, y, z), 0.003),
        )


def tassel(bag: Assembly, anchor: Anchor) -> None:
    """Hang a tassel beside the front."""
    x, top, z = 0.72 * anchor.x, anchor.y - 0.005, anchor.front + 0.012
    skirt = [
        (0.004, top - 0.13),
        (0.021, top - 0.128),
        (0.016, top - 0.08),
        (0.011, top - 0.06),
        (0.014, top - 0.05),
        (0.008, top - 0.036),
    ]
    bag.add("trim", mesh.moved(mesh.revolve(skirt, 20), (x, 0, z)))
    bag.add(
        "trim",
        mesh.tapered(0.004, 0.004, (x, top - 0.045, z), (x, top + 0.004, anchor.front - 0.008), 8),
    )


def band(
    profile: Points, low: Real, high: Real, exponent: Real, grow: Real = 0.003
) -> trimesh.Trimesh:
    """Return a strip around a standing body between two heights, a little proud of it."""
    heights = np.array([low, low + 0.002, (low + high) / 2, high - 0.002, high])
    a, b = (np.interp(heights, profile[:, 2], profile[:, i]) for i in (0, 1))
    proud = np.array([0, grow, grow, grow, 0])
    ring = np.column_stack([a + proud, b + proud, heights])
    inner = np.column_stack([a[::-1] - 0.004, b[::-1] - 0.004, heights[::-1]])
    rows = np.concatenate([ring, inner])
    return _tube(rows, exponent)


def _tube(rows: Points, exponent: Real) -> trimesh.Trimesh:
    curve = ellipse((2, 2), 56, exponent)
    x, z = rows[:, :1] * curve[:, 0], rows[:, 1:2] * curve[:, 1]
    return loft(np.stack([x, np.broadcast_to(rows[:, 2:3], x.shape), z], -1), closed=True)


def vessel(bag: Assembly, outside: Points, exponent: Real, wall: Real = 0.008) -> None:
    """Return an open body: up outside, down inside."""
    inside = outside[outside[:, 2] > 0.02][::-1] - vec(wall, wall, 0)
    bag.add(
        "body",
        standing(
            np.concatenate([outside, inside, [(inside[-1, 0], inside[-1, 1], 0.02)]]), exponent, 56
        ),
    )


def wall_of(
    bottom: tuple[Real, Real], top: tuple[Real, Real], height: Real, belly: Real = 0.0
) -> Points:
    """Return the outside of a standing body: rows of half-width, half-depth and y, floor first."""
    t = np.array([0.0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 1.0])
    a = bottom[0] + (top[0] - bottom[0]) * t + belly * np.sin(np.pi * t)
    b = bottom[1] + (top[1] - bottom[1]) * t + belly * np.sin(np.pi * t)
    rows = np.column_stack([a, b, 0.012 + (height - 0.012) * t])
    foot = [(a[0] - 0.016, b[0] - 0.014, 0.0), (a[0] - 0.004, b[0] - 0.003, 0.004)]
    return np.concatenate([foot, rows])


def pillow(
    outline: Points, centre: tuple[Real, Real], half_depth: Real, power: Real = 2.4
) -> trimesh.Trimesh:
    """Return a stuffed shape: an outline in the x-y plane, `half_depth` thick in its middle."""
    t = np.linspace(-1, 1, 17)
    shrink = np.maximum(1 - np.abs(t) ** power, 0.0) ** (1 / power)
    rings = [
        np.column_stack(
            [
                np.asarray(centre) + (outline - centre) * (0.35 + 0.65 * s),
                np.full(len(outline), z * half_depth),
            ]
        )
        for s, z in zip(shrink, t, strict=True)
    ]
    return loft(rings)


def _flap_path(depth: Real, height: Real, drop: Real) -> Points:
    """From behind the top edge over it and down the front, in x = 0."""
    half = depth / 2 + 0.004
    corner = min(0.03, half)
    back = [(0, height - 0.04, -half), (0, height - corner, -half)]
    turns = np.radians(np.linspace(180, 0, 13))
    over = [
        (
            0,
            height - corner + (corner + 0.004) * np.sin(a),
            (half - corner) * np.sign(np.cos(a)) + corner * np.cos(a),
        )
        for a in turns
    ]
    down = [(0, y, half) for y in np.linspace(height - corner - 0.01, height - drop, 26)]
    return np.array(back + over + down)


def flap(bag: Assembly, v: Values, half: Real, depth: Real, height: Real, drop: Real) -> None:
    """Fold a flap over a closed bag, sewn along its edges, with a clasp at its end."""
    path = _flap_path(depth, height, drop)
    s = np.clip((height - path[:, 1]) / drop, 0, 1) * (path[:, 2] > 0)
    shape = v.text("flap")
    if shape == "round":
        widths = half * np.sqrt(np.maximum(1 - np.clip((s - 0.35) / 0.65, 0, 1) ** 2.4, 0.01))
    elif shape == "pointed":
        widths = half * (1 - 0.86 * np.clip((s - 0.25) / 0.75, 0, 1))
    else:
        widths = half * (1 - 0.35 * np.clip((s - 0.92) / 0.08, 0, 1) ** 2)
    bag.add("trim", ribbon(path, widths, 0.011))
    edge = np.flatnonzero(path[:, 2] >= depth / 2)[2:]
    for side in (-1, 1):
        stitch(
            bag,
            path[edge]
            + np.column_stack(
                [side * (widths[edge] - 0.012), np.zeros(len(edge)), np.full(len(edge), 0.006)]
            ),
        )
    lock(bag, v, height - drop + 0.035, depth / 2 + 0.01)


def pocket(bag: Assembly, v: Values, width: Real, low: Real, tall: Real, z: Real) -> None:
    """Sew a pocket on a front that lies at depth z."""
    outline = rounded_rectangle((width, tall), 0.03, 5) + vec(0, low + tall / 2)
    bag.add("trim", slab(outline, 0.018, 0.005, at=z))
    ring = rounded_rectangle((width - 0.02, tall - 0.02), 0.022, 5) + vec(0, low + tall / 2)
    stitch(
        bag, np.column_stack([np.concatenate([ring, ring[:1]]), np.full(len(ring) + 1, z + 0.009)])
    )
