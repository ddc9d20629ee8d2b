"""Clocks: mantel, alarm, longcase, desk, house and station clocks.

Parts: case, dial, hands (with the hour marks) and trim (rim, bells, feet, pendulum).
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue.kinds.clock_cases import CASES
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.lofts import Assembly, chance
from assets.catalogue.model import Kind, Part, Shape, Value

FORMS = {
    "arch": 1.0,
    "hump": 0.8,
    "alarm": 1.2,
    "longcase": 1.4,
    "square": 1.0,
    "house": 1.0,
    "post": 1.0,
    "carriage": 0.8,
    "drop": 0.9,
    "egg": 0.7,
}

FORM_WORDS = {
    "hump": "a low humped case",
    "alarm": "two bells on top",
    "longcase": "a tall floor-standing case",
    "square": "a square case",
    "house": "a gabled roof and a pendulum",
    "post": "a round head on a stem",
    "carriage": "four columns and a carrying handle",
    "drop": "a pendulum box below the dial",
    "egg": "a rounded pebble body",
}

TOPS = {"flat": 1.0, "round": 1.0, "gable": 1.0, "finial": 1.0}

TOP_WORDS = {
    "flat": "a flat top",
    "round": "a rounded hood",
    "gable": "a pointed hood",
    "finial": "a finial on top",
}

FEET = {"none": 1.0, "ball": 1.0, "block": 1.0, "splayed": 1.0}

FEET_WORDS = {"ball": "ball feet", "block": "block feet", "splayed": "splayed legs"}

ARCH_WORDS = {
    "flat": "a straight case on a plinth",
    "round": "an arched case on a plinth",
    "gable": "a pointed case on a plinth",
    "finial": "an arched case on a plinth",
}
SQUARE_WORDS = {"round": "soft corners", "gable": "a pointed hood"}
TICKS = {"bars": 1.0, "dots": 1.0, "quarters": 1.0, "romans": 0.8}

TICK_WORDS = {"dots": "dots for hours", "quarters": "four hour marks", "romans": "roman hours"}

HANDS = {"bar": 1.0, "leaf": 1.0, "spade": 1.0}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a clock."""
    form = pick(rng, FORMS)
    values = {
        "form": form,
        "radius": between(rng, 0.1, 0.15),
        "margin": between(rng, 0.02, 0.055),
        "depth": between(rng, 0.07, 0.15),
        "height": between(rng, 0.0, 1.0),
        "spread": between(rng, 0.0, 1.0),
        "top": pick(rng, TOPS),
        "feet": pick(rng, FEET),
        "ticks": pick(rng, TICKS),
        "hands": pick(rng, HANDS),
        "corners": pick(rng, {"round": 1.0, "eight": 0.7}),
        "rim": between(rng, 0.006, 0.017),
        "minute": between(rng, 0.0, 360.0),
        "hour": between(rng, 0.0, 360.0),
        "rays": chance(rng, 0.35),
    }
    return Shape(kind="clock", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    form = str(values["form"])
    top = str(values["top"])
    words = [FORM_WORDS[form] if form != "arch" else ARCH_WORDS[top]]
    if form == "longcase" or (form in ("arch", "square") and top == "finial"):
        words.append(TOP_WORDS[top])
    elif form == "square" and top in SQUARE_WORDS:
        words.append(SQUARE_WORDS[top])
    if form == "post" and values["rays"]:
        words.append("sunburst rays")
    if form in ("arch", "hump", "egg", "square", "alarm") and values["feet"] != "none":
        words.append(FEET_WORDS[str(values["feet"])])
    if values["corners"] == "eight" and form not in ("alarm", "post", "egg"):
        words.append("an eight-sided dial")
    if len(words) < 3 and values["ticks"] != "bars":
        words.append(TICK_WORDS[str(values["ticks"])])
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a clock."""
    v = Values(shape.values)
    clock = Assembly("case", "dial", "hands", "trim")
    CASES[v.text("form")](clock, v)
    return clock.parts()


COLOURWAYS = (
    colourway(
        {"case": "walnut wood", "dial": "white ceramic", "trim": "gold metal"}, hands="black metal"
    ),
    colourway(
        {"case": "red metal", "dial": "beige ceramic", "trim": "silver metal"}, hands="black metal"
    ),
    colourway(
        {"case": "teal plastic", "dial": "white plastic", "trim": "orange plastic"},
        hands="navy metal",
    ),
    colourway(
        {"case": "oak wood", "dial": "navy ceramic", "trim": "copper metal"}, hands="white metal"
    ),
    colourway(
        {"case": "white marble", "dial": "black ceramic", "trim": "gold metal"}, hands="gold metal"
    ),
    colourway(
        {"case": "pink plastic", "dial": "yellow plastic", "trim": "white plastic"},
        hands="purple plastic",
    ),
    colourway(
        {"case": "black metal", "dial": "green ceramic", "trim": "gold metal"}, hands="white metal"
    ),
    colourway(
        {"case": "blue ceramic", "dial": "grey metal", "trim": "white ceramic"}, hands="black metal"
    ),
)

KIND = Kind(
    name="clock",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-40, 40),
    elevations=(5, 25),
)
