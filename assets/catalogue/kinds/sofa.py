"""Sofas: two to four seats, six arms, seven backs, nine supports, pillows, a chaise end."""

from dataclasses import replace

import numpy as np

from assets.catalogue.kinds.furniture import Slab, Values, between, colourway, outline, part, pick
from assets.catalogue.kinds.legs import LEG_WORDS, Meshes, Stance, feet, sled
from assets.catalogue.kinds.upholstery import ARM_WORDS, BACK_WORDS, Suite, pillow
from assets.catalogue.mesh import rounded_box
from assets.catalogue.model import Kind, Part, Shape

ARMS = {
    "rolled": 2.0,
    "track": 2.0,
    "sloped": 1.5,
    "flared": 1.3,
    "pad": 1.2,
    "english": 1.2,
    "none": 0.6,
}
BACKS = {
    "straight": 1.0, "camel": 1.4, "round": 1.3, "tufted": 1.5, "channelled": 1.3,
    "cushioned": 2.4, "rolled": 1.0,
}  # fmt: skip
SUPPORTS = {
    "tapered": 2.0, "splayed": 1.5, "straight": 1.2, "turned": 1.3, "cabriole": 1.0, "bun": 1.2,
    "sled": 1.0, "skirt": 1.1, "hairpin": 0.7,
}  # fmt: skip
NUMBER_WORDS = {2: "two", 3: "three", 4: "four"}
SUPPORT_WORDS = {
    **LEG_WORDS,
    "bun": "bun feet",
    "skirt": "a pleated skirt",
    "sled": "metal runner legs",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a sofa."""
    support, back = pick(rng, SUPPORTS), pick(rng, BACKS)
    chaise = pick(rng, {"none": 4.0, "left": 0.6, "right": 0.6})
    values = {
        "seats": int(
            pick(rng, {"3": 3.0, "4": 1.0} if chaise != "none" else {"2": 4.0, "3": 3.0, "4": 1.0})
        ),
        "arms": pick(rng, ARMS),
        "back": back,
        "support": "tapered" if support in ("skirt", "sled") and chaise != "none" else support,
        "chaise": chaise,
        "split": bool(rng.random() < 0.65),
        "pillows": int(rng.integers(0, 4)),
        "seat_width": between(rng, 0.52, 0.68),
        "depth": between(rng, 0.78, 0.95),
        "floor": between(rng, 0.1, 0.2),
        "seat": between(rng, 0.4, 0.48),
        "top": between(rng, 0.7, 0.96),
        "arm_rise": between(rng, 0.1, 0.24),
        "arm_width": between(rng, 0.12, 0.22),
        "thick": between(rng, 0.13, 0.2),
        "lean": between(rng, 0.0, 0.1),
        "jut": between(rng, 0.0, 0.04),
        "leg": between(rng, 0.02, 0.032),
        "tufts": int(rng.integers(2, 4)),
    }
    return Shape(kind="sofa", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    size = "tall " if v.num("top") > 0.88 else "low " if v.num("top") < 0.76 else ""
    arms = ARM_WORDS[v.text("arms")] if v.text("arms") != "none" else "no arms"
    words = [
        f"{NUMBER_WORDS[v.count('seats')]} seats",
        arms,
        f"a {size}{BACK_WORDS[v.text('back')]}",
    ]
    words.append(SUPPORT_WORDS[v.text("support")])
    if v.text("chaise") != "none":
        words.append("a chaise end")
    if v.count("pillows"):
        words.append("throw pillows" if v.count("pillows") > 1 else "a throw pillow")
    return tuple(words)


def suite(v: Values) -> Suite:
    """Return the measures of the body."""
    arm = v.num("arm_width") if v.text("arms") != "none" else 0.012
    return Suite(
        width=v.count("seats") * v.num("seat_width") + 2 * arm,
        depth=v.num("depth"),
        floor=v.num("floor"),
        seat=v.num("seat"),
        top=v.num("top"),
        arm_top=min(v.num("seat") + v.num("arm_rise"), v.num("top") - 0.03),
        arm_width=arm,
        back_thick=v.num("thick"),
        lean=v.num("lean"),
        num_seats=v.count("seats"),
    )


def build(shape: Shape) -> tuple[Part, ...]:
    """Build a sofa's body, cushions, legs and pillows."""
    v = Values(shape.values)
    s = suite(v)
    skirt, back = v.text("support") == "skirt", v.text("back")
    body = s.base(skirt=skirt) + s.back(back)
    if v.text("arms") != "none":
        body += s.arms(v.text("arms"))
    cushions = s.seat_cushions(split=v.flag("split"), front=v.num("jut"))
    if back == "tufted":
        body += s.buttons(v.count("tufts"), 4 * v.count("seats"))
    if back in ("cushioned", "rolled"):
        cushions += s.back_cushions(v.count("seats"))
    if v.text("chaise") != "none":
        extra, pad = _chaise(s, v.text("chaise"))
        body, cushions = body + extra, cushions + pad
    parts = [part("body", body), part("cushions", cushions), part("legs", _legs(v, s))]
    if v.count("pillows"):
        parts.append(part("pillows", _pillows(v, s)))
    return tuple(parts)


def _chaise(s: Suite, side: str) -> tuple[Meshes, Meshes]:
    """Return the box and the cushion of a seat that reaches forward at one end."""
    reach, step = 0.62, s.inside / s.num_seats
    x = s.positions(s.num_seats)[0 if side == "left" else -1]
    wide = step + s.arm_width
    middle = x + (-1 if side == "left" else 1) * s.arm_width / 2
    size = (wide - 0.01, s.deck - s.floor, reach + 0.2)
    box = rounded_box(size, 0.025, (middle, (s.deck + s.floor) / 2, s.depth / 2 + reach / 2 - 0.1))
    slab = Slab(low=s.deck - 0.015, high=s.seat - 0.012, edge=0.04, crown=0.022)
    pad = slab.build(outline(wide - 0.01, reach, 14.0), (middle, s.depth / 2 + reach / 2 + 0.012))
    return [box], [pad]


def _legs(v: Values, s: Suite) -> Meshes:
    style, radius = v.text("support"), v.num("leg")
    inset = 0.07 if style not in ("splayed", "hairpin") else 0.12
    stance = Stance(
        front=s.width - 2 * inset,
        back=s.width - 2 * inset,
        depth=s.depth - 2 * inset,
        height=s.floor + 0.012,
        splay=0.045 if style == "splayed" else 0.0,
    )
    match style:
        case "sled":
            return sled(replace(stance, height=s.floor - 0.008), 0.014)
        case "skirt":
            return feet(
                "straight",
                replace(stance, front=stance.front + 0.06, back=stance.back + 0.06),
                0.03,
            )
        case "bun":
            legs = feet("bun", stance, radius * 1.5)
        case _:
            legs = feet(style, stance, radius * (1.5 if style in ("hairpin", "cabriole") else 1.15))
    if v.count("seats") == 4 and style in ("tapered", "straight", "turned", "bun"):
        legs += feet(style, replace(stance, front=0.001, back=0.001), radius)[:3:2]
    if v.text("chaise") != "none":
        legs += _far_feet(v, s, radius)
    return legs


def _far_feet(v: Values, s: Suite, radius: float) -> Meshes:
    sign = -1.0 if v.text("chaise") == "left" else 1.0
    step = s.inside / s.num_seats
    outer, inner = sign * (s.width / 2 - 0.07), sign * (s.width / 2 - s.arm_width - step + 0.07)
    stance = Stance(front=0.0, back=0.0, depth=2 * s.depth / 2 + 2 * 0.45, height=s.floor + 0.012)
    style = v.text("support") if v.text("support") in ("bun", "straight", "turned") else "tapered"
    built = feet(style, stance, radius * 1.15)[:1]
    legs: Meshes = []
    for x in (outer, inner):
        copy = built[0].copy()
        copy.apply_translation((x, 0, 0))
        legs.append(copy)
    return legs


def _pillows(v: Values, s: Suite) -> Meshes:
    side = min(0.36, s.top - s.seat + 0.06)
    extra = 0.13 if v.text("back") in ("cushioned", "rolled") else 0.0
    z = s.front_of_back(s.seat + side / 2) + side * 0.17 + extra
    y = s.seat + side * 0.46
    edge = s.inside / 2 - side * 0.46
    positions = [(-edge, 14.0), (edge, -14.0), (-edge + side * 0.78, 4.0)]
    return [
        pillow(side * (1.0 if i < 2 else 0.9), (x, y, z), turn)
        for i, (x, turn) in enumerate(positions[: v.count("pillows")])
    ]


COLOURWAYS = (
    colourway(
        {"body": "navy fabric", "cushions": "navy fabric", "legs": "oak wood"},
        pillows="yellow fabric",
    ),
    colourway(
        {"body": "brown leather", "cushions": "brown leather", "legs": "black wood"},
        pillows="beige fabric",
    ),
    colourway(
        {"body": "grey fabric", "cushions": "yellow fabric", "legs": "walnut wood"},
        pillows="white fabric",
    ),
    colourway(
        {"body": "beige wicker", "cushions": "white fabric", "legs": "beige wicker"},
        pillows="teal fabric",
    ),
    colourway(
        {"body": "green fabric", "cushions": "green fabric", "legs": "gold metal"},
        pillows="pink fabric",
    ),
    colourway(
        {"body": "red leather", "cushions": "red leather", "legs": "silver metal"},
        pillows="black leather",
    ),
    colourway(
        {"body": "white fabric", "cushions": "striped blue fabric", "legs": "white wood"},
        pillows="navy fabric",
    ),
    colourway(
        {"body": "purple fabric", "cushions": "checked pink fabric", "legs": "black metal"},
        pillows="purple fabric",
    ),
)

KIND = Kind(
    name="sofa",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-45, 45),
    synonyms=("couch",),
)
