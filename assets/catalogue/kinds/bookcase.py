"""Bookcases: framed, ladder, stepped, open, tiered and snaking ones.

Parts: frame, shelves, books, pages and, where there are any, doors (or drawers).
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue.kinds.bookcase_frames import framed
from assets.catalogue.kinds.bookcase_open import ladder, posts, snake, steps, tiers
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.lofts import Assembly, chance
from assets.catalogue.model import Kind, Part, Shape, Value

FORMS = {"framed": 3.2, "ladder": 1.0, "steps": 1.0, "posts": 1.0, "snake": 0.9, "tiers": 0.8}

OUTLINES = {
    "square": 1.0,
    "arch": 1.0,
    "gable": 1.0,
    "round": 0.7,
    "rounded": 0.8,
    "tapering": 0.8,
    "cornice": 1.0,
}

OUTLINE_WORDS = {
    "square": "a plain upright frame",
    "arch": "an arched top",
    "gable": "a pointed house-shaped top",
    "round": "a round frame",
    "rounded": "rounded corners",
    "tapering": "a frame narrowing to the top",
    "cornice": "a heavy cornice",
}

FORM_WORDS = {
    "ladder": "a leaning ladder frame",
    "steps": "stepped cubes like stairs",
    "posts": "slender open posts",
    "snake": "a snaking zigzag of shelves",
    "tiers": "wide shelves narrowing upwards",
}

COUNT_WORDS = {
    1: "one shelf",
    2: "two shelves",
    3: "three shelves",
    4: "four shelves",
    5: "five shelves",
    6: "six shelves",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a bookcase."""
    form = pick(rng, FORMS)
    levels = int(rng.integers(2, 7))
    steps_up = chance(rng, 0.5)
    values = {
        "form": form,
        "outline": pick(rng, OUTLINES),
        "width": between(rng, 0.62, 1.25),
        "clearance": between(rng, 0.27, 0.38),
        "depth": between(rng, 0.26, 0.34),
        "board": between(rng, 0.026, 0.044),
        "levels": levels,
        "columns": int(rng.integers(1, 4)),
        "base": pick(rng, {"none": 1.6, "doors": 1.0, "drawers": 1.0}),
        "feet": pick(rng, {"none": 1.0, "plinth": 1.0, "legs": 1.2}),
        "back": chance(rng, 0.55),
        "brace": chance(rng, 0.5),
        "rising": steps_up,
        "fill": between(rng, 0.45, 1.0),
        "seed": int(rng.integers(0, 2**31)),
    }
    return Shape(kind="bookcase", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    form, outline, base = str(values["form"]), str(values["outline"]), str(values["base"])
    words = [OUTLINE_WORDS[outline] if form == "framed" else FORM_WORDS[form]]
    words.append(COUNT_WORDS[int(values["levels"])])
    if form == "framed" and outline != "round" and base != "none":
        words.append(f"{base} below")
    elif form == "framed" and not values["back"]:
        words.append("an open back")
    elif form == "framed" and values["feet"] == "legs":
        words.append("short legs")
    elif form == "posts" and values["brace"]:
        words.append("crossed braces")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a bookcase."""
    v = Values(shape.values)
    case = Assembly("frame", "shelves", "books", "pages", "doors")
    _BUILDERS[v.text("form")](case, v, np.random.default_rng(v.count("seed")))
    return case.parts()


_BUILDERS = {
    "framed": framed,
    "ladder": ladder,
    "steps": steps,
    "posts": posts,
    "snake": snake,
    "tiers": tiers,
}

COLOURWAYS = (
    colourway(
        {"frame": "oak wood", "books": "navy fabric", "shelves": "oak wood"},
        pages="beige fabric",
        doors="white wood",
    ),
    colourway(
        {"frame": "white wood", "books": "red leather", "shelves": "grey wood"},
        pages="beige fabric",
        doors="white wood",
    ),
    colourway(
        {"frame": "walnut wood", "books": "green leather"},
        shelves="walnut wood",
        pages="white fabric",
        doors="walnut wood",
    ),
    colourway(
        {"frame": "black metal", "shelves": "oak wood", "books": "orange fabric"},
        pages="white fabric",
        doors="oak wood",
    ),
    colourway(
        {"frame": "teal wood", "books": "pink fabric", "shelves": "white wood"},
        pages="white fabric",
        doors="teal wood",
    ),
    colourway(
        {"frame": "yellow plastic", "books": "blue plastic", "shelves": "white plastic"},
        pages="white fabric",
        doors="white plastic",
    ),
    colourway(
        {"frame": "navy wood", "books": "striped beige fabric", "shelves": "walnut wood"},
        pages="white fabric",
        doors="walnut wood",
    ),
    colourway(
        {"frame": "brown wicker", "books": "purple leather", "shelves": "black metal"},
        pages="beige fabric",
        doors="beige wicker",
    ),
)

KIND = Kind(
    name="bookcase",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-45, 45),
    elevations=(6, 24),
    synonyms=("bookshelf",),
)
