"""Cars, a little toy-like: hatchbacks to pickups.

Parts: body, roof, windows, wheels and trim (bumpers, lights, hubs, grille).
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue.kinds.car_body import bed, cabin, cockpit, fenders, lower
from assets.catalogue.kinds.car_fittings import FITTED, door_fittings, front_and_tail, wheels
from assets.catalogue.kinds.car_plan import STYLES, Plan
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.lofts import Assembly, box, chance
from assets.catalogue.model import Kind, Part, Shape, Value

EXTRAS = {"none": 1.0, "rack": 1.0, "spoiler": 0.8, "spare": 0.8, "sunroof": 0.7}

EXTRA_WORDS = {
    "rack": "a roof rack",
    "spoiler": "a rear spoiler",
    "spare": "a spare wheel on the tail",
    "sunroof": "a sunroof",
}

LIGHTS = {"round": 1.2, "square": 1.0, "tall": 0.6}

BUMPERS = {"bar": 1.0, "soft": 1.0, "split": 0.6}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a car."""
    style = pick(rng, dict.fromkeys(STYLES, 1.0))
    extras = dict(EXTRAS)
    if style in ("convertible", "pickup"):
        extras = {"none": 1.0, "spare": 0.6}
    values = {
        "style": style,
        "length": between(rng, *STYLES[style].length),
        "width": between(rng, 0.5, 0.6),
        "belt": between(rng, 0.9, 1.12),
        "cabin": between(rng, 0.82, 1.3),
        "wheel": between(rng, 0.85, 1.18),
        "shift": between(rng, -0.035, 0.035),
        "slope": between(rng, -0.03, 0.03),
        "extra": pick(rng, extras),
        "lights": pick(rng, LIGHTS),
        "bumper": pick(rng, BUMPERS),
        "flares": chance(rng, 0.5),
        "doors": int(rng.integers(1, 3)),
        "softness": between(rng, 0.04, 0.085),
        "bars": int(rng.integers(2, 6)),
    }
    return Shape(kind="car", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    words = [STYLES[str(values["style"])].words]
    if values["extra"] != "none":
        words.append(EXTRA_WORDS[str(values["extra"])])
    elif values["flares"]:
        words.append("flared wheel arches")
    if float(values["wheel"]) > 1.06:
        words.append("big wheels")
    elif values["lights"] == "round":
        words.append("round headlights")
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a car."""
    v = Values(shape.values)
    plan = Plan(v)
    car = Assembly("body", "roof", "windows", "wheels", "trim")
    car.add(
        "body",
        lower(plan),
        box(
            (plan.width * 0.5, plan.wheel, 0.86 * plan.length),
            (0, plan.floor + plan.wheel / 2, 0),
            0.01,
        ),
    )
    wheels(car, plan)
    match v.text("style"):
        case "convertible":
            cockpit(car, plan)
        case "pickup":
            cabin(car, plan)
            bed(car, plan)
        case "beetle":
            cabin(car, plan)
            fenders(car, plan)
        case _:
            cabin(car, plan)
    front_and_tail(car, v, plan)
    door_fittings(car, v, plan)
    FITTED[v.text("extra")](car, plan)
    return car.parts()


COLOURWAYS = (
    colourway(
        {"body": "red metal", "roof": "white metal"},
        windows="black ceramic",
        wheels="black plastic",
        trim="silver metal",
    ),
    colourway(
        {"body": "blue metal", "roof": "blue metal", "wheels": "black plastic"},
        windows="grey ceramic",
        trim="silver metal",
    ),
    colourway(
        {"body": "yellow plastic", "roof": "black plastic", "wheels": "black plastic"},
        windows="navy ceramic",
        trim="white plastic",
    ),
    colourway(
        {"body": "green metal", "roof": "beige fabric", "wheels": "black plastic"},
        windows="black ceramic",
        trim="gold metal",
    ),
    colourway(
        {"body": "oak wood", "roof": "walnut wood", "wheels": "red wood"},
        windows="white ceramic",
        trim="red wood",
    ),
    colourway(
        {"body": "pink metal", "roof": "purple metal", "wheels": "white plastic"},
        windows="black ceramic",
        trim="silver metal",
    ),
    colourway(
        {"body": "teal metal", "roof": "checked white fabric", "wheels": "brown plastic"},
        windows="black ceramic",
        trim="silver metal",
    ),
    colourway(
        {"body": "orange plastic", "roof": "navy plastic", "wheels": "grey plastic"},
        windows="grey ceramic",
        trim="yellow plastic",
    ),
)

KIND = Kind(
    name="car",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(28, 80),
    elevations=(8, 28),
    synonyms=("toy car",),
)
