"""Benches: garden, plank, upholstered, storage and park ones, hall benches and curved ones."""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from assets.catalogue.kinds.backs import BACK_WORDS, FLAT, Back
from assets.catalogue.kinds.chest import storage_bench
from assets.catalogue.kinds.furniture import (
    SQUARE,
    Slab,
    TubeSection,
    Values,
    between,
    colourway,
    curve,
    outline,
    part,
    pick,
    rod,
    tube,
)
from assets.catalogue.kinds.ironwork import park_bench
from assets.catalogue.kinds.legs import (
    LEG_WORDS,
    Meshes,
    Stance,
    apron,
    crossed,
    four_legs,
    frames,
    sled,
    stretchers,
)
from assets.catalogue.mesh import moved, rounded_box, superellipsoid
from assets.catalogue.model import Kind, Part, Shape

STYLES = {"backed": 3.0, "plank": 2.2, "upholstered": 2.0, "storage": 1.5, "park": 1.6}
BACKS = {"slatted": 1.5, "ladder": 1.5, "cross": 1.0, "spindle": 1.2, "panel": 0.8, "planks": 1.2}
BASES = {
    "straight": 1.8, "tapered": 1.5, "splayed": 1.5, "turned": 1.3, "sled": 0.9, "frames": 1.0,
    "crossed": 0.9, "panels": 1.0, "hairpin": 0.8,
}  # fmt: skip
BASE_WORDS = {**LEG_WORDS, "panels": "solid panel legs"}
ARM_WORDS = {"none": "no arms", "straight": "straight arms", "curved": "curved arms"}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a bench."""
    style = pick(rng, STYLES)
    values = {
        "style": style,
        "base": pick(rng, BASES),
        "back": pick(rng, BACKS),
        "arms": pick(rng, {"none": 1.0, "straight": 1.0, "curved": 1.0}),
        "seat": pick(rng, {"slats": 1.3, "plank": 1.2, "boards": 0.8}),
        "width": between(rng, 0.85, 1.6),
        "depth": between(rng, 0.34, 0.5),
        "height": between(rng, 0.4, 0.5),
        "back_height": between(rng, 0.32, 0.55),
        "rake": between(rng, 0.1, 0.26),
        "arch": between(rng, 0.03, 0.1) if rng.random() < 0.4 else 0.0,
        "bars": int(rng.integers(3, 6)),
        "leg": between(rng, 0.02, 0.034),
        "splay": between(rng, 0.03, 0.08),
        "thick": between(rng, 0.028, 0.06),
        "stretchers": pick(rng, {"none": 1.5, "h": 1.0, "box": 1.0}),
        "tufts": int(rng.integers(0, 3)),
        "rolls": bool(rng.random() < 0.4),
        "panels": int(rng.integers(1, 4)),
        "lidded": bool(rng.random() < 0.5),
        "scroll": between(rng, 0.6, 1.2),
    }
    return Shape(kind="bench", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    long = "long " if v.num("width") > 1.35 else "short " if v.num("width") < 1.05 else ""
    base = BASE_WORDS[v.text("base")]
    slats = {"slats": "slatted ", "plank": "solid ", "boards": "boarded "}[v.text("seat")]
    match v.text("style"):
        case "backed":
            name = "back of planks" if v.text("back") == "planks" else BACK_WORDS[v.text("back")]
            tall = (
                "tall "
                if v.num("back_height") > 0.47
                else "low "
                if v.num("back_height") < 0.38
                else ""
            )
            return (
                f"a {tall}{name}",
                f"a {long}{slats}seat",
                ARM_WORDS[v.text("arms")],
                _backed_base(v)[1],
            )
        case "plank":
            return (f"a {long}{slats}seat", "no back", base)
        case "upholstered":
            top = "a tufted seat" if v.count("tufts") else "a padded seat"
            ends = ("rolled ends",) if v.flag("rolls") else ("no back",)
            return (top.replace("a ", f"a {long}", 1), *ends, base)
        case "storage":
            back = ("a panelled back",) if v.flag("lidded") else ("no back",)
            return (f"a {long}storage box", "panelled sides", *back)
        case _:
            return (f"a {long}slatted seat", "a slatted back", "curved iron sides")


def _backed_base(v: Values) -> tuple[str, str]:
    """Return the base a bench with a back and arms stands on, and its words."""
    style = (
        v.text("base")
        if v.text("base") in ("straight", "tapered", "turned", "splayed")
        else "straight"
    )
    return style, LEG_WORDS[style]


def build(shape: Shape) -> tuple[Part, ...]:
    """Build a bench's seat, frame and, where it has them, back and armrests."""
    v = Values(shape.values)
    pieces = BUILDERS[v.text("style")](v)
    return tuple(part(name, meshes) for name, meshes in pieces.items() if meshes)


