"""Sailboats on a cradle or on their own flat bottom.

Parts: hull, sails, mast (all spars), deck (with the cabin) and trim.
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.hulls import Hull, put_hulls
from assets.catalogue.kinds.lofts import Assembly, box, chance
from assets.catalogue.kinds.rigs import SET, Rig
from assets.catalogue.model import Kind, Part, Shape, Value

HULLS = {"dinghy": 1.0, "clipper": 1.0, "double": 1.0, "tub": 0.9, "cat": 0.8, "longship": 0.8}

HULL_WORDS = {
    "dinghy": "a straight-sterned hull",
    "clipper": "a sleek hull with a bowsprit",
    "double": "a hull pointed at both ends",
    "tub": "a short tubby hull",
    "cat": "twin hulls",
    "longship": "high curling ends",
}

RIGS = {
    "bermuda": 0.8,
    "sloop": 1.2,
    "gaff": 1.0,
    "square": 0.9,
    "lateen": 0.9,
    "junk": 1.0,
    "ketch": 1.0,
    "schooner": 1.0,
    "spinnaker": 0.9,
}

RIG_WORDS = {
    "bermuda": "one triangular sail",
    "sloop": "a mainsail and a jib",
    "gaff": "a four-cornered gaff sail",
    "square": "a broad square sail",
    "lateen": "a slanting lateen sail",
    "junk": "battened junk sails",
    "ketch": "two masts with triangular sails",
    "schooner": "two masts with gaff sails",
    "spinnaker": "a billowing spinnaker",
}

TWIN_WORDS = {
    "gaff": "a four-cornered gaff sail and a jib",
    "square": "two square sails, one above the other",
    "junk": "two masts with battened junk sails",
    "ketch": "two masts with triangular sails and a jib",
    "schooner": "two masts with gaff sails and a jib",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a sailboat."""
    values = {
        "hull": pick(rng, HULLS),
        "rig": pick(rng, RIGS),
        "length": between(rng, 0.75, 1.1),
        "beam": between(rng, 0.14, 0.19),
        "depth": between(rng, 0.11, 0.17),
        "sheer": between(rng, 0.03, 0.1),
        "mast": between(rng, 0.9, 1.35),
        "place": between(rng, -0.04, 0.08),
        "belly": between(rng, 0.05, 0.12),
        "boom": between(rng, 4.0, 20.0),
        "rake": between(rng, 0.0, 0.06),
        "twin": chance(rng, 0.5),
        "house": pick(rng, {"none": 1.0, "cabin": 1.2, "cuddy": 0.8}),
        "flag": chance(rng, 0.5),
        "keel": chance(rng, 0.5),
        "jib": between(rng, 0.55, 0.95),
    }
    return Shape(kind="sailboat", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    rig = str(values["rig"])
    words = [TWIN_WORDS[rig] if values["twin"] and rig in TWIN_WORDS else RIG_WORDS[rig]]
    words += [HULL_WORDS[str(values["hull"])]]
    if values["house"] == "cabin" and values["hull"] != "cat":
        words.append("a cabin")
    elif values["flag"]:
        words.append("a pennant")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a sailboat."""
    v = Values(shape.values)
    boat = Assembly("hull", "sails", "mast", "deck", "trim")
    hull = Hull.of(v)
    lift = put_hulls(boat, v, hull)
    rig = Rig(
        boat=boat, v=v, hull=hull, deck=lift + hull.depth, bend=float(np.radians(v.num("boom")))
    )
    SET[v.text("rig")](rig)
    if v.text("hull") != "cat":
        _house(boat, v, rig)
    return boat.parts()


def _house(boat: Assembly, v: Values, rig: "Rig") -> None:
    kind, hull = v.text("house"), rig.hull
    if kind == "none":
        for z in (-0.12, -0.28):
            boat.add(
                "trim",
                box(
                    (1.5 * hull.beam * (0.95 if z > -0.2 else 0.8), 0.018, 0.055),
                    (0, rig.deck + 0.018, z * hull.length),
                    0.005,
                ),
            )
        return
    long = (0.26 if kind == "cabin" else 0.17) * hull.length
    tall = 0.085 if kind == "cabin" else 0.055
    z = -0.16 * hull.length if v.text("rig") not in ("ketch", "schooner") else -0.02
    boat.add("deck", box((1.12 * hull.beam, tall, long), (0, rig.deck + tall / 2, z), 0.018))
    boat.add("trim", box((1.2 * hull.beam, 0.014, long + 0.03), (0, rig.deck + tall, z), 0.006))
    count = 3 if kind == "cabin" else 2
    for side in (-1, 1):
        for k in range(count):
            position = (
                side * 0.56 * hull.beam,
                rig.deck + 0.55 * tall,
                z + ((k + 0.5) / count - 0.5) * 0.8 * long,
            )
            boat.add("trim", mesh.cylinder(0.017, 0.012, position, "x", 0.003))


COLOURWAYS = (
    colourway(
        {"hull": "navy wood", "sails": "white fabric", "mast": "oak wood"},
        deck="oak wood",
        trim="red plastic",
    ),
    colourway(
        {"hull": "red plastic", "sails": "striped yellow fabric", "mast": "white plastic"},
        deck="white plastic",
        trim="blue plastic",
    ),
    colourway(
        {"hull": "walnut wood", "sails": "beige fabric", "mast": "walnut wood"},
        deck="oak wood",
        trim="gold metal",
    ),
    colourway(
        {"hull": "white plastic", "sails": "orange fabric", "mast": "silver metal"},
        deck="grey plastic",
        trim="navy plastic",
    ),
    colourway(
        {"hull": "green wood", "sails": "brown fabric", "mast": "oak wood"},
        deck="beige wood",
        trim="gold metal",
    ),
    colourway(
        {"hull": "teal metal", "sails": "pink fabric", "mast": "white wood"},
        deck="white wood",
        trim="yellow plastic",
    ),
    colourway(
        {"hull": "black wood", "sails": "striped red fabric", "mast": "brown wood"},
        deck="oak wood",
        trim="gold metal",
    ),
    colourway(
        {"hull": "yellow plastic", "sails": "purple fabric", "mast": "grey metal"},
        deck="blue plastic",
        trim="white plastic",
    ),
)

KIND = Kind(
    name="sailboat",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(40, 105),
    elevations=(5, 22),
    synonyms=("sailing boat",),
)
