"""Tables: five tops, twelve kinds of support, drawers, a shelf below, drop leaves."""

from dataclasses import replace

import numpy as np

from assets.catalogue.curves import Points
from assets.catalogue.kinds.furniture import (
    Slab,
    TubeSection,
    Values,
    between,
    colourway,
    outline,
    part,
    pick,
    rod,
)
from assets.catalogue.kinds.legs import (
    LEG_WORDS,
    LEGS,
    Column,
    Meshes,
    Stance,
    apron,
    crossed,
    four_legs,
    frames,
    round_apron,
    sled,
    stretchers,
)
from assets.catalogue.mesh import moved, rounded_box, superellipsoid
from assets.catalogue.model import Kind, Part, Shape

SHAPES = {"rectangular": 3.0, "square": 1.4, "round": 2.0, "oval": 1.3, "rounded": 1.4}
POWERS = {"rectangular": 26.0, "square": 26.0, "round": 2.0, "oval": 2.0, "rounded": 4.0}
SUPPORTS = {
    "straight": 2.0, "tapered": 1.6, "splayed": 1.6, "turned": 1.6, "cabriole": 1.2,
    "hairpin": 1.2, "sled": 1.0, "frames": 1.0, "crossed": 0.9, "pedestal": 1.5, "claw": 1.2,
    "trestle": 1.3, "panels": 0.8,
}  # fmt: skip
CENTRAL = ("pedestal", "claw")
HEIGHTS = {"low": (0.34, 0.48), "dining": (0.66, 0.8), "tall": (0.88, 1.05)}
SUPPORT_WORDS = {
    **LEG_WORDS,
    "claw": "a turned column on curved feet",
    "trestle": "trestle legs",
    "panels": "solid panel legs",
}
TOP_WORDS = {
    "rectangular": "a rectangular top",
    "square": "a square top",
    "round": "a round top",
    "oval": "an oval top",
    "rounded": "a top with rounded corners",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a table."""
    shape, support = pick(rng, SHAPES), pick(rng, SUPPORTS)
    size = pick(rng, {"low": 1.3, "dining": 2.0, "tall": 0.6})
    low, high = HEIGHTS[size]
    width = between(rng, 0.7, 1.5)
    ratio = between(rng, 0.45, 0.75) if shape in ("rectangular", "oval", "rounded") else 1.0
    if shape in ("round", "square") or support in CENTRAL:
        width = between(rng, 0.55, 1.0)
    four = support in LEGS
    boxed = four and shape in ("rectangular", "square") and support != "hairpin"
    extra = pick(
        rng,
        {"none": 2.2, "drawer": 1.2, "shelf": 1.0, "leaves": 0.7}
        if boxed
        else {"none": 2.0, "shelf": 1.0},
    )
    if not four or (extra == "leaves" and support in ("cabriole", "sabre", "splayed")):
        extra = "none"
    values = {
        "shape": shape,
        "support": support,
        "size": size,
        "extra": extra,
        "width": width,
        "depth": round(width * ratio, 4),
        "height": between(rng, low, high),
        "top": between(rng, 0.02, 0.055),
        "edge": between(rng, 0.004, 0.02),
        "leg": between(rng, 0.018, 0.036),
        "inset": between(rng, 0.02, 0.09),
        "splay": between(rng, 0.05, 0.12) if support == "splayed" else 0.0,
        "apron": bool(rng.random() < 0.6),
        "drawers": int(rng.integers(1, 4)),
        "stretchers": pick(rng, {"none": 2.5, "box": 0.8, "h": 0.8, "crossed": 0.6}),
        "column": pick(rng, {"trumpet": 1.0, "disc": 1.0, "vase": 1.0}),
        "feet": int(rng.integers(3, 5)),
        "thick": between(rng, 0.024, 0.05),
    }
    return Shape(kind="table", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    top = TOP_WORDS[v.text("shape")]
    top = top.replace("a ", "a thick ", 1) if v.num("top") > 0.045 and top.startswith("a ") else top
    words = [top, SUPPORT_WORDS[v.text("support")]]
    words += {"low": ["a low frame"], "tall": ["a tall frame"]}.get(v.text("size"), [])
    match v.text("extra"):
        case "drawer":
            words.append("a drawer" if v.count("drawers") == 1 else "drawers")
        case "shelf":
            words.append("a shelf below")
        case "leaves":
            words.append("drop leaves")
        case _:
            pass
    if _wired(v):
        words.append("crossbars between the legs")
    return tuple(words)


def _wired(v: Values) -> bool:
    stable = v.text("support") in ("straight", "tapered", "turned")
    return stable and v.text("stretchers") != "none" and v.text("extra") != "shelf"


def _outline(v: Values) -> Points:
    return outline(v.num("width"), v.num("depth"), POWERS[v.text("shape")])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build a table's top, legs and, where it has them, drawers and shelf."""
    v = Values(shape.values)
    height, under = v.num("height"), v.num("height") - v.num("top")
    top: Meshes = [Slab(low=under, high=height, edge=v.num("edge")).build(_outline(v))]
    stance = _stance(v, under)
    legs = _base(v, stance, under)
    extra: Meshes = []
    match v.text("extra"):
        case "drawer":
            legs += apron(
                stance.front + 2 * v.num("leg"),
                stance.depth + 2 * v.num("leg"),
                under - 0.13,
                under + 0.004,
            )
            extra = _drawers(v, stance, under)
        case "shelf":
            extra = _shelf(v, stance)
        case "leaves":
            top += _leaves(v, under)
        case _:
            pass
    parts = [part("top", top), part("legs", legs)]
    if extra:
        parts.append(part("drawers" if v.text("extra") == "drawer" else "shelf", extra))
    return tuple(parts)


def _stance(v: Values, under: float) -> Stance:
    share = {"round": 0.66, "oval": 0.66, "rounded": 0.84}.get(v.text("shape"), 1.0)
    inset = v.num("inset") + v.num("leg") + 0.5 * v.num("splay")
    wide, deep = v.num("width") * share - 2 * inset, v.num("depth") * share - 2 * inset
    return Stance(
        front=wide, back=wide, depth=max(deep, 0.2), height=under + 0.01, splay=v.num("splay")
    )


def _base(v: Values, stance: Stance, under: float) -> Meshes:
    style, leg = v.text("support"), v.num("leg")
    below = replace(stance, height=under + 0.004 - 0.6 * leg)
    reach = 0.42 * min(v.num("width"), v.num("depth"))
    column = Column(height=under + 0.006, radius=0.03 + 0.4 * leg, foot_radius=max(0.18, reach))
    match style:
        case "pedestal":
            return column.pedestal(v.text("column"))
        case "claw":
            return column.claws(v.count("feet"))
        case "sled":
            return sled(below, 0.6 * leg)
        case "frames":
            return frames(below, 0.6 * leg)
        case "crossed":
            return crossed(below, 0.6 * leg)
        case "trestle":
            return _trestle(stance, leg)
        case "panels":
            return _panels(v, stance)
        case _:
            pass
    wide = leg * (1.7 if style == "hairpin" else 1.0)
    legs = four_legs(style, stance, wide)
    if _wired(v):
        legs += stretchers(v.text("stretchers"), stance, 0.24 * under, 0.5 * leg)
    if v.flag("apron") and style not in ("hairpin", "splayed") and v.text("extra") != "drawer":
        legs += _apron(v, stance, under)
    return legs


def _apron(v: Values, stance: Stance, under: float) -> Meshes:
    leg, low = v.num("leg"), under - 0.07
    if v.text("shape") in ("rectangular", "square"):
        return apron(stance.front + 1.6 * leg, stance.depth + 1.6 * leg, low, under + 0.004)
    share = 0.78 if v.text("shape") != "rounded" else 0.86
    if v.text("shape") == "rounded":
        return [Slab(low=low, high=under + 0.004, edge=0.004).build(_outline(v) * share)]
    return round_apron(v.num("width") * 0.86, v.num("depth") * 0.86, low, under + 0.004)


def _trestle(stance: Stance, leg: float) -> Meshes:
    x, deep = stance.front / 2 * 0.82, stance.depth * 0.92
    foot = TubeSection(power=5.0, across=1.0, along=0.8)
    built: Meshes = []
    for side in (x, -x):
        lift = leg * 0.9
        built += [
            rod((side, lift, -deep / 2), (side, lift, deep / 2), leg * 1.1, foot),
            rod(
                (side, stance.height - lift, -deep / 2),
                (side, stance.height - lift, deep / 2),
                leg,
                foot,
            ),
            rod(
                (side, lift, 0),
                (side, stance.height - lift, 0),
                leg * 1.3,
                TubeSection(power=7.0, across=1.0, along=2.0),
            ),
        ]
    beam = 0.36 * stance.height
    return [
        *built,
        rod((-x, beam, 0), (x, beam, 0), leg, TubeSection(power=7.0, across=0.6, along=1.5)),
    ]


def _panels(v: Values, stance: Stance) -> Meshes:
    thick, x = v.num("thick"), stance.front / 2
    size = (thick, stance.height, stance.depth + 0.02)
    sides = [rounded_box(size, 0.006, (side, stance.height / 2, 0)) for side in (x, -x)]
    beam = rounded_box((2 * x, 0.14, thick * 0.7), 0.005, (0, stance.height - 0.09, 0))
    return [*sides, beam]


def _drawers(v: Values, stance: Stance, under: float) -> Meshes:
    """Return drawer fronts with knobs, proud of the apron."""
    count = v.count("drawers")
    span = stance.front - 2 * v.num("leg")
    step = span / count
    z = stance.depth / 2 + v.num("leg") + 0.002
    built: Meshes = []
    for x in (np.arange(count) + 0.5 - count / 2) * step:
        built.append(rounded_box((step - 0.015, 0.095, 0.016), 0.005, (x, under - 0.062, z)))
        built.append(
            moved(superellipsoid((0.026, 0.026, 0.03), 2.0, steps=6), (x, under - 0.062, z + 0.018))
        )
    return built


def _shelf(v: Values, stance: Stance) -> Meshes:
    y = 0.26 * stance.height
    at = stance.at(y)
    wide, deep = 2 * at[0, 0] + 0.5 * v.num("leg"), 2 * at[0, 2] + 0.5 * v.num("leg")
    power = 26.0 if v.text("shape") in ("rectangular", "square") else 12.0
    return [Slab(low=y - 0.011, high=y + 0.011, edge=0.006).build(outline(wide, deep, power))]


def _leaves(v: Values, under: float) -> Meshes:
    drop, thick = min(0.26, 0.5 * under), v.num("top") * 0.8
    x = v.num("width") / 2 - thick * 0.4
    size = (thick, drop, v.num("depth") - 0.01)
    return [
        rounded_box(size, v.num("edge"), (side, under + 0.012 - drop / 2, 0)) for side in (x, -x)
    ]


SHARED = {"drawers": "legs", "shelf": "top"}
COLOURWAYS = (
    colourway({"top": "oak wood", "legs": "white wood"}, SHARED),
    colourway({"top": "walnut wood", "legs": "black metal"}, SHARED, drawers="walnut wood"),
    colourway({"top": "white marble", "legs": "gold metal"}, SHARED, drawers="white wood"),
    colourway({"top": "teal wood", "legs": "oak wood"}, SHARED, drawers="teal wood"),
    colourway({"top": "black marble", "legs": "silver metal"}, SHARED, drawers="black wood"),
    colourway({"top": "red plastic", "legs": "red metal"}, SHARED),
    colourway({"top": "beige wicker", "legs": "brown wood"}, SHARED),
    colourway({"top": "yellow wood", "legs": "grey wood"}, SHARED),
)

KIND = Kind(name="table", sample=sample, build=build, colourways=COLOURWAYS, elevations=(10, 30))
