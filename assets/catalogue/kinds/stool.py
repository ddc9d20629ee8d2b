"""Stools: bar, three-legged, saddle, pedestal and swivel ones, ottomans, step stools and drums."""

import itertools
from collections.abc import Callable, Mapping

import numpy as np
import trimesh

from assets.catalogue.curves import Points
from assets.catalogue.kinds.furniture import (
    SQUARE,
    Slab,
    Values,
    between,
    colourway,
    outline,
    part,
    pick,
    rod,
    tube,
)
from assets.catalogue.kinds.legs import (
    LEG_WORDS,
    LEGS,
    Column,
    Meshes,
    Stance,
    crossed,
    feet,
    four_legs,
    frames,
    leg,
    sled,
    stretchers,
)
from assets.catalogue.kinds.stool_seats import POWERS, SEAT_WORDS, SEATS, is_cushioned, seat
from assets.catalogue.mesh import moved, rounded_box, superellipsoid
from assets.catalogue.model import Kind, Part, Shape

STYLES = {
    "bar": 2.4,
    "low": 1.6,
    "three": 1.6,
    "central": 1.6,
    "ottoman": 1.8,
    "step": 1.0,
    "drum": 0.9,
}
BASES = {
    "straight": 1.5, "tapered": 1.6, "splayed": 2.0, "turned": 1.4, "sabre": 0.8, "hairpin": 0.9,
    "sled": 1.0, "frames": 0.9, "crossed": 0.9,
}  # fmt: skip
STYLE_WORDS = {
    "bar": "long legs",
    "three": "three legs",
    "step": "two steps",
    "ottoman": "a thick upholstered body",
    "drum": "a solid drum shape",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a stool."""
    style = pick(rng, STYLES)
    heights = {
        "bar": (0.62, 0.82),
        "low": (0.3, 0.5),
        "three": (0.26, 0.68),
        "central": (0.42, 0.8),
    }
    low, high = heights.get(style, (0.36, 0.48))
    base = pick(rng, BASES)
    values = {
        "style": style,
        "seat": pick(rng, SEATS),
        "base": pick(rng, {"splayed": 2.0, "turned": 1.0, "round": 1.0})
        if style == "three"
        else base,
        "height": between(rng, low, high),
        "width": between(rng, 0.3, 0.44),
        "ratio": between(rng, 0.72, 1.0),
        "thick": between(rng, 0.028, 0.045),
        "padded": bool(rng.random() < 0.45),
        "splay": between(rng, 0.02, 0.11)
        if base in ("splayed", "tapered") or style == "three"
        else 0.0,
        "leg": between(rng, 0.014, 0.022),
        "stretchers": pick(rng, {"none": 1.0, "box": 1.6, "h": 0.8, "crossed": 0.6, "ring": 1.2}),
        "rung": between(rng, 0.22, 0.45),
        "column": pick(rng, {"trumpet": 1.0, "disc": 1.0, "vase": 0.8, "star": 1.4, "claw": 0.8}),
        "feet": pick(
            rng, {"bun": 1.5, "tapered": 1.2, "turned": 1.0, "cabriole": 0.8, "straight": 0.8}
        ),
        "body": between(rng, 0.45, 0.75),
        "tufts": bool(rng.random() < 0.5),
        "footprint": pick(rng, {"round": 1.2, "square": 1.0, "squircle": 0.8}),
        "waist": between(rng, -0.28, 0.2),
    }
    return Shape(kind="stool", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    style = v.text("style")
    if style == "ottoman":
        top = "a tufted top" if v.flag("tufts") else "a plain padded top"
        outline_word = {"round": "round", "square": "square", "squircle": "rounded"}[
            v.text("footprint")
        ]
        foot = "bun feet" if v.text("feet") == "bun" else f"short {LEG_WORDS[v.text('feet')]}"
        return (f"a thick {outline_word} body", top, foot)
    if style == "drum":
        waist = (
            "a narrow waist"
            if v.num("waist") < -0.06
            else "a bulging side"
            if v.num("waist") > 0.04
            else "straight sides"
        )
        return (STYLE_WORDS["drum"], waist)
    if style == "step":
        return (
            "two steps",
            "open legs" if v.text("base") in ("frames", "crossed", "splayed") else "solid sides",
        )
    words = [SEAT_WORDS[v.text("seat")] + (" and a cushion" if is_cushioned(v) else "")]
    if style == "central":
        column_words = {"star": "a swivel star base", "claw": "a turned column on curved feet"}
        words.append(column_words.get(v.text("column"), "a pedestal base"))
    elif style == "three":
        words += ["three legs", LEG_WORDS[v.text("base")]]
    else:
        words.append(
            ("long " if style == "bar" else "short ") + LEG_WORDS[v.text("base")].removeprefix("a ")
        )
    if style in ("bar", "central") and v.text("stretchers") == "ring":
        words.append("a ring footrest")
    elif style in ("bar", "low") and v.text("stretchers") != "none" and v.text("base") in LEGS:
        words.append("crossbars between the legs")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Build a stool's seat and legs."""
    v = Values(shape.values)
    seat, legs = BUILDERS[v.text("style")](v)
    return (part("seat", seat), part("legs", legs))


def _legged(v: Values) -> tuple[Meshes, Meshes]:
    top, under = seat(v)
    style, radius, width = v.text("base"), v.num("leg"), v.num("width")
    share = {"round": 0.58, "tractor": 0.58, "squircle": 0.68}.get(v.text("seat"), 0.8)
    deep = 1.0 if share == 0.58 else v.num("ratio")
    is_leg = style in LEGS
    stance = Stance(
        front=width * share,
        back=width * share,
        depth=width * share * deep,
        height=under + (0.012 if is_leg else 0.004 - 0.6 * radius),
        splay=v.num("splay") + (0.03 if style == "splayed" else 0.0),
    )
    match style:
        case "sled":
            return top, sled(stance, 0.62 * radius) + _footbar(v, stance, radius)
        case "frames":
            return top, frames(stance, 0.62 * radius)
        case "crossed":
            return top, crossed(stance, 0.62 * radius)
        case _:
            pass
    legs = four_legs(style, stance, radius * (1.5 if style == "hairpin" else 1.0))
    return top, legs + _rungs(v, stance, radius)


def _footbar(v: Values, stance: Stance, radius: float) -> Meshes:
    a, b, *_ = stance.at(0.3 * stance.height)
    return [rod(a, b, 0.62 * radius)] if v.text("style") == "bar" else []


def _rungs(v: Values, stance: Stance, radius: float) -> Meshes:
    height = v.num("rung") * stance.height
    if v.text("base") in ("hairpin", "sabre"):
        return []
    if v.text("stretchers") != "ring":
        return stretchers(v.text("stretchers"), stance, height, 0.55 * radius)
    if abs(stance.front - stance.depth) > 1e-6:
        return stretchers("box", stance, height, 0.55 * radius)
    corner = stance.at(height)[0]
    return [_ring(float(np.hypot(corner[0], corner[2])), height, 0.5 * radius)]


def _ring(reach: float, height: float, radius: float) -> trimesh.Trimesh:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    path = np.stack([reach * np.cos(turn), np.full(48, height), reach * np.sin(turn)], axis=1)
    return tube(path, radius, closed=True)


def _three(v: Values) -> tuple[Meshes, Meshes]:
    top, under = seat(v)
    reach, out = 0.3 * v.num("width"), v.num("splay") + 0.03
    legs: Meshes = []
    middles: list[Points] = []
    for angle in np.radians((90, 210, 330)):
        way = np.array(
            [
                np.cos(angle),
                0,
                np.sin(angle) * (v.num("ratio") if v.text("seat") != "round" else 1.0),
            ]
        )
        upper, foot = way * reach + (0, under + 0.012, 0), way * (reach + out)
        legs.append(leg(v.text("base"), upper, foot, v.num("leg") * 1.1))
        middles.append(foot + (upper - foot) * v.num("rung"))
    for mesh in legs:
        mesh.vertices[:, 1] = np.maximum(mesh.vertices[:, 1], 0.0)
    if v.text("stretchers") in ("box", "ring"):
        legs += [rod(middles[i], middles[(i + 1) % 3], 0.5 * v.num("leg")) for i in range(3)]
    return top, legs


def _central(v: Values) -> tuple[Meshes, Meshes]:
    top, under = seat(v)
    column = Column(height=under + 0.008, radius=0.026, foot_radius=0.5 * v.num("width") + 0.02)
    match v.text("column"):
        case "star":
            legs = column.star(5, castors=v.flag("padded"))
        case "claw":
            legs = column.claws(3)
        case style:
            legs = column.pedestal(style)
    legs.append(
        Slab(low=under - 0.014, high=under + 0.006, edge=0.005).build(outline(0.16, 0.16, 2.0))
    )
    if v.text("stretchers") == "ring" and v.num("height") > 0.55:
        y, reach = 0.38 * v.num("height"), 0.42 * v.num("width")
        legs += [
            _ring(reach, y, 0.01),
            rod((-reach, y, 0), (reach, y, 0), 0.008),
            rod((0, y, -reach), (0, y, reach), 0.008),
        ]
    return top, legs


def _ottoman(v: Values) -> tuple[Meshes, Meshes]:
    high, wide = v.num("height"), v.num("width") + v.num("body") * 0.3
    deep = wide * (1.0 if v.text("footprint") == "round" else v.num("ratio"))
    floor = high * (1 - v.num("body")) * 0.55 + 0.03
    shape = outline(wide, deep, POWERS[v.text("footprint")])
    split = floor + (high - floor) * 0.52
    body = [
        Slab(low=floor, high=split, edge=0.02).build(shape * 0.97),
        Slab(low=split - 0.02, high=high, edge=0.05, crown=0.025).build(shape),
    ]
    turn = np.linspace(0, 1, 72, endpoint=False)
    cord = shape[(turn * 72).astype(int)] * 0.985
    body.append(
        tube(
            np.column_stack([cord[:, 0], np.full(72, split - 0.004), cord[:, 1]]),
            0.007,
            closed=True,
        )
    )
    if v.flag("tufts"):
        button = superellipsoid((0.03, 0.016, 0.03), 2.0, steps=6)
        power = POWERS[v.text("footprint")]
        for x, z in itertools.product((-0.22, 0.0, 0.22), repeat=2):
            share = (abs(2 * x) ** power + abs(2 * z) ** power) ** (1 / power)
            lift = high - 0.004 + 0.025 * (1 - share**2.5)
            body.append(moved(button, (x * wide, lift, z * deep)))
    share = 0.62 if v.text("footprint") == "round" else 0.8
    stance = Stance(front=wide * share, back=wide * share, depth=deep * share, height=floor + 0.014)
    return body, feet(v.text("feet"), stance, v.num("leg") * 1.4)


def _step(v: Values) -> tuple[Meshes, Meshes]:
    """Build a step stool: an upper tread behind a lower one."""
    high, wide, tread = v.num("height"), v.num("width") + 0.04, 0.2 + 0.1 * (v.num("ratio") - 0.72)
    mid, thick = 0.5 * high, v.num("thick") * 0.8
    shape = outline(wide, tread, 14.0)
    treads = [
        Slab(low=high - thick, high=high, edge=0.01).build(shape, (0, -tread / 2)),
        Slab(low=mid - thick, high=mid, edge=0.01).build(shape, (0, tread / 2)),
    ]
    x = wide / 2 - 0.035
    if v.text("base") in ("frames", "crossed", "splayed"):
        radius = v.num("leg") * 0.9
        legs: Meshes = []
        for side in (x, -x):
            ends = [
                ((side, high - thick + 0.008, -0.02), (side, 0, tread)),
                ((side, high - thick + 0.008, -tread + 0.03), (side, 0, -tread - 0.06)),
            ]
            legs += [rod(top, foot, radius, SQUARE) for top, foot in ends]
            legs.append(
                rod(
                    (side, mid - thick - 0.008, tread - 0.02),
                    (side, mid - thick - 0.008, -tread - 0.02),
                    radius * 0.8,
                    SQUARE,
                )
            )
        for mesh in legs:
            mesh.vertices[:, 1] = np.maximum(mesh.vertices[:, 1], 0.0)
        return treads, legs
    legs = []
    for side in (x, -x):
        tall, short = high - thick + 0.006, mid - thick + 0.006
        legs.append(rounded_box((0.024, tall, tread - 0.02), 0.006, (side, tall / 2, -tread / 2)))
        legs.append(rounded_box((0.024, short, tread), 0.006, (side, short / 2, tread / 2 - 0.02)))
    return treads, legs


def _drum(v: Values) -> tuple[Meshes, Meshes]:
    """Build a solid drum under a thin seat."""
    high, radius = v.num("height"), v.num("width") / 2
    split = high - 0.05
    share = np.linspace(0, 1, 28)
    swell = radius * (0.94 + v.num("waist") * np.sin(np.pi * share))
    body = tube(np.column_stack([share * 0, share * (split + 0.004), share * 0]), swell)
    bands = [_ring(float(np.interp(s, share, swell)), s * split, 0.008) for s in (0.12, 0.88)]
    top = Slab(low=split, high=high, edge=0.02, crown=0.012).build(
        outline(2 * radius, 2 * radius, 2.0)
    )
    return [top], [body, *bands]


BUILDERS: Mapping[str, Callable[[Values], tuple[Meshes, Meshes]]] = {
    "bar": _legged,
    "low": _legged,
    "three": _three,
    "central": _central,
    "ottoman": _ottoman,
    "step": _step,
    "drum": _drum,
}

COLOURWAYS = (
    colourway({"seat": "oak wood", "legs": "black metal"}),
    colourway({"seat": "red leather", "legs": "silver metal"}),
    colourway({"seat": "teal fabric", "legs": "walnut wood"}),
    colourway({"seat": "yellow plastic", "legs": "white metal"}),
    colourway({"seat": "striped navy fabric", "legs": "oak wood"}),
    colourway({"seat": "beige wicker", "legs": "brown wood"}),
    colourway({"seat": "pink leather", "legs": "gold metal"}),
    colourway({"seat": "walnut wood", "legs": "green wood"}),
)

KIND = Kind(name="stool", sample=sample, build=build, colourways=COLOURWAYS)