def _seat(v: Values, power: float = 18.0) -> tuple[Meshes, float]:
    """Return the seat and the height of its underside."""
    wide, deep, high, thick = v.num("width"), v.num("depth"), v.num("height"), v.num("thick")
    match v.text("seat"):
        case "plank":
            return [
                Slab(low=high - thick, high=high, edge=0.009).build(outline(wide, deep, power))
            ], high - thick
        case "boards":
            count, slim = 3, 0.03
        case _:
            count, slim = 6, 0.024
    step = deep / count
    board = outline(wide, step - 0.012, 30.0)
    boards = [
        Slab(low=high - slim, high=high, edge=0.007).build(board, (0, (i + 0.5 - count / 2) * step))
        for i in range(count)
    ]
    bearers = [
        rod(
            (x, high - slim - 0.008, -deep / 2 + 0.01),
            (x, high - slim - 0.008, deep / 2 - 0.01),
            0.014,
            SQUARE,
        )
        for x in (-0.4 * wide, 0.0, 0.4 * wide)
    ]
    return boards + bearers, high - slim


def _stance(v: Values, under: float, *, bent: bool = False) -> Stance:
    inset = 0.06 + 0.7 * v.num("splay") * (v.text("base") == "splayed")
    radius = v.num("leg")
    return Stance(
        front=v.num("width") - 2 * inset,
        back=v.num("width") - 2 * inset,
        depth=max(0.2, v.num("depth") - 0.09),
        height=under - 0.5 * radius if bent else under + 0.012,
        splay=v.num("splay") if v.text("base") == "splayed" else 0.0,
    )


def _base(v: Values, under: float) -> Meshes:
    style, radius = v.text("base"), v.num("leg")
    low = _stance(v, under, bent=True)
    match style:
        case "sled":
            return sled(low, 0.5 * radius + 0.003)
        case "frames":
            return frames(low, 0.55 * radius + 0.002)
        case "crossed":
            return crossed(low, 0.55 * radius + 0.002)
        case "panels":
            return _panels(v, under)
        case _:
            pass
    stance = _stance(v, under)
    legs = four_legs(style, stance, radius * (1.5 if style == "hairpin" else 0.95))
    if style == "hairpin":
        return legs
    legs += apron(stance.front + radius, stance.depth + radius, under - 0.05, under + 0.004)
    return legs + stretchers(v.text("stretchers"), stance, 0.3 * under, 0.45 * radius)


def _panels(v: Values, under: float) -> Meshes:
    x, tall = v.num("width") / 2 - 0.1, under + 0.006
    sides = [
        rounded_box((0.04, tall, v.num("depth") - 0.05), 0.008, (s, tall / 2, 0)) for s in (x, -x)
    ]
    return [*sides, rounded_box((2 * x, 0.09, 0.028), 0.006, (0, 0.55 * tall, 0))]


def _plank(v: Values) -> dict[str, Meshes]:
    seat, under = _seat(v)
    return {"seat": seat, "frame": _base(v, under)}


def _backed(v: Values) -> dict[str, Meshes]:
    seat, under = _seat(v)
    wide, deep, high = v.num("width"), v.num("depth"), v.num("height")
    style, _ = _backed_base(v)
    radius = v.num("leg") * 0.95
    stance = Stance(
        front=wide - 2 * radius,
        back=wide - 2 * radius,
        depth=deep - 2 * radius,
        height=under + 0.012,
        splay=0.03 if style == "splayed" else 0.0,
    )
    frame = four_legs(style, stance, radius) + apron(
        wide - 0.01, deep - 0.01, under - 0.06, under + 0.004
    )
    frame += stretchers(
        "h" if v.text("stretchers") == "h" else "none", stance, 0.3 * under, 0.5 * radius
    )
    back = Back(
        style="slatted" if v.text("back") == "planks" else v.text("back"),
        base=high - 0.03,
        behind=-deep / 2 + 0.022,
        width=wide - 2 * radius,
        top_width=wide - 2 * radius,
        height=v.num("back_height"),
        rake=v.num("rake"),
        arch=v.num("arch"),
        bars=round(wide / 0.11) if v.text("back") in ("slatted", "spindle") else v.count("bars"),
        thick=0.02,
    )
    return {"seat": seat, "back": _back(v, back), "frame": frame, "armrests": _arms(v, back)}


