"""Armchairs: club, wing, tub, wooden-armed, shell, recliner and tube-framed ones."""

from collections.abc import Callable, Mapping

import numpy as np

from assets.catalogue.kinds import lounge
from assets.catalogue.kinds.furniture import (
    Slab,
    TubeSection,
    Values,
    assembled,
    between,
    colourway,
    outline,
    pick,
    sheet,
    tube,
)
from assets.catalogue.kinds.legs import LEG_WORDS, Column, Meshes, Stance, feet
from assets.catalogue.kinds.upholstery import ARM_WORDS, BACK_WORDS, Suite, standing_cushion
from assets.catalogue.mesh import moved, rotated, rounded_box
from assets.catalogue.model import Kind, Part, Shape

STYLES = {
    "club": 3.0,
    "wing": 2.0,
    "tub": 1.8,
    "wooden": 2.2,
    "shell": 1.5,
    "recliner": 1.2,
    "tubular": 1.3,
}
SUPPORTS = {
    "tapered": 2.0,
    "splayed": 1.4,
    "turned": 1.4,
    "cabriole": 1.2,
    "straight": 1.0,
    "bun": 1.0,
    "star": 0.8,
}
CLUB_BACKS = {
    "straight": 1.0,
    "camel": 1.2,
    "round": 1.4,
    "tufted": 1.4,
    "channelled": 1.3,
    "cushioned": 1.4,
    "rolled": 0.7,
}
CLUB_ARMS = {"rolled": 2.0, "track": 1.6, "sloped": 1.4, "flared": 1.2, "pad": 1.2, "english": 1.2}
STYLE_WORDS: Mapping[str, str] = {
    "wing": "a tall winged back",
    "tub": "a wraparound tub back",
    "wooden": "open armrests and a leaning back",
    "shell": "a deep shell",
    "recliner": "a rolled headrest and wide arms",
    "tubular": "bent tube armrests",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw an armchair."""
    style, support = pick(rng, STYLES), pick(rng, SUPPORTS)
    if style == "recliner":
        support = pick(rng, {"bun": 1.0, "straight": 1.0, "star": 1.0})
    values = {
        "style": style,
        "support": support,
        "arms": pick(rng, CLUB_ARMS),
        "back": pick(rng, CLUB_BACKS),
        "fill": pick(rng, {"pad": 1.5, "slats": 1.0, "rungs": 1.0}),
        "width": between(rng, 0.66, 0.88),
        "depth": between(rng, 0.68, 0.86),
        "floor": between(rng, 0.1, 0.22),
        "seat": between(rng, 0.4, 0.48),
        "top": between(rng, 0.96, 1.18)
        if style in ("wing", "recliner")
        else between(rng, 0.7, 0.98),
        "arm_rise": between(rng, 0.12, 0.24),
        "arm_width": between(rng, 0.09, 0.17),
        "thick": between(rng, 0.1, 0.17),
        "lean": between(rng, 0.03, 0.16),
        "leg": between(rng, 0.018, 0.028),
        "sweep": between(rng, 0.3, 0.75),
        "wing": between(rng, 0.14, 0.26),
        "footrest": bool(rng.random() < 0.5),
        "pillow": bool(rng.random() < 0.25),
    }
    return Shape(kind="armchair", values=values, words=_words(Values(values)))


def _words(v: Values) -> tuple[str, ...]:
    style, top = v.text("style"), v.num("top")
    if style == "club":
        size = "tall " if top > 0.9 else "low " if top < 0.78 else ""
        words = [ARM_WORDS[v.text("arms")], f"a {size}{BACK_WORDS[v.text('back')]}"]
    else:
        words = [STYLE_WORDS[style]]
    if style == "wooden" and v.text("fill") != "pad":
        words.append("a slatted back" if v.text("fill") == "slats" else "a ladder back")
    if style == "recliner" and v.flag("footrest"):
        words.append("a raised footrest")
    if style not in ("wooden", "tubular"):
        words.append("bun feet" if v.text("support") == "bun" else LEG_WORDS[v.text("support")])
    if style == "wooden":
        words.append("splayed legs" if v.num("sweep") > 0.5 else "straight legs")
    if style == "tubular":
        words.append("a sled base")
    width = v.num("width")
    if width > 0.81 or width < 0.72:
        words.append("a wide seat" if width > 0.81 else "a narrow seat")
    return tuple(words)


def suite(v: Values) -> Suite:
    """Return the measures of an upholstered body."""
    return Suite(
        width=v.num("width"),
        depth=v.num("depth"),
        floor=v.num("floor"),
        seat=v.num("seat"),
        top=v.num("top"),
        arm_top=min(v.num("seat") + v.num("arm_rise"), v.num("top") - 0.04),
        arm_width=v.num("arm_width"),
        back_thick=v.num("thick"),
        lean=v.num("lean"),
        num_seats=1,
    )


def build(shape: Shape) -> tuple[Part, ...]:
    """Build an armchair's body, cushion, legs and, where they are apart, armrests and pillow."""
    v = Values(shape.values)
    return BUILDERS[v.text("style")](v)


def _club(v: Values) -> tuple[Part, ...]:
    s = suite(v)
    body = s.base() + s.back(v.text("back")) + s.arms(v.text("arms"))
    cushions = s.seat_cushions(front=0.012)
    if v.text("back") == "tufted":
        body += s.buttons(3, 5)
    if v.text("back") in ("cushioned", "rolled"):
        cushions += s.back_cushions(1, 0.15)
    return assembled(body=body, cushion=cushions, legs=_legs(v, s), pillow=_pillow(v, s))


def _pillow(v: Values, s: Suite) -> Meshes:
    if not v.flag("pillow") or v.text("back") in ("cushioned", "rolled"):
        return []
    size = (s.inside * 0.72, 0.24, 0.12)
    y = s.seat + 0.11
    return [
        moved(rotated(standing_cushion(size, 0.55), -10, "x"), (0, y, s.front_of_back(y) + 0.045))
    ]


def _wing(v: Values) -> tuple[Part, ...]:
    s = suite(v)
    style = "rolled" if v.text("arms") in ("rolled", "english", "pad") else "track"
    body = s.base() + s.back("round" if v.num("sweep") > 0.5 else "camel") + s.arms(style)
    rise = np.linspace(0, 1, 16)[:, None]
    along = np.linspace(0, 1, 12)[None]
    reach = (
        v.num("wing") * (1 - 0.45 * rise**3) * np.sin(np.pi * np.clip(0.22 + 0.62 * rise, 0, 1))
        + 0.03
    )
    low, high = s.arm_top - 0.09, s.top - 0.07
    y = low + (high - low) * rise + 0 * along
    z = np.vectorize(s.front_of_back)(y) - 0.07 + reach * along
    x = s.width / 2 - 0.05 - 0.012 * rise + 0.03 * along
    right = sheet(np.stack([x, y, z], axis=-1), 0.055)
    left = right.copy()
    left.vertices *= (-1, 1, 1)
    left.faces = left.faces[:, ::-1]
    body += [right, left]
    if v.text("back") == "tufted":
        body += s.buttons(4, 4)
    return assembled(
        body=body, cushion=s.seat_cushions(front=0.01), legs=_legs(v, s), pillow=_pillow(v, s)
    )


def _tub(v: Values) -> tuple[Part, ...]:
    s = suite(v)
    body = [
        Slab(low=s.floor, high=s.deck + 0.02, edge=0.025).build(
            outline(s.width - 0.05, s.depth - 0.04, 2.6)
        )
    ]
    turn = np.linspace(-1, 1, 44)[None]
    up = np.linspace(0, 1, 14)[:, None]
    angle = turn * np.radians(138)
    front = 0.5 - 0.5 * np.cos(angle)  # 0 at the back's middle, about 0.87 at the arms' ends
    step = 1 / (1 + np.exp((front - v.num("sweep")) * 14))
    rim = s.arm_top + (s.top - s.arm_top) * step
    y = s.floor + 0.01 + (rim - s.floor) * up
    thick = v.num("arm_width") * 0.62
    flare = 1 + 0.07 * up
    x = np.sin(angle) * (s.width - thick) / 2 * flare
    z = -np.cos(angle) * (s.depth - thick) / 2 * flare
    body.append(sheet(np.stack([x, y, z], axis=-1), thick))
    if v.text("back") == "channelled":
        body += _ribs(x, y, z, thick)
    wide = outline(s.width - 2 * thick - 0.01, s.depth - thick - 0.02, 2.5)
    cushion = Slab(low=s.deck, high=s.seat, edge=0.045, crown=0.02).build(wide, (0, thick * 0.42))
    return assembled(body=body, cushion=[cushion], legs=_legs(v, s, 0.66))


def _ribs(x: np.ndarray, y: np.ndarray, z: np.ndarray, thick: float) -> Meshes:
    """Return padded ribs up the inside of a tub."""
    inward = 1 - thick * 0.9 / np.hypot(x[-1], z[-1])
    section = TubeSection(power=2.0, across=1.0, along=0.8)
    columns = range(3, x.shape[1] - 3, 3)
    return [
        tube(
            np.stack([x[5:, i] * inward[i], y[5:, i] - 0.01, z[5:, i] * inward[i]], axis=1),
            0.032,
            section,
        )
        for i in columns
    ]


def _legs(v: Values, s: Suite, spread: float = 0.86) -> Meshes:
    style = v.text("support")
    if style == "star":
        column = Column(height=s.floor + 0.02, radius=0.028, foot_radius=0.36 * s.width)
        return column.star(5, castors=False) if s.floor > 0.15 else column.pedestal("disc")
    stance = Stance(
        front=s.width * spread,
        back=s.width * spread * 0.96,
        depth=s.depth * spread,
        height=s.floor + 0.015,
        splay=0.04 if style == "splayed" else 0.0,
    )
    return feet(style, stance, v.num("leg") * (1.5 if style == "bun" else 1.15))


def _recliner(v: Values) -> tuple[Part, ...]:
    s = suite(v)
    body = s.base() + s.back("cushioned") + s.arms("pad")
    rolls: Meshes = []
    count = 3 if v.num("sweep") > 0.5 else 4
    step = (s.top - s.seat) / count
    for i in range(count):
        y = s.seat + step * (i + 0.5)
        roll = standing_cushion(
            (s.inside + 0.02, step * 1.12, 0.17 if i == count - 1 else 0.14), 0.5
        )
        rolls.append(
            moved(
                rotated(roll, -np.degrees(np.arctan(s.lean / 0.6)), "x"),
                (0, y, s.front_of_back(y) + 0.01),
            )
        )
    if v.flag("footrest"):
        size = (s.inside - 0.02, 0.09, 0.36)
        rest = rotated(rounded_box(size, 0.035), 12, "x")
        body.append(moved(rest, (0, s.deck - 0.07, s.depth / 2 + 0.14)))
    return assembled(body=body + rolls, cushion=s.seat_cushions(front=0.015), legs=_legs(v, s))


BUILDERS: Mapping[str, Callable[[Values], tuple[Part, ...]]] = {
    "club": _club,
    "wing": _wing,
    "tub": _tub,
    "wooden": lounge.wooden,
    "shell": lounge.shell,
    "recliner": _recliner,
    "tubular": lounge.tubular,
}

SHARED = {"armrests": "legs"}
COLOURWAYS = (
    colourway(
        {"body": "brown leather", "cushion": "brown leather", "legs": "walnut wood"},
        SHARED,
        pillow="beige fabric",
    ),
    colourway(
        {"body": "teal fabric", "cushion": "teal fabric", "legs": "oak wood"},
        SHARED,
        pillow="white fabric",
    ),
    colourway(
        {"body": "grey fabric", "cushion": "orange fabric", "legs": "black wood"},
        SHARED,
        pillow="grey fabric",
    ),
    colourway(
        {"body": "beige wicker", "cushion": "white fabric", "legs": "oak wood"},
        SHARED,
        pillow="blue fabric",
    ),
    colourway(
        {"body": "red leather", "cushion": "black leather", "legs": "silver metal"},
        SHARED,
        pillow="black leather",
    ),
    colourway(
        {"body": "striped navy fabric", "cushion": "navy fabric", "legs": "white wood"},
        SHARED,
        pillow="white fabric",
    ),
    colourway(
        {"body": "pink fabric", "cushion": "purple fabric", "legs": "gold metal"},
        SHARED,
        pillow="purple fabric",
    ),
    colourway(
        {"body": "green fabric", "cushion": "checked yellow fabric", "legs": "black metal"},
        SHARED,
        pillow="yellow fabric",
    ),
)

KIND = Kind(
    name="armchair",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-55, 55),
    synonyms=("easy chair",),
)
