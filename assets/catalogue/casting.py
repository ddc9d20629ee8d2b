"""The cast of a scene: a main object, its neighbours and bystanders, at matching sizes.

All of a scene are of different kinds and, together, fit the studio's slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from assets.catalogue.kinds import KINDS
from assets.catalogue.model import Finish
from assets.catalogue.plan import Design, camera_of
from assets.catalogue.scene import NUM_GLASSES, NUM_SURFACES

# The factor on a kind's own size that makes it go with the others of its setting.
FLOOR: dict[str, float] = {
    "chair": 1.0,
    "armchair": 1.0,
    "sofa": 0.85,
    "stool": 1.0,
    "bench": 0.95,
    "table": 1.0,
    "bookcase": 0.9,
    "cabinet": 0.85,
    "lamp": 1.05,
    "vase": 1.0,
    "car": 0.45,
}
TABLETOP: dict[str, float] = {
    "mug": 0.5,
    "teapot": 0.75,
    "bowl": 0.6,
    "bottle": 0.95,
    "vase": 0.95,
    "goblet": 0.75,
    "candlestick": 0.85,
    "lamp": 0.85,
    "handbag": 1.0,
    "car": 0.45,
    "sailboat": 0.6,
}
SETTINGS = (FLOOR, TABLETOP)
LARGE = ("armchair", "sofa", "bench", "table", "bookcase", "cabinet")  # never mere bystanders
MAX_TRIES = 200  # casts for a scene with so many bystanders

_T = TypeVar("_T")
Company = Mapping[str, Sequence[Design]]  # the designs that scenes may show, by kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """An object of a scene.

    Attributes:
        design: Its shape.
        colourway: What it wears.
        scale: Factor on the design's own size.
        turn: Degrees that it is turned away from how its own pictures show it.
    """

    design: Design
    colourway: int
    scale: float
    turn: float

    @property
    def azimuth(self) -> float:
        """From where it is seen, in degrees from its front."""
        return float(camera_of(self.design).azimuth + self.turn)

    @property
    def finish(self) -> Finish:
        """Its most conspicuous finish."""
        return KINDS[self.design.kind].colourways[self.colourway].finishes[0][1]


def settings_of(design: Design) -> list[dict[str, float]]:
    """Return where a design may appear; clocks, which may be of any size, appear nowhere."""
    return [setting for setting in SETTINGS if design.kind in setting]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """A main object, what it may stand beside in turn, and who else is there."""

    main: Thing
    neighbours: tuple[Thing, ...]
    bystanders: tuple[Thing, ...]


def cast(
    lead: Design,
    company: Company,
    num_neighbours: int,
    num_bystanders: int,
    rng: np.random.Generator,
) -> Cast:
    """Draw company until each scene fits the studio's slots, in the end with fewer bystanders."""
    for count in range(num_bystanders, -1, -1):
        for _ in range(MAX_TRIES):
            drawn = _draw(lead, company, num_neighbours, count, rng)
            if all(
                _fits((drawn.main, neighbour, *drawn.bystanders)) for neighbour in drawn.neighbours
            ):
                return drawn
    raise ValueError(f"No company of {lead.id} fits the studio. Draw from more designs.")


def _draw(
    lead: Design,
    company: Company,
    num_neighbours: int,
    num_bystanders: int,
    rng: np.random.Generator,
) -> Cast:
    """Return the main object and others of its setting, all of different kinds."""
    setting = any_of(settings_of(lead), rng)
    kinds = [kind for kind in setting if kind in company and kind != lead.kind]
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    small = [kind for kind in order[num_neighbours:] if kind not in LARGE]
    chosen = (*order[:num_neighbours], *small[:num_bystanders])
    main, *others = (
        thing_of(design, any_of(design.colourways, rng), setting[design.kind], rng)
        for design in (lead, *(any_of(company[kind], rng) for kind in chosen))
    )
    return Cast(
        main=main,
        neighbours=tuple(others[:num_neighbours]),
        bystanders=tuple(others[num_neighbours:]),
    )


def any_of(values: Sequence[_T], rng: np.random.Generator) -> _T:
    """Draw one of some values, all equally likely."""
    return values[int(rng.integers(len(values)))]


def thing_of(design: Design, colourway: int, scale: float, rng: np.random.Generator) -> Thing:
    """Return a design in a colourway, turned a little."""
    return Thing(design=design, colourway=colourway, scale=scale, turn=float(rng.uniform(-8, 8)))


def _fits(things: Sequence[Thing]) -> bool:
    worn = frozenset[Finish]().union(*(_worn(t.design.kind, t.colourway) for t in things))
    num_glasses = sum(finish.material == "glass" for finish in worn)
    return num_glasses <= NUM_GLASSES and len(worn) - num_glasses <= NUM_SURFACES


@lru_cache(maxsize=256)
def _worn(kind_name: str, colourway: int) -> frozenset[Finish]:
    chosen = KINDS[kind_name].colourways[colourway]
    return frozenset(finish for _, finish in (*chosen.finishes, *chosen.others))
