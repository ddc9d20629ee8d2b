"""The cases of clocks, one function for each form, each placing the face itself."""

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Real, arc, catmull_rom, rounded_corners, rounded_rectangle
from assets.catalogue.kinds.clock_face import face, feet_under, finial
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, hoop, slab, standing, vec


def _arch(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + v.num("margin"), v.num("depth")
    top = v.text("top")
    foot = feet_under(clock, v, half + 0.01, depth + 0.03)
    plinth = 0.025 + 0.03 * v.num("spread")
    clock.add("case", box((2 * half + 0.04, plinth, depth + 0.035), (0, foot + plinth / 2, 0)))
    low = foot + plinth - 0.002
    middle = low + v.num("radius") + 0.02 + 0.12 * v.num("height")
    if top == "gable":
        outline = [
            (-half, low),
            (half, low),
            (half, middle + 0.3 * half),
            (0, middle + 1.75 * half),
            (-half, middle + 0.3 * half),
        ]
        outline = rounded_corners(outline, 0.02)
        peak = middle + 1.7 * half
    elif top == "flat":
        outline = [(-half, low), (half, low), (half, middle + half), (-half, middle + half)]
        outline = rounded_corners(outline, 0.012)
        peak = middle + half
        clock.add("case", box((2 * half + 0.04, 0.022, depth + 0.035), (0, peak + 0.009, 0)))
    else:
        rise = 1.0 + 0.25 * v.num("spread")
        bow = arc(half, 0, 180, 33) * (1, rise) + vec(0, middle)
        outline = np.concatenate([[(-half, low), (half, low)], bow])
        peak = middle + half * rise
    clock.add("case", slab(outline, depth, 0.01))
    if top == "finial":
        clock.add("trim", *finial(peak - 0.004, 0.022))
    face(clock, v, middle, depth / 2)


def _hump(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + v.num("margin"), v.num("depth")
    foot = feet_under(clock, v, half * 1.7, depth + 0.03)
    reach = half * (1.7 + 1.1 * v.num("spread"))
    shoulder = foot + 0.06 + 0.04 * v.num("height")
    middle = foot + 0.045 + half
    crown = arc(half, 24, 156, 25) + vec(0, middle)
    right = catmull_rom(
        [
            (reach, foot + 0.03),
            (reach * 0.97, shoulder),
            (reach * 0.75, shoulder + 0.018),
            tuple(crown[0]),
        ],
        6,
    )
    outline = np.concatenate(
        [[(-reach, foot + 0.02), (reach, foot + 0.02)], right, crown[1:-1], (right * (-1, 1))[::-1]]
    )
    clock.add("case", slab(outline, depth, 0.008))
    clock.add("case", box((2 * reach + 0.05, 0.035, depth + 0.04), (0, foot + 0.0175, 0)))
    face(clock, v, middle, depth / 2)


def _alarm(clock: Assembly, v: Values) -> None:
    r, depth = v.num("radius"), v.num("depth")
    body = r + 0.6 * v.num("margin")
    lift = 0.03 + 0.05 * v.num("height")
    y = lift + body
    clock.add("case", mesh.cylinder(body, depth, (0, y, 0), "z", 0.02))
    lean = 0.55 + 0.25 * v.num("spread")
    for side in (-1, 1):
        hip = np.array((side * body * 0.6, y - body * 0.7, 0))
        foot = np.array((side * body * lean * 1.15, 0.014, 0.02))
        clock.add(
            "trim",
            mesh.tapered(0.014, 0.011, hip, foot),
            mesh.superellipsoid((0.036, 0.028, 0.036), 2.2, foot, 8),
        )
        bell = 0.36 * body + 0.02 * v.num("spread")
        profile = [
            (bell, 0),
            (bell * 0.97, bell * 0.3),
            (bell * 0.75, bell * 0.62),
            (bell * 0.35, bell * 0.82),
            (0.01, bell * 0.87),
        ]
        cup = mesh.moved(mesh.revolve(profile, 32, smooth=True), (0, body + 0.022, 0))
        stem = mesh.tapered(0.009, 0.009, (0, body - 0.02, 0), (0, body + 0.04, 0), 12)
        knob = mesh.superellipsoid((0.024, 0.024, 0.024), 2, (0, body + 0.024 + bell * 0.9, 0), 6)
        turned = (mesh.rotated(piece, -side * 36, "z") for piece in (cup, stem, knob))
        clock.add("trim", *(mesh.moved(piece, (0, y, 0)) for piece in turned))
    clock.add(
        "trim",
        mesh.tapered(0.012, 0.012, (0, 0.06, -depth * 0.3), (0, y - body + 0.03, -depth * 0.3)),
        mesh.superellipsoid((0.03, 0.12, 0.03), 3, (0, 0.06, -depth * 0.3), 6),
    )
    if v.text("feet") in ("ball", "splayed"):
        grip = arc(body * 0.42, 12, 168, 25) * (1, 1.15) + vec(0, y + body * 0.98)
        clock.add("trim", mesh.sweep(np.column_stack([grip, np.zeros(25)]), 0.008))
    else:
        clock.add(
            "trim",
            mesh.tapered(0.007, 0.007, (0, y + body - 0.01, 0), (0, y + body * 1.32, 0)),
            box((0.05, 0.022, 0.022), (0, y + body * 1.32, 0)),
        )
    face(clock, v, y, depth / 2)


def _longcase(clock: Assembly, v: Values) -> None:
    half = 0.18 + 0.06 * v.num("spread")
    depth, height = 0.2 + 0.4 * v.num("margin"), 1.05 + 0.4 * v.num("height")
    base, trunk = 0.22 + 0.08 * v.num("spread"), half * (0.58 + 4 * v.num("margin"))
    trunk = min(trunk, half - 0.025)
    hood = height - 2 * half - 0.06
    pieces = [
        ((2 * half + 0.05, 0.07, depth + 0.05), (0, 0.035, 0)),
        ((2 * half, base, depth), (0, base / 2 + 0.02, 0)),
        ((2 * half + 0.03, 0.03, depth + 0.03), (0, base + 0.02, 0)),
        ((2 * trunk, hood - base, depth * 0.85), (0, (hood + base) / 2, 0)),
        ((2 * half + 0.03, 0.04, depth + 0.03), (0, hood, 0)),
        ((2 * half, 2 * half + 0.03, depth), (0, hood + half + 0.015, 0)),
    ]
    clock.add("case", *(box(size, centre, 0.01) for size, centre in pieces))
    roof = hood + 2 * half + 0.03
    clock.add("case", box((2 * half + 0.06, 0.035, depth + 0.05), (0, roof, 0), 0.01))
    _hood(clock, v.text("top"), half, depth, roof + 0.015)
    z = depth * 0.425
    low, high = base + 0.1, hood - 0.08
    window = rounded_rectangle(
        (1.36 * trunk, high - low), 0.7 * trunk if v.text("hands") == "leaf" else 0.015, 9
    ) + vec(0, (low + high) / 2)
    clock.add("trim", hoop(window, 0.014, 0.02, 0.004, at=z))
    clock.add("dial", slab(window, 0.008, 0.0, at=z))
    swing = 0.1 * trunk * (1 if v.flag("rays") else -1)
    bob = (swing, low + 0.75 * trunk, z + 0.012)
    clock.add(
        "trim",
        mesh.tapered(0.008, 0.008, (0, high, z + 0.008), bob, 12),
        mesh.cylinder(0.46 * trunk, 0.022, bob, "z", 0.008),
    )
    face(clock, v, hood + half + 0.015, depth / 2, half * 0.78)


def _hood(clock: Assembly, top: str, half: Real, depth: Real, y: Real) -> None:
    reach = half + 0.02
    if top == "round":
        clock.add("case", slab(arc(reach, 0, 180, 33) * (1, 0.6) + vec(0, y - 0.01), depth, 0.012))
    elif top == "gable":
        outline = rounded_corners(
            [(-reach, y - 0.01), (reach, y - 0.01), (0, y + 0.75 * reach)], 0.02
        )
        clock.add("case", slab(outline, depth, 0.012))
    elif top == "finial":
        clock.add("trim", *finial(y - 0.004, 0.035))
        for side in (-1, 1):
            clock.add(
                "trim",
                *(
                    mesh.moved(m, (side * 0.86 * half, 0, 0.3 * depth))
                    for m in finial(y - 0.004, 0.024)
                ),
            )


def _square(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + v.num("margin"), 0.75 * v.num("depth")
    foot = feet_under(clock, v, half, depth)
    tall = half * (1 + 0.35 * v.num("height"))
    wide = half * (1 + 0.5 * v.num("spread") * (v.num("height") < 0.5))
    radius = 0.6 * half if v.text("top") == "round" else 0.02
    outline = rounded_rectangle((2 * wide, 2 * tall), radius, 9) + vec(0, foot + tall)
    clock.add("case", slab(outline, depth, 0.012))
    if v.text("top") == "finial":
        clock.add("trim", *finial(foot + 2 * tall - 0.004, 0.02))
    if v.text("top") == "gable":
        eaves = foot + 2 * tall - 0.012
        peak = [(-wide * 1.12, eaves), (wide * 1.12, eaves), (0, eaves + 0.55 * wide)]
        clock.add("case", slab(rounded_corners(peak, 0.02), depth + 0.03, 0.01))
    face(clock, v, foot + tall, depth / 2)


def _house(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + 0.6 * v.num("margin") + 0.015, v.num("depth")
    legs = 0.16 + 0.16 * v.num("height")
    wall, slope = 2 * half + 0.02, 0.6 + 0.6 * v.num("spread")
    eaves = legs + wall
    peak = eaves + slope * half
    outline = [(-half, legs), (half, legs), (half, eaves), (0, peak), (-half, eaves)]
    clock.add("case", slab(rounded_corners(outline, 0.006, 3), depth, 0.008))
    over, lift = 0.045, 0.01
    for side in (-1, 1):
        run = np.array([(0, peak + lift), (side * (half + over), eaves + lift - slope * over)])
        across = np.array((slope * side, 1.0)) / np.hypot(slope, 1) * 0.026
        board = np.concatenate([run, run[::-1] + across])
        clock.add("trim", slab(board, depth + 0.06, 0.005))
    clock.add(
        "case",
        *(
            box((0.03, legs + 0.02, depth * 0.8), (side * (half - 0.03), legs / 2 + 0.01, 0), 0.006)
            for side in (-1, 1)
        ),
    )
    clock.add("case", box((2 * half + 0.03, 0.024, depth + 0.03), (0, 0.012, 0), 0.006))
    swing = 0.25 * half * (1 if v.flag("rays") else -1)
    bob = (swing, legs * 0.36, 0)
    clock.add(
        "trim",
        mesh.tapered(0.007, 0.007, (0, legs + 0.01, 0), bob, 12),
        mesh.cylinder(min(0.045, legs * 0.24), 0.018, bob, "z", 0.006),
    )
    face(clock, v, legs + half * 1.02, depth / 2, half * 0.74)


def _post(clock: Assembly, v: Values) -> None:
    r, depth = v.num("radius"), 0.6 * v.num("depth")
    body = r + 0.5 * v.num("margin")
    stem = 0.07 + 0.3 * v.num("height") ** 2
    rays = v.flag("rays")
    y = stem + (body * (1.0 if not rays else 1.25)) + 0.02
    clock.add("case", mesh.cylinder(body, depth, (0, y, 0), "z", 0.014))
    wide = 0.09 + 0.06 * v.num("spread")
    if v.text("feet") in ("splayed", "ball"):
        hub = (0, y - body + 0.01 if stem < 0.2 else 0.1, 0)
        for turn in (90, 210, 330):
            foot = (
                1.2 * wide * np.cos(np.radians(turn)),
                0.008,
                1.2 * wide * np.sin(np.radians(turn)),
            )
            clock.add("trim", mesh.tapered(0.012, 0.009, hub, foot, 12))
        clock.add("trim", mesh.tapered(0.012, 0.012, hub, (0, y - body + 0.02, 0)))
    else:
        profile = [
            (wide, 0),
            (wide, 0.012),
            (wide * 0.85, 0.022),
            (wide * 0.35, 0.034),
            (0.018, 0.06),
            (0.013, 0.09),
        ]
        clock.add(
            "trim",
            mesh.revolve(profile),
            mesh.tapered(0.013, 0.013, (0, 0.06, 0), (0, y - body + 0.02, 0)),
        )
    if rays:
        count = 12 + 4 * int(v.num("spread") * 3)
        for k in range(count):
            way = np.array((np.sin(2 * np.pi * k / count), np.cos(2 * np.pi * k / count), 0))
            reach = body * (1.5 if k % 2 == 0 else 1.28)
            start, tip = way * body * 0.9 + vec(0, y, 0), way * reach + vec(0, y, 0)
            clock.add("trim", mesh.tapered(0.015, 0.006, start, tip, 8))
    face(clock, v, y, depth / 2)


def _carriage(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + 0.03, 0.1 + v.num("depth") * 0.6
    foot = feet_under(clock, v, half, depth)
    tall = 2 * half * (1.0 + 0.55 * v.num("height"))
    plates = [
        ((2 * half + 0.05, 0.035, depth + 0.05), (0, foot + 0.0175, 0)),
        ((2 * half + 0.05, 0.03, depth + 0.05), (0, foot + tall + 0.05, 0)),
    ]
    clock.add("trim", *(box(size, centre, 0.008) for size, centre in plates))
    x, z = half + 0.004, depth / 2 + 0.004
    for sx in (-1, 1):
        for sz in (-1, 1):
            clock.add(
                "trim",
                mesh.tapered(
                    0.012,
                    0.012,
                    (sx * x, foot + 0.02, sz * z),
                    (sx * x, foot + tall + 0.05, sz * z),
                    16,
                ),
            )
    clock.add(
        "case",
        box((2 * half - 0.012, tall + 0.03, depth - 0.02), (0, foot + 0.03 + tall / 2, 0), 0.005),
    )
    roof = foot + tall + 0.065
    clock.add("case", box((1.5 * half, 0.024, 0.7 * depth), (0, roof + 0.008, 0), 0.01))
    grip = arc(0.5 * half, 0, 180, 25) * (1, 0.55 + 0.5 * v.num("spread")) + vec(0, roof + 0.012)
    clock.add("trim", mesh.sweep(np.column_stack([grip, np.zeros(25)]), 0.009))
    face(clock, v, foot + 0.035 + tall - half, depth / 2 - 0.01, half * 0.72)


def _drop(clock: Assembly, v: Values) -> None:
    r, depth = v.num("radius"), 0.8 * v.num("depth")
    body = r + v.num("margin")
    box_half, drop = body * (0.5 + 0.2 * v.num("spread")), 0.14 + 0.18 * v.num("height")
    plinth = 0.035
    y = plinth + drop + body * 0.9
    sides = 8 if v.text("corners") == "eight" else 48
    head = arc(body * (1.06 if sides == 8 else 1.0), 180 / sides, 360 + 180 / sides, sides + 1)[
        :-1
    ] + vec(0, y)
    clock.add(
        "case",
        slab(head, depth, 0.01),
        box((2 * box_half, y - plinth, depth * 0.9), (0, (y + plinth) / 2 - 0.004, 0), 0.008),
    )
    clock.add("case", box((2 * box_half + 0.09, plinth, depth + 0.05), (0, plinth / 2, 0), 0.008))
    z, low, high = depth * 0.45, plinth + 0.025, y - body * 0.96
    window = rounded_rectangle((1.5 * box_half, high - low), 0.01, 3) + vec(0, (low + high) / 2)
    clock.add("dial", slab(window, 0.006, at=z))
    clock.add("trim", hoop(window, 0.01, 0.014, 0.003, at=z))
    bob = (0.2 * box_half * (1 if v.flag("rays") else -1), low + 0.4 * (high - low), z + 0.01)
    clock.add(
        "trim",
        mesh.tapered(0.006, 0.006, (0, high, z + 0.006), bob, 12),
        mesh.cylinder(min(0.5 * box_half, 0.3 * (high - low)), 0.016, bob, "z", 0.006),
    )
    face(clock, v, y, depth / 2)


def _egg(clock: Assembly, v: Values) -> None:
    half, depth = v.num("radius") + v.num("margin") + 0.015, 0.9 * v.num("depth")
    foot = feet_under(clock, v, half * 0.75, depth * 0.6)
    tall = half * (1.05 + 0.5 * v.num("height"))
    wide = half * (1.05 + 0.6 * v.num("spread") * (v.num("height") < 0.4))
    squash = 0.0 if foot else 0.06 * tall
    low = foot - (0.012 if foot else 0.0)
    heights = -np.cos(np.linspace(0, np.pi, 31))[1:-1]
    rows = [(0.35 * wide, 0.3 * depth, 0.0)] if not foot else [(0.02, 0.02, 0.0)]
    for h in heights:
        swell = (1 - np.abs(h) ** 2.6) ** (1 / 2.3)
        rows.append(
            (wide * swell, depth / 2 * (0.35 + 0.65 * swell), tall * (1 + h) - squash * (1 + h) / 2)
        )
    rows = [row for row in rows if row[2] >= 0]
    rows.append((0.3 * rows[-1][0], 0.4 * rows[-1][1], 2 * tall - squash))
    clock.add("case", mesh.moved(standing(rows, 2.6), (0, low, 0)))
    face(clock, v, low + tall, depth / 2 - 0.004)


CASES = {
    "arch": _arch,
    "hump": _hump,
    "alarm": _alarm,
    "longcase": _longcase,
    "square": _square,
    "house": _house,
    "post": _post,
    "carriage": _carriage,
    "drop": _drop,
    "egg": _egg,
}
