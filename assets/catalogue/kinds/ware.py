"""Sampling, reading and finishes of the shapes of turned kinds."""

from collections.abc import Sequence

import numpy as np

from assets.catalogue.model import Colourway, Finish, Shape

Number = float | int
Pair = tuple[Number, Number]


def colourway(*named: tuple[str, str], **others: str) -> Colourway:
    """Return a colourway from parts and finish phrases: ("body", "blue ceramic"), rim="..."."""
    # Named parts are pairs, the most conspicuous first; the other parts are keywords.
    return Colourway(
        finishes=tuple((name, finish(phrase)) for name, phrase in named),
        others=tuple((name, finish(phrase)) for name, phrase in others.items()),
    )


def finish(phrase: str) -> Finish:
    """Return the finish that a phrase of two or three words names: "[pattern] colour material"."""
    *pattern, colour, material = phrase.split()
    return Finish(colour=colour, material=material, pattern=pattern[0] if pattern else "plain")


def number(shape: Shape, key: str) -> float:
    """Return one of a shape's numbers."""
    return float(shape.values[key])


def text(shape: Shape, key: str) -> str:
    """Return one of a shape's words."""
    return str(shape.values[key])


def pick(
    rng: np.random.Generator, options: Sequence[str], weights: Sequence[Number] | None = None
) -> str:
    """Draw one of the options."""
    odds = None if weights is None else np.asarray(weights, dtype=float) / float(np.sum(weights))
    return str(rng.choice(np.asarray(options), p=odds))


def between(rng: np.random.Generator, low: Number, high: Number) -> float:
    """Draw a number, kept to four digits so that a shape reads well."""
    return round(float(rng.uniform(low, high)), 4)