def _back(v: Values, back: Back) -> Meshes:
    match v.text("back"):
        case "planks":
            count = min(v.count("bars"), 4)
            tall = 0.36 / count * back.height
            board = TubeSection(power=8.0, across=0.3, along=1.0)
            positions = np.linspace(0.28, 0.92, count)
            posts = [tube(back.line((u, 0), (u, 0.96)), 0.02, SQUARE) for u in (-0.86, 0.86)]
            return posts + [
                tube(back.line((-1, s), (1, s)) + np.array([0, 0, 0.018]), tall, board)
                for s in positions
            ]
        case "cross":
            cells = max(2, round(back.width / 0.55))
            edges = np.linspace(-1, 1, cells + 1)
            rails = [
                tube(
                    back.line((-1, s), (1, s), 30),
                    0.026,
                    TubeSection(power=6.0, across=0.5, along=1.0),
                )
                for s in (0.2, 0.93)
            ]
            posts = [tube(back.line((u, 0), (u, 1)), back.thick, SQUARE) for u in edges]
            bars = [
                tube(back.line(ends[0], ends[1]), 0.015, FLAT)
                for a, b in itertools.pairwise(edges)
                for ends in (((a, 0.2), (b, 0.93)), ((b, 0.2), (a, 0.93)))
            ]
            return rails + posts + bars
        case _:
            return back.build().frame


def _arms(v: Values, back: Back) -> Meshes:
    if v.text("arms") == "none":
        return []
    rise = min(0.2, 0.62 * v.num("back_height"))
    y, front = v.num("height") + rise, v.num("depth") / 2 - 0.03
    built: Meshes = []
    for side in (1.0, -1.0):
        start = back.at(side, (rise + 0.03) / back.height)
        x = float(start[0])
        if v.text("arms") == "straight":
            tip = np.array([x, y, front + 0.03])
            built.append(rod(start, tip, 0.028, TubeSection(power=6.0, across=1.0, along=0.5)))
        else:
            path = curve(
                [
                    start,
                    (x, y - 0.025, 0.0),
                    (x, y + 0.01, front - 0.02),
                    (x, y - 0.02, front + 0.045),
                ],
                16,
            )
            built.append(tube(path, 0.024, TubeSection(power=4.0, across=1.0, along=0.6)))
        built.append(
            rod(
                (x, v.num("height") - 0.03, front - 0.01),
                (x, y - 0.003, front - 0.01),
                0.018,
                SQUARE,
            )
        )
    return built


def _upholstered(v: Values) -> dict[str, Meshes]:
    wide, deep, high = v.num("width"), v.num("depth"), v.num("height")
    body = 0.07 + v.num("thick")
    seat: Meshes = [
        Slab(low=high - body, high=high, edge=0.035, crown=0.014).build(outline(wide, deep, 14.0))
    ]
    if v.count("tufts"):
        button = superellipsoid((0.028, 0.016, 0.028), 2.0, steps=5)
        count = max(4, round(wide / 0.18))
        for x in (np.arange(count) + 0.5 - count / 2) * wide / count * 0.92:
            for z in (-0.24, 0.24) if v.count("tufts") == 2 else (0.0,):
                crown = 0.014 * (1 - max(abs(2 * x / wide), abs(2 * z)) ** 2.5)
                seat.append(moved(button, (x, high + crown - 0.002, z * deep)))
    if v.flag("rolls"):
        for x in (wide / 2 - 0.05, -wide / 2 + 0.05):
            y = high + 0.12 * v.num("scroll")
            lean = np.sign(x) * 0.05
            seat.append(
                rounded_box(
                    (0.07, y - high + body, deep - 0.02), 0.02, (x, (y + high - body) / 2, 0)
                )
            )
            seat.append(
                tube(
                    np.linspace((x + lean * 0.5, y, -deep / 2), (x + lean * 0.5, y, deep / 2), 4),
                    0.062,
                )
            )
    return {"seat": seat, "frame": _base(v, high - body)}


BUILDERS: Mapping[str, Callable[[Values], dict[str, Meshes]]] = {
    "backed": _backed,
    "plank": _plank,
    "upholstered": _upholstered,
    "storage": storage_bench,
    "park": park_bench,
}

BOARDS = {"back": "seat", "armrests": "frame"}
SOFT = {"back": "frame", "armrests": "frame"}
COLOURWAYS = (
    colourway({"seat": "oak wood", "frame": "black metal"}, BOARDS),
    colourway({"seat": "green wood", "frame": "green wood"}, BOARDS),
    colourway({"seat": "walnut wood", "frame": "walnut wood"}, BOARDS),
    colourway({"seat": "blue wood", "frame": "white wood"}, SOFT),
    colourway({"seat": "brown leather", "frame": "silver metal"}, SOFT),
    colourway({"seat": "striped red fabric", "frame": "oak wood"}, SOFT),
    colourway({"seat": "yellow plastic", "frame": "grey metal"}, BOARDS),
    colourway({"seat": "checked purple fabric", "frame": "beige wood"}, SOFT),
)

KIND = Kind(name="bench", sample=sample, build=build, colourways=COLOURWAYS, azimuths=(-50, 50))
