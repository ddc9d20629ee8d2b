"""Chairs: thirteen backs, six seats, thirteen bases, optional armrests and stretchers."""

import numpy as np

from assets.catalogue.curves import Points
from assets.catalogue.kinds.backs import BACK_WORDS, Back, armrests
from assets.catalogue.kinds.furniture import (
    Slab,
    Values,
    between,
    colourway,
    outline,
    part,
    pick,
)
from assets.catalogue.kinds.legs import (
    LEG_WORDS,
    LEGS,
    Column,
    Meshes,
    Stance,
    apron,
    cantilever,
    crossed,
    four_legs,
    frames,
    sled,
    stretchers,
)
from assets.catalogue.model import Kind, Part, Shape

SEATS = {"square": 3.0, "trapezoid": 3.0, "round": 2.5, "squircle": 1.5}
OUTLINES = {
    "square": (9.0, 0.0),
    "trapezoid": (8.0, 0.2),
    "round": (2.0, 0.0),
    "squircle": (3.2, 0.06),
}
TOPS = {"plank": 3.0, "cushion": 3.0, "dropped": 2.0}
BACK_WEIGHTS = {
    "slatted": 2.0, "ladder": 2.0, "spindle": 1.6, "hoop": 1.6, "panel": 1.5, "cross": 1.3,
    "oval": 1.4, "padded": 2.2, "cafe": 1.4, "splat": 1.2, "frame": 1.2, "shield": 1.0,
    "shell": 2.2,
}  # fmt: skip
BASES = {
    "straight": 2.2, "tapered": 2.0, "splayed": 2.0, "turned": 2.0, "cabriole": 1.4, "sabre": 1.2,
    "hairpin": 1.0, "sled": 1.3, "cantilever": 0.8, "frames": 0.9, "crossed": 0.9,
    "pedestal": 0.9, "star": 1.2,
}  # fmt: skip
STRETCHED = ("straight", "tapered", "splayed", "turned")
SEAT_WORDS = {
    "square": "a square seat",
    "trapezoid": "a wide-fronted seat",
    "round": "a round seat",
    "squircle": "a rounded seat",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a chair."""
    seat, back, base = pick(rng, SEATS), pick(rng, BACK_WEIGHTS), pick(rng, BASES)
    top = pick(rng, TOPS)
    if seat == "round" or base not in STRETCHED:
        top = "cushion" if top == "dropped" else top
    arms = pick(rng, {"none": 3.2, "bent": 0.7, "posted": 0.8, "scrolled": 0.7})
    wire = pick(rng, {"none": 2.0, "box": 1.0, "h": 1.0, "crossed": 0.4})
    values = {
        "seat": seat,
        "top": top,
        "back": back,
        "base": base,
        "arms": arms
        if back not in ("oval", "hoop", "frame", "shield", "panel", "shell")
        else "none",
        "stretchers": wire if base in STRETCHED else "none",
        "width": between(rng, 0.38, 0.52),
        "depth": between(rng, 0.38, 0.48),
        "height": between(rng, 0.4, 0.5),
        "back_height": between(rng, 0.3, 0.46 if back in ("cafe", "shell") else 0.62),
        "rake": between(rng, 0.06, 0.34),
        "flare": between(rng, 0.82, 1.1),
        "bow": between(rng, 0.0, 0.05),
        "arch": between(rng, 0.01, 0.06) if rng.random() < 0.45 else 0.0,
        "bars": int(rng.integers(3, 8)),
        "splay": between(rng, 0.05, 0.1) if base == "splayed" else between(rng, 0.0, 0.02),
        "leg": between(rng, 0.015, 0.025),
        "post": between(rng, 0.011, 0.018),
        "arms_of_star": int(rng.integers(4, 6)),
        "castors": bool(rng.random() < 0.6),
        "column": pick(rng, {"trumpet": 1.0, "disc": 1.0}),
    }
    return Shape(kind="chair", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    tall = v.num("back_height")
    size = "tall " if tall > 0.52 else "low " if tall < 0.38 else ""
    back = size + BACK_WORDS[v.text("back")]
    cushion = " and a cushion" if v.text("top") == "cushion" else ""
    words = [f"{'an' if back[0] in 'aeiou' else 'a'} {back}", SEAT_WORDS[v.text("seat")] + cushion]
    words.append(LEG_WORDS[v.text("base")])
    arms = {"bent": "bent armrests", "posted": "straight armrests", "scrolled": "curved armrests"}
    if v.text("arms") != "none":
        words.append(arms[v.text("arms")])
    if v.text("stretchers") != "none":
        words.append("crossbars between the legs")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Build a chair's seat, back, legs and, where it has them, pad and armrests."""
    v = Values(shape.values)
    height = v.num("height")
    seat, under = _seat(v, _outline(v))
    back = _back(v)
    made = back.build()
    parts = [part("seat", seat), part("back", made.frame), part("legs", _base(v, under))]
    if made.pad:
        parts.append(part("pad", made.pad))
    if v.text("arms") != "none":
        rise = min(0.21, 0.72 * v.num("back_height"))
        rests = armrests(
            v.text("arms"), back, seat_y=height, front=0.24 * v.num("depth"), rise=rise
        )
        parts.append(part("armrests", rests))
    return tuple(parts)


def _outline(v: Values) -> Points:
    power, taper = OUTLINES[v.text("seat")]
    width = v.num("width")
    return outline(width, width if v.text("seat") == "round" else v.num("depth"), power, taper)


def _seat(v: Values, shape: Points) -> tuple[Meshes, float]:
    """Return the seat and the height of its underside."""
    height = v.num("height")
    match v.text("top"):
        case "plank":
            return [
                Slab(low=height - 0.028, high=height, edge=0.01, crown=-0.009).build(shape)
            ], height - 0.028
        case "cushion":
            board = Slab(low=height - 0.07, high=height - 0.045, edge=0.006).build(shape * 0.97)
            return [
                board,
                Slab(low=height - 0.055, high=height, edge=0.026, crown=0.016).build(shape),
            ], height - 0.07
        case _:
            pass
    pad = Slab(low=height - 0.03, high=height, edge=0.018, crown=0.014).build(shape)
    return [pad], height - 0.03


def _back(v: Values) -> Back:
    width, depth = v.num("width"), v.num("depth")
    taper = OUTLINES[v.text("seat")][1]
    share, bow, behind = 0.88 * (1 - taper), v.num("bow"), 0.026 - depth / 2
    if v.text("seat") == "round":
        share, bow, behind = 0.74, width * 0.16, 0.024 - width / 2
    elif v.text("seat") == "squircle":
        share, bow = 0.72, max(bow, 0.03)
    slim = v.text("back") in ("hoop", "oval", "shield", "frame")
    if v.text("back") == "shell":
        share, bow = min(share * 1.1, 0.95), bow + 0.11
    return Back(
        style=v.text("back"),
        base=v.num("height") - 0.02,
        behind=behind,
        width=width * share,
        top_width=width * share * (1.0 if slim else v.num("flare")),
        height=v.num("back_height") + 0.02,
        rake=v.num("rake"),
        bow=bow,
        arch=0.0 if slim else v.num("arch"),
        bars=v.count("bars"),
        thick=v.num("post"),
    )


def _stance(v: Values, under: float) -> Stance:
    """Return where the legs stand; bent tubes run below the seat, legs end inside it."""
    power, taper = OUTLINES[v.text("seat")]
    share = {"round": 0.62, "squircle": 0.7}.get(v.text("seat"), 0.86)
    width = v.num("width") * share
    depth = (v.num("width") if power == 2.0 else v.num("depth")) * share
    return Stance(
        front=width,
        back=width * (1 - taper),
        depth=depth,
        height=under + (0.012 if v.text("base") in LEGS else 0.004 - 0.6 * v.num("leg")),
        splay=v.num("splay"),
        rear=0.4 * v.num("rake") * 0.2,
    )


def _base(v: Values, under: float) -> Meshes:
    stance, radius, style = _stance(v, under), v.num("leg"), v.text("base")
    column = Column(height=under + 0.006, radius=0.024, foot_radius=0.5 * v.num("width"))
    match style:
        case "sled":
            return sled(stance, 0.6 * radius)
        case "cantilever":
            return cantilever(stance, 0.65 * radius)
        case "frames":
            return frames(stance, 0.65 * radius)
        case "crossed":
            return crossed(stance, 0.65 * radius)
        case "pedestal":
            return column.pedestal(v.text("column"))
        case "star":
            return column.star(v.count("arms_of_star"), castors=v.flag("castors"))
        case _:
            assert style in LEGS
    legs = four_legs(style, stance, radius)
    legs += stretchers(v.text("stretchers"), stance, 0.36 * under, 0.5 * radius)
    if v.text("top") == "dropped":
        legs += apron(stance.front + radius, stance.depth + radius, under - 0.055, under + 0.01)
    return legs


SHARED = {"pad": "seat", "armrests": "back"}
COLOURWAYS = (
    colourway({"seat": "red leather", "back": "oak wood", "legs": "oak wood"}, SHARED),
    colourway({"seat": "navy fabric", "back": "white wood", "legs": "white wood"}, SHARED),
    colourway({"seat": "yellow plastic", "back": "yellow plastic", "legs": "black metal"}, SHARED),
    colourway({"seat": "beige wicker", "back": "walnut wood", "legs": "walnut wood"}, SHARED),
    colourway({"seat": "striped green fabric", "back": "black wood", "legs": "black wood"}, SHARED),
    colourway({"seat": "black leather", "back": "silver metal", "legs": "silver metal"}, SHARED),
    colourway({"seat": "teal plastic", "back": "white plastic", "legs": "oak wood"}, SHARED),
    colourway({"seat": "checked pink fabric", "back": "grey wood", "legs": "copper metal"}, SHARED),
)

KIND = Kind(name="chair", sample=sample, build=build, colourways=COLOURWAYS)
