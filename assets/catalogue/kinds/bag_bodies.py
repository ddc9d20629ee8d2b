"""The bodies of bags, one function for each form; each says where its handles are fixed."""

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import (
    Real,
    arc,
    catmull_rom,
    resample,
    rounded_corners,
    rounded_rectangle,
)
from assets.catalogue.kinds.bag_details import (
    Anchor,
    band,
    buckle,
    flap,
    lock,
    pillow,
    pocket,
    stitch,
    vessel,
    wall_of,
)
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, ribbon, slab, standing, vec


def _tote(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") / 2, 0.5 * v.num("depth")
    height = v.num("width") * (0.75 + 0.5 * v.num("ratio"))
    profile = wall_of(
        (half * (1 - 0.14 * v.num("flare")), depth),
        (half * (1 + 0.14 * v.num("flare")), depth * 0.82),
        height,
    )
    vessel(bag, profile, 6.0)
    bag.add("trim", band(profile, height - 0.04, height - 0.001, 6.0))
    if v.flag("base"):
        bag.add("trim", band(profile, 0.006, 0.05 + 0.09 * v.num("reach"), 6.0))
    if v.flag("pocket"):
        pocket(bag, v, half * 0.95, height * 0.3, height * 0.36, depth * 0.92)
    stitch(
        bag,
        np.array(
            [
                (-half * 0.8, height - 0.047, depth * 0.83),
                (half * 0.8, height - 0.047, depth * 0.83),
            ]
        ),
    )
    return Anchor(x=half * 0.5, y=height - 0.03, z=depth * 0.82, front=depth * 0.82)


def _satchel(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") / 2, v.num("depth") * 0.85
    height = v.num("width") * (0.62 + 0.3 * v.num("ratio"))
    outline = rounded_rectangle((2 * half, height), 0.02, 5) + vec(0, height / 2)
    bag.add("body", slab(outline, depth, 0.02))
    for z in (-1, 1):
        ring = np.column_stack(
            [
                rounded_rectangle((2 * half - 0.012, height - 0.012), 0.02, 5) + vec(0, height / 2),
                np.full(20, z * (depth / 2 - 0.008)),
            ]
        )
        bag.add("trim", mesh.sweep(ring, 0.006, closed=True, segments=8))
    drop = height * v.num("drop")
    flap(bag, v, half * 0.96, depth, height, drop)
    for k in range(v.count("belts")):
        x = half * 0.55 * (1 if k == 0 else -1) * (v.count("belts") > 1)
        if v.count("belts") == 1:
            continue
        belt = np.array(
            [(x, y, depth / 2 + 0.012) for y in np.linspace(height * 0.12, height * 0.86, 12)]
        )
        bag.add("handle", ribbon(belt, 0.016, 0.009))
        buckle(bag, x, height * 0.3, depth / 2 + 0.016)
    side = v.text("carry") == "long"
    return Anchor(
        x=half * (0.97 if side else 0.42), y=height - (0.03 if side else 0.002), front=depth / 2
    )


def _bucket(bag: Assembly, v: Values) -> Anchor:
    half = 0.36 * v.num("width")
    height = half * (1.7 + 0.8 * v.num("ratio"))
    exponent = 2.0 if v.flag("base") else 3.2
    profile = wall_of(
        (half, half * 0.9),
        (half * (0.86 + 0.2 * v.num("flare")), half * (0.78 + 0.2 * v.num("flare"))),
        height,
        0.012,
    )
    vessel(bag, profile, exponent)
    bag.add("trim", band(profile, height - 0.075, height - 0.05, exponent, 0.005))
    bag.add("trim", band(profile, 0.006, 0.045 + 0.05 * v.num("reach"), exponent))
    front = float(np.interp(height - 0.06, profile[:, 2], profile[:, 1])) + 0.006
    for side in (-1, 1):
        fall = catmull_rom(
            [
                (side * 0.008, height - 0.063, front),
                (side * 0.03, height - 0.1, front + 0.016),
                (side * 0.035, height - 0.16, front + 0.01),
            ],
            5,
        )
        bag.add(
            "trim",
            mesh.sweep(fall, 0.005, segments=8),
            mesh.superellipsoid((0.022, 0.026, 0.022), 2, fall[-1], 6),
        )
    return Anchor(x=float(profile[-1, 0]) - 0.004, y=height - 0.02, front=front * _fall(exponent))


def _fall(exponent: Real) -> float:
    """Return how far forward an oval front still is where tassels hang, as a share."""
    return (1 - 0.72**exponent) ** (1 / exponent)


def _clutch(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") * 0.5, 0.055 + 0.2 * v.num("depth")
    height = half * (1.0 + 0.3 * v.num("ratio"))
    outline = rounded_rectangle((2 * half, height), 0.012 + 0.03 * v.num("reach"), 5) + vec(
        0, height / 2
    )
    bag.add("body", slab(outline, depth, 0.016))
    flap(bag, v, half * 0.985, depth, height, height * (0.45 + 0.45 * v.num("drop")))
    return Anchor(x=half * 0.97, y=height - 0.03, front=depth / 2)


def _doctor(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") / 2, 0.62 * v.num("depth")
    height = v.num("width") * (0.55 + 0.22 * v.num("ratio"))
    t = np.linspace(0, 1, 9)
    waist = depth * (1 - 0.72 * t**2.2)
    sides = half * (1 - 0.16 * v.num("flare") * t) - 0.02 * t**3
    rows = np.column_stack([sides, waist, 0.01 + (height - 0.01) * t])
    foot = [(half - 0.014, depth - 0.014, 0.0), (half - 0.003, depth - 0.003, 0.004)]
    bag.add("body", standing(np.concatenate([foot, rows]), 6.0, 56))
    top = float(rows[-1, 0])
    bag.add("trim", box((2 * top + 0.014, 0.03, 2 * waist[-1] + 0.016), (0, height, 0), 0.01))
    profile = np.concatenate([foot, rows])
    bag.add("trim", band(profile, 0.004, 0.03 + 0.04 * v.num("reach"), 6.0))
    for side in (-1, 1):
        belt = np.array(
            [
                (side * half * 0.52, y, np.interp(y, rows[:, 2], waist) + 0.003)
                for y in np.linspace(0.02, height - 0.01, 14)
            ]
        )
        bag.add("trim", ribbon(belt, 0.017, 0.009))
    lock(bag, v, height, waist[-1] + 0.01)
    twin = v.text("carry") == "twin"
    return Anchor(
        x=half * 0.42,
        y=height + 0.008,
        z=0.7 * float(waist[-1]) if twin else 0.0,
        front=float(waist[-1]) + 0.008,
    )


def _hobo(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") * 0.52, 0.55 * v.num("depth")
    height = half * (1.05 + 0.4 * v.num("ratio"))
    dip = height * (0.22 + 0.28 * v.num("reach"))
    lower = catmull_rom(
        [
            (-half * 0.8, height),
            (-half, height * 0.62),
            (-half * 0.62, height * 0.08),
            (0, 0),
            (half * 0.62, height * 0.08),
            (half, height * 0.62),
            (half * 0.8, height),
        ],
        6,
    )
    upper = catmull_rom(
        [
            (half * 0.8, height),
            (half * 0.5, height - 0.75 * dip),
            (0, height - dip),
            (-half * 0.5, height - 0.75 * dip),
            (-half * 0.8, height),
        ],
        6,
    )
    outline = np.concatenate([lower, upper[1:-1]])
    bag.add("body", pillow(outline, (0, height * 0.36), depth))
    edge = np.column_stack([upper, np.zeros(len(upper))])
    bag.add("trim", ribbon(edge, 0.026, 0.012, (0, 0, 1)))
    for side in (-1, 1):
        tab = np.array(
            [
                (side * half * (0.8 + 0.14 * k), height - 0.22 * height * k - 0.004, 0.0)
                for k in np.linspace(0, 1, 6)
            ]
        )
        bag.add("trim", ribbon(tab, 0.034, 0.016, (0, 0, 1)))
    low = height - dip
    bag.add(
        "trim",
        mesh.moved(
            slab(rounded_rectangle((0.06, 0.11), 0.026, 5), 0.012, 0.004), (0, low - 0.02, 0.045)
        ),
    )
    bag.add("trim", box((0.05, 0.012, 0.1), (0, low + 0.006, 0), 0.005))
    bag.add("clasp", mesh.cylinder(0.013, 0.014, (0, low - 0.05, 0.05), "z", 0.004))
    bag.add(
        "clasp", mesh.tapered(0.008, 0.008, (0, low - 0.05, 0.05), (0, low - 0.05, depth * 0.35), 8)
    )
    return Anchor(x=half * 0.8, y=height - 0.012, front=depth * 0.5)


def _dome(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") / 2, v.num("depth")
    height = half * (1.15 + 0.35 * v.num("ratio"))
    wall = height * (0.25 + 0.25 * v.num("reach"))
    bow = arc(1, 0, 180, 31) * (half, height - wall) + vec(0, wall)
    outline = rounded_corners(np.concatenate([[(-half, 0), (half, 0)], bow[1:-1]]), 0.03, 3)
    bag.add("body", slab(outline, depth, 0.03))
    path = np.column_stack([resample(outline[len(outline) // 40 :], 60), np.zeros(60)])
    for z in (-1, 1):
        bag.add(
            "trim",
            mesh.sweep(
                path * (0.975, 0.985, 1) + vec(0, 0.002, z * (depth / 2 - 0.008)),
                0.0065,
                closed=True,
                segments=8,
            ),
        )
    over = np.column_stack(
        [arc(1, 12, 168, 30) * (half + 0.001, height - wall + 0.001) + vec(0, wall), np.zeros(30)]
    )
    bag.add("trim", ribbon(over, 0.014, 0.01, (0, 0, 1)))
    if v.flag("pocket"):
        pocket(bag, v, half * 1.1, height * 0.1, height * 0.42, depth / 2)
    if v.flag("base"):
        bag.add("trim", box((2 * half + 0.008, 0.05, depth + 0.006), (0, 0.027, 0), 0.02))
    x = half * 0.45
    y = wall + (height - wall) * float(np.sqrt(1 - 0.45**2))
    twin = v.text("carry") == "twin"
    return Anchor(
        x=x, y=y - (0.05 if twin else 0.006), z=depth / 2 - 0.004 if twin else 0.0, front=depth / 2
    )


def _barrel(bag: Assembly, v: Values) -> Anchor:
    half, radius = v.num("width") / 2, v.num("width") * (0.24 + 0.12 * v.num("ratio"))
    bag.add("body", mesh.cylinder(radius, 2 * half, (0, radius, 0), "x", 0.012))
    positions = (-0.5, 0.5) if v.flag("pocket") else (-0.62, 0.0, 0.62)
    for x in positions:
        bag.add(
            "trim", mesh.cylinder(radius + 0.004, 0.034, (x * half, radius + 0.004, 0), "x", 0.003)
        )
    for side in (-1, 1):
        bag.add(
            "trim",
            mesh.cylinder(
                radius * 1.012, 0.03, (side * (half - 0.014), radius * 1.012, 0), "x", 0.008
            ),
        )
    bag.add("trim", box((1.8 * half, 0.014, 0.026), (0, 2 * radius, 0), 0.004))
    bag.add("clasp", box((0.034, 0.016, 0.014), (half * 0.7, 2 * radius + 0.008, 0), 0.004))
    lift = radius * (1 + float(np.cos(0.5)))
    twin = v.text("carry") == "twin"
    return Anchor(
        x=half * (0.5 if twin else 0.95),
        y=(lift if twin else 2 * radius) - 0.004,
        z=radius * 0.47 if twin else 0.0,
        front=radius * 0.6,
    )


def _saddle(bag: Assembly, v: Values) -> Anchor:
    half, depth = v.num("width") * 0.46, v.num("depth") * 0.7
    height = half * (1.2 + 0.45 * v.num("ratio"))
    straight = height * 0.35
    bowl = arc(1, 180, 360, 33) * (half, height - straight) + vec(0, height - straight)
    outline = rounded_corners(
        np.concatenate([bowl, [(half * 0.94, height), (-half * 0.94, height)]]), 0.016, 3
    )
    bag.add(
        "body",
        slab(outline, depth, 0.02),
        box((half * 0.8, 0.012, depth * 0.8), (0, 0.006, 0), 0.005),
    )
    flap(bag, v, half * 0.95, depth, height, height * (0.35 + 0.35 * v.num("drop")))
    return Anchor(x=half * 0.93, y=height - 0.03, front=depth / 2)


def _basket(bag: Assembly, v: Values) -> Anchor:
    half = 0.42 * v.num("width")
    height = half * (1.1 + 0.9 * v.num("ratio"))
    top = half * (1.06 + 0.22 * v.num("flare"))
    profile = wall_of((half * 0.92, half * 0.72), (top, top * 0.8), height, 0.02 * v.num("reach"))
    vessel(bag, profile, 2.2, 0.012)
    bag.add("trim", band(profile, height - 0.035, height - 0.002, 2.2, 0.007))
    if v.flag("base"):
        bag.add("trim", band(profile, 0.006, 0.05, 2.2, 0.005))
    front = float(np.interp(height * 0.55, profile[:, 2], profile[:, 1]))
    if v.flag("pocket"):
        pocket(bag, v, half * 0.6, height * 0.38, height * 0.3, front - 0.002)
    twin = v.text("carry") == "twin"
    return Anchor(
        x=top * (0.42 if twin else 0.985),
        y=height - 0.03,
        z=top * 0.8 * 0.9 if twin else 0.0,
        front=top * 0.8 * _fall(2.2),
    )


BODIES = {
    "tote": _tote,
    "satchel": _satchel,
    "bucket": _bucket,
    "clutch": _clutch,
    "doctor": _doctor,
    "hobo": _hobo,
    "dome": _dome,
    "barrel": _barrel,
    "saddle": _saddle,
    "basket": _basket,
}
