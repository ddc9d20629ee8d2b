"""Handbags: totes, satchels, buckets, clutches, doctor's bags and more.

Parts: body, trim (flaps, bands, pockets), handle, clasp and, where it shows, stitching.
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue.kinds.bag_bodies import BODIES
from assets.catalogue.kinds.bag_details import tassel
from assets.catalogue.kinds.bag_handles import CARRIES
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.lofts import Assembly, chance
from assets.catalogue.model import Kind, Part, Shape, Value

FORMS = {
    "tote": 1.2,
    "satchel": 1.2,
    "bucket": 1.0,
    "clutch": 0.9,
    "doctor": 1.0,
    "hobo": 0.9,
    "dome": 1.0,
    "barrel": 0.9,
    "saddle": 0.9,
    "basket": 0.8,
}

FORM_WORDS = {
    "tote": "an open top",
    "satchel": "a boxy body under a flap",
    "bucket": "a bucket-shaped body with a drawstring",
    "clutch": "a flat envelope body",
    "doctor": "a framed top like a doctor's bag",
    "hobo": "a slouching crescent body",
    "dome": "a domed body",
    "barrel": "a barrel-shaped body",
    "saddle": "a half-round saddle body",
    "basket": "a round basket body",
}

CARRY = {
    "tote": {"twin": 1.0, "long": 0.6},
    "satchel": {"single": 1.0, "long": 1.0},
    "bucket": {"single": 0.7, "long": 1.0, "chain": 0.5},
    "clutch": {"wrist": 1.0, "chain": 0.7},
    "doctor": {"twin": 1.0, "single": 1.0},
    "hobo": {"long": 1.0, "chain": 0.5},
    "dome": {"twin": 1.0, "single": 0.6},
    "barrel": {"twin": 1.0, "long": 0.6},
    "saddle": {"long": 1.0, "chain": 0.8, "single": 0.5},
    "basket": {"single": 1.0, "twin": 0.8},
}

CARRY_WORDS = {
    "twin": "two looped handles",
    "single": "one arched top handle",
    "long": "a long flat strap",
    "chain": "a chain strap",
    "wrist": "a wrist loop",
}

FLAPS = {"round": 1.0, "pointed": 1.0, "square": 1.0}

HANGING = ("tote", "bucket", "doctor", "dome", "basket")  # where a tassel finds a hold
CLOSED = ("satchel", "clutch", "saddle")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a handbag."""
    form = pick(rng, FORMS)
    values = {
        "form": form,
        "carry": pick(rng, CARRY[form]),
        "width": between(rng, 0.26, 0.42),
        "ratio": between(rng, 0.0, 1.0),
        "depth": between(rng, 0.09, 0.16),
        "flare": between(rng, -1.0, 1.0),
        "reach": between(rng, 0.0, 1.0),
        "flap": pick(rng, FLAPS),
        "drop": between(rng, 0.4, 0.85),
        "belts": int(rng.integers(0, 3)),
        "pocket": chance(rng, 0.45),
        "tassel": chance(rng, 0.35),
        "base": chance(rng, 0.6),
        "stud": chance(rng, 0.5),
    }
    return Shape(kind="handbag", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    form = str(values["form"])
    words = [FORM_WORDS[form], CARRY_WORDS[str(values["carry"])]]
    if form in CLOSED:
        words.append(f"a {values['flap']} flap")
    elif form in ("tote", "basket", "dome") and values["pocket"]:
        words.append("a front pocket")
    elif values["tassel"] and form in HANGING:
        words.append("a hanging tassel")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a handbag."""
    v = Values(shape.values)
    bag = Assembly("body", "trim", "handle", "clasp", "stitching")
    anchor = BODIES[v.text("form")](bag, v)
    CARRIES[v.text("carry")](bag, v, anchor)
    if v.flag("tassel") and v.text("form") in HANGING:
        tassel(bag, anchor)
    return bag.parts(body="cylinder" if v.text("form") in ("bucket", "basket") else "box")


COLOURWAYS = (
    colourway(
        {"body": "brown leather", "trim": "beige leather", "handle": "brown leather"},
        clasp="gold metal",
        stitching="beige fabric",
    ),
    colourway(
        {"body": "red leather", "trim": "black leather", "handle": "black leather"},
        clasp="gold metal",
        stitching="red fabric",
    ),
    colourway(
        {"body": "striped navy fabric", "trim": "white leather", "handle": "white leather"},
        clasp="silver metal",
        stitching="navy fabric",
    ),
    colourway(
        {"body": "beige wicker", "trim": "teal leather", "handle": "teal leather"},
        clasp="gold metal",
        stitching="white fabric",
    ),
    colourway(
        {"body": "pink leather", "trim": "purple leather", "handle": "pink leather"},
        clasp="silver metal",
        stitching="pink fabric",
    ),
    colourway(
        {"body": "checked yellow fabric", "trim": "brown leather", "handle": "brown leather"},
        clasp="copper metal",
        stitching="yellow fabric",
    ),
    colourway(
        {"body": "green leather", "trim": "orange leather", "handle": "green leather"},
        clasp="gold metal",
        stitching="green fabric",
    ),
    colourway(
        {"body": "black leather", "trim": "grey fabric", "handle": "silver metal"},
        clasp="silver metal",
        stitching="white fabric",
    ),
)

KIND = Kind(
    name="handbag",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-55, 55),
    elevations=(8, 28),
    synonyms=("bag", "purse"),
)
