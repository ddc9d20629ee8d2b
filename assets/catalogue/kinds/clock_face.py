"""Clock faces: dial, rim, hour marks, hands; and feet and finials of the clocks with any."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, arc
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, boxes, hoop, slab, vec


def face(clock: Assembly, v: Values, y: Real, z: Real, radius: Real | None = None) -> None:
    """Put dial, rim, hour marks and hands on a front plane at depth z."""
    r = v.num("radius") if radius is None else radius
    eight = v.text("corners") == "eight" and v.text("form") not in ("alarm", "post", "egg")
    edge = arc(r, 22.5, 337.5, 8) if eight else arc(r, 0, 360, 49)[:-1]
    edge = edge * (1.05 if eight else 1.0) + vec(0, y)
    clock.add("dial", slab(edge, 0.02, 0.002, at=z))
    rim = v.num("rim") * r / 0.12
    outer = (edge - vec(0, y)) * (1 + rim / r) + vec(0, y)
    clock.add("trim", hoop(outer, rim * 1.15, 0.044, 0.005, at=z + 0.004))
    top = z + 0.012
    clock.add("hands", *_marks(v, r, y, top))
    for angle, reach, width in ((v.num("hour"), 0.52, 0.085), (v.num("minute"), 0.78, 0.062)):
        hand = slab(_hand(v.text("hands"), reach * r, width * r), 0.006, 0.0015)
        hand = mesh.rotated(hand, -angle, "z")
        clock.add("hands", mesh.moved(hand, (0, y, top + 0.003 + 0.03 * width)))
    clock.add("hands", mesh.cylinder(0.09 * r, 0.016, (0, y, top + 0.006), "z", 0.003))


def _marks(v: Values, r: Real, y: Real, z: Real) -> list[trimesh.Trimesh]:
    style = v.text("ticks")
    marks = []
    for hour in range(12):
        quarter = hour % 3 == 0
        angle = -30.0 * hour
        if style == "dots":
            radius = (0.065 if quarter else 0.042) * r
            mark = mesh.cylinder(radius, 0.006, (0, 0.84 * r, 0), "z")
        elif style == "quarters" and not quarter:
            continue
        elif style == "romans":
            bars = 3 if quarter else 2
            positions = [((k - (bars - 1) / 2) * 0.07 * r, 0.81 * r, 0) for k in range(bars)]
            mark = boxes([(0.035 * r, 0.2 * r, 0.006)] * bars, positions, 0.001)
        else:
            size = (0.075 * r, 0.2 * r, 0.006) if quarter else (0.05 * r, 0.13 * r, 0.006)
            mark = boxes([size], [(0, 0.93 * r - size[1] / 2, 0)], 0.001)
        marks.append(mesh.moved(mesh.rotated(mark, angle, "z"), (0, y, z)))
    return marks


def _hand(style: str, reach: Real, width: Real) -> Points:
    w = width / 2
    if style == "leaf":
        points = [(0, -0.16 * reach), (1.9 * w, 0.4 * reach), (0, reach), (-1.9 * w, 0.4 * reach)]
        return np.array(points)
    if style == "spade":
        bulb = arc(2.6 * w, -60, 240, 13) + vec(0, 0.68 * reach)
        return np.concatenate(
            [[(w, -0.1 * reach)], bulb[:4], [(0, reach)], bulb[9:], [(-w, -0.1 * reach)]]
        )
    return np.array(
        [(1.3 * w, -0.18 * reach), (0.8 * w, reach), (-0.8 * w, reach), (-1.3 * w, -0.18 * reach)]
    )


def feet_under(clock: Assembly, v: Values, half: Real, depth: Real, part: str = "trim") -> float:
    """Add feet under a case of half-width `half`; return the height of its underside."""
    kind = v.text("feet")
    if kind == "none":
        return 0.0
    x, z = 0.8 * half, 0.36 * depth
    spots = [(sx * x, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    if kind == "ball":
        size = 0.04
        clock.add(
            part,
            *(mesh.superellipsoid((0.05, size, 0.05), 2.2, (a, size / 2, b), 8) for a, b in spots),
        )
    elif kind == "block":
        size = 0.028
        clock.add(
            part, boxes([(0.055, size, 0.035)] * 4, [(a, size / 2, b) for a, b in spots], 0.004)
        )
    else:
        size = 0.06
        clock.add(
            part,
            *(
                mesh.tapered(0.008, 0.014, (a * 1.25, 0, b * 1.25), (a * 0.9, size + 0.012, b), 12)
                for a, b in spots
            ),
        )
    return size - 0.003


def finial(y: Real, r: Real) -> list[trimesh.Trimesh]:
    """Return a knob on a short stem, standing at height y."""
    knob = mesh.superellipsoid((2 * r, 2.2 * r, 2 * r), 2.0, (0, y + 1.7 * r, 0), 10)
    return [
        mesh.cylinder(0.9 * r, 0.5 * r, (0, y + 0.25 * r, 0), bevel=0.003),
        mesh.tapered(0.4 * r, 0.4 * r, (0, y, 0), (0, y + r, 0)),
        knob,
    ]
