"""Armchairs that are not upholstered boxes: wooden frames, shells, bent steel tube."""

import numpy as np

from assets.catalogue.kinds.backs import Back
from assets.catalogue.kinds.furniture import (
    SQUARE,
    Slab,
    TubeSection,
    Values,
    assembled,
    curve,
    outline,
    puffed,
    rod,
    rounded_path,
    sheet,
    tube,
)
from assets.catalogue.kinds.legs import Column, Meshes, Stance, four_legs
from assets.catalogue.model import Part


def _lounge_back(v: Values, width: float) -> Back:
    return Back(
        style="padded",
        base=v.num("seat") - 0.06,
        behind=-v.num("depth") / 2 + 0.14,
        width=width,
        top_width=width * 0.98,
        height=v.num("top") - v.num("seat") + 0.06,
        rake=0.2 + v.num("lean"),
    )


def wooden(v: Values) -> tuple[Part, ...]:
    """Build a wooden frame with open arms that carries a seat and a back cushion."""
    width, depth, seat = v.num("width") - 0.08, v.num("depth"), v.num("seat")
    radius, arm_y = 0.02, seat + v.num("arm_rise") + 0.02
    stance = Stance(
        front=width,
        back=width,
        depth=depth - 0.14,
        height=arm_y,
        splay=0.05 if v.num("sweep") > 0.5 else 0.0,
    )
    legs = four_legs("tapered" if v.num("sweep") > 0.5 else "straight", stance, radius)
    a, b, c, d = stance.at(seat - 0.09)
    legs += [
        rod(p, q, 0.018, TubeSection(power=6.0, across=1.0, along=1.5))
        for p, q in ((a, b), (c, d), (a, d), (b, c))
    ]
    back = _lounge_back(v, width - 0.06)
    frame, pads = _lounge_fill(v, back)
    rests: Meshes = []
    for side in (1.0, -1.0):
        x, z = side * width / 2, stance.depth / 2
        dip = 0.03 * v.num("sweep")
        path = curve(
            [(x, arm_y, z + 0.06), (x, arm_y + 0.01, z * 0.2), (x, arm_y - dip, -z - 0.04)], 14
        )
        rests.append(
            tube(
                path,
                np.linspace(1.25, 0.85, 14) * 0.026,
                TubeSection(power=3.5, across=0.42, along=1.0),
            )
        )
        knot = back.at(side, min(0.9, (arm_y - dip - back.base) / back.height))
        rests.append(rod((x, arm_y - dip, -z + 0.01), knot, 0.013))
    shape = outline(width - 0.03, depth - 0.1, 10.0)
    cushion = Slab(low=seat - 0.085, high=seat, edge=0.035, crown=0.02).build(shape, (0, 0.05))
    return assembled(body=frame + pads, cushion=[cushion], legs=legs, armrests=rests)


def _lounge_fill(v: Values, back: Back) -> tuple[Meshes, Meshes]:
    """Return the structure of a leaning back and the padding on it."""
    posts = [tube(back.line((side, -0.12), (side, 1)), 0.017, SQUARE) for side in (-1, 1)]
    across = [rod(back.at(-1, share), back.at(1, share), 0.016, SQUARE) for share in (0.05, 0.97)]
    match v.text("fill"):
        case "slats":
            bars = [
                tube(back.line((u, 0.05), (u, 0.96)), 0.012, SQUARE)
                for u in np.linspace(-0.8, 0.8, 7)
            ]
        case "rungs":
            bars = [
                rod(back.at(-1, share), back.at(1, share), 0.014, SQUARE)
                for share in np.linspace(0.2, 0.8, 5)
            ]
        case _:
            bars = []
            grid = back.softened(0.08, 1.03, 0.95, 0.08)
            return posts + across, [
                sheet(
                    grid + np.array([0, 0, 0.03]), puffed(grid.shape[0], grid.shape[1], 0.13, 0.5)
                )
            ]
    return posts + across + bars, []


def shell(v: Values) -> tuple[Part, ...]:
    """Build a one-piece shell that rises from armrests to a back, on legs or a star."""
    width, seat, floor = v.num("width"), v.num("seat"), v.num("seat") - 0.13
    up, turn = np.meshgrid(np.linspace(0, 1, 22), np.linspace(-1, 1, 44), indexing="ij")
    angle = turn * np.radians(150)
    front = 0.5 - 0.5 * np.cos(angle)
    tall = (v.num("top") - floor) * (1 - front) ** (0.5 + v.num("sweep")) + (
        v.num("arm_rise") + 0.13
    ) * front
    bulge = 0.42 + 0.58 * np.sin(np.pi / 2 * up**0.6)
    x, z = np.sin(angle) * width / 2 * bulge, -np.cos(angle) * v.num("depth") / 2 * bulge
    z = z - v.num("lean") * up**2 * (1 - front)
    body = [sheet(np.stack([x, floor + tall * up**1.25, z], axis=-1), 0.035)]
    pan = outline(width * 0.62, v.num("depth") * 0.66, 2.2)
    body.append(Slab(low=floor - 0.015, high=floor + 0.06, edge=0.03).build(pan))
    shape = outline(width * 0.86, v.num("depth") * 0.88, 2.3)
    cushion = Slab(low=floor + 0.04, high=seat, edge=0.045, crown=0.02).build(shape, (0, 0.015))
    if v.text("support") in ("star", "bun", "cabriole", "turned"):
        column = Column(height=floor, radius=0.026, foot_radius=0.4 * width)
        legs = column.star(4, castors=False) if v.flag("footrest") else column.pedestal("trumpet")
    else:
        stance = Stance(
            front=width * 0.4, back=width * 0.4, depth=width * 0.4, height=floor + 0.01, splay=0.09
        )
        legs = four_legs(
            "tapered" if v.text("support") != "straight" else "round", stance, v.num("leg")
        )
    return assembled(body=body, cushion=[cushion], legs=legs)


def tubular(v: Values) -> tuple[Part, ...]:
    """Build a bent metal frame, whose loops are armrests and runners, with two slung cushions."""
    width, depth, seat = v.num("width") - 0.06, v.num("depth"), v.num("seat") - 0.04
    arm_y, z = seat + v.num("arm_rise") + 0.05, depth / 2 - 0.04
    tilt = 0.12 * v.num("sweep")
    wire = 0.55 * v.num("leg") + 0.002
    legs: Meshes = []
    rests: Meshes = []
    for side in (1.0, -1.0):
        x = side * width / 2
        loop = [
            (x, arm_y, -z + 0.02),
            (x, wire, -z - tilt),
            (x, wire, z),
            (x, arm_y, z - tilt),
            (x, arm_y, -z + 0.02),
        ]
        legs.append(tube(rounded_path(loop, 0.09), wire))
        rests.append(
            rod(
                (x, arm_y + 0.006, -z + 0.1),
                (x, arm_y + 0.006, z - tilt - 0.08),
                0.024,
                TubeSection(power=3.5, across=1.0, along=0.6),
            )
        )
    back = _lounge_back(v, width - 0.05)
    low, high = back.base - 0.02, arm_y - 0.01
    lean = float(back.at(0.0, (high - back.base) / back.height)[2])
    bars = [(low, z - 0.1), (low, -z + 0.1), (high, lean - 0.03)]
    legs += [rod((-width / 2, y, w), (width / 2, y, w), wire) for y, w in bars]
    grid = back.softened(0.0, 1.0, 0.96, 0.1)
    pad = sheet(grid + np.array([0, 0, 0.01]), puffed(grid.shape[0], grid.shape[1], 0.09, 0.5))
    shape = outline(width - 0.04, depth - 0.16, 9.0)
    cushion = Slab(low=low - 0.005, high=seat + 0.04, edge=0.035, crown=0.018).build(
        shape, (0, 0.05)
    )
    return assembled(body=[pad], cushion=[cushion], legs=legs, armrests=rests)
