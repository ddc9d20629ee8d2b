"""Goblets: ten cups on eight families of turned stems and five bases."""

import numpy as np
import trimesh

from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import RingSection
from assets.catalogue.kinds.ware import Number, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius of 1, height of 1) above the stem.
CUPS = {
    "tulip": ((0.16, 0), (0.7, 0.12), (1, 0.42), (0.9, 0.72), (0.84, 1)),
    "round": ((0.16, 0), (0.78, 0.16), (1, 0.5), (0.92, 0.8), (0.78, 1)),
    "flute": ((0.16, 0), (0.7, 0.12), (0.9, 0.4), (1, 1)),
    "saucer": ((0.16, 0), (0.6, 0.18), (0.9, 0.5), (1, 1)),
    "cone": ((0.12, 0), (0.4, 0.33), (0.7, 0.66), (1, 1)),
    "bell": ((0.2, 0), (0.62, 0.1), (0.7, 0.4), (0.74, 0.7), (1, 1)),
    "thistle": ((0.16, 0), (0.66, 0.1), (0.7, 0.3), (0.5, 0.48), (0.75, 0.72), (1, 1)),
    "bucket": ((0.2, 0), (0.78, 0.06), (0.86, 0.2), (0.95, 0.6), (1, 1)),
    "chalice": ((0.2, 0), (0.86, 0.2), (0.97, 0.45), (0.92, 0.75), (1, 1)),
    "egg": ((0.16, 0), (0.7, 0.1), (1, 0.36), (0.9, 0.65), (0.62, 1)),
}
CUP_SIZES = {  # half width and height, metres
    "tulip": ((0.09, 0.12), (0.18, 0.26)),
    "round": ((0.11, 0.14), (0.18, 0.24)),
    "flute": ((0.06, 0.08), (0.26, 0.34)),
    "saucer": ((0.14, 0.18), (0.08, 0.13)),
    "cone": ((0.13, 0.17), (0.13, 0.2)),
    "bell": ((0.09, 0.13), (0.17, 0.26)),
    "thistle": ((0.09, 0.12), (0.2, 0.28)),
    "bucket": ((0.09, 0.12), (0.15, 0.22)),
    "chalice": ((0.12, 0.15), (0.14, 0.2)),
    "egg": ((0.1, 0.12), (0.2, 0.26)),
}
SURFACES = {
    "plain": "",
    "fluted": "fluted",
    "hexagonal": "six-sided",
    "ribbed": "ribbed",
    "twisted": "swirled",
}
BASES = {
    "disc": "a flat base",
    "stepped": "a stepped base",
    "domed": "a domed base",
    "trumpet": "a trumpet base",
    "hexagonal": "a six-sided base",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a goblet."""
    cup = ware.pick(rng, tuple(CUPS))
    stem = ware.pick(rng, tuple(turned.SPINDLES))
    base = ware.pick(rng, tuple(BASES))
    surface = ware.pick(rng, tuple(SURFACES), (6, 2, 2, 2, 1))
    radius, depth = (ware.between(rng, *limits) for limits in CUP_SIZES[cup])
    length = ware.between(rng, 0.08, 0.3)
    values = {
        "cup": cup,
        "stem": stem,
        "base": base,
        "surface": surface,
        "radius": radius,
        "depth": depth,
        "length": length,
        "girth": ware.between(rng, 0.014, 0.024),
        "spread": ware.between(rng, 0.085, 0.13),
        "flutes": int(rng.integers(9, 16)),
        "twist": ware.between(rng, 4.0, 8.0),
    }
    size = "tall " if length > 0.22 else "short " if length < 0.13 else ""
    words = (
        with_article(f"{SURFACES[surface]} {cup} cup".strip()),
        with_article(f"{size}{stem} stem"),
        BASES[base],
    )
    return Shape(kind="goblet", values=values, words=words)


def _section(shape: Shape, low: Number, high: Number) -> RingSection:
    flutes = int(number(shape, "flutes"))
    match text(shape, "surface"):
        case "fluted":
            return RingSection(
                flutes=flutes,
                depth=0.1,
                sharp=True,
                full_at=low + 0.5 * (high - low),
                round_at=low + 0.9 * (high - low),
            )
        case "hexagonal":
            return RingSection(facets=6)
        case "ribbed":
            return RingSection(flutes=flutes, depth=0.12)
        case "twisted":
            return RingSection(flutes=flutes, depth=0.12, twist=number(shape, "twist"))
        case _:
            return turned.ROUND


def _base(shape: Shape) -> tuple[trimesh.Trimesh, float]:
    """Return the base and the height of its top."""
    r, neck = number(shape, "spread"), 1.3 * number(shape, "girth")
    section = turned.ROUND
    match text(shape, "base"):
        case "disc":
            line = turned.smooth([(r, 0), (0.98 * r, 0.012), (0.5 * r, 0.022), (neck, 0.032)])
        case "stepped":
            line = turned.chain(
                [
                    (r, 0),
                    (r, 0.022),
                    (0.76 * r, 0.024),
                    (0.76 * r, 0.046),
                    (0.5 * r, 0.048),
                    (0.5 * r, 0.07),
                    (neck, 0.074),
                ]
            )
        case "domed":
            line = turned.smooth(
                [
                    (r, 0),
                    (r, 0.014),
                    (0.86 * r, 0.02),
                    (0.72 * r, 0.05),
                    (0.35 * r, 0.072),
                    (neck, 0.078),
                ]
            )
        case "trumpet":
            line = turned.smooth(
                [(r, 0), (0.98 * r, 0.012), (0.55 * r, 0.04), (0.3 * r, 0.08), (neck, 0.12)]
            )
        case _:
            section = RingSection(facets=6, full_at=0.02, round_at=0.08)
            line = turned.chain(
                [(1.08 * r, 0), (1.08 * r, 0.022)],
                turned.smooth([(0.95 * r, 0.028), (0.4 * r, 0.06), (neck, 0.08)]),
            )
    return turned.loft(turned.solid(line), section), float(line[-1, 1])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the cup, the stem and the base."""
    base, low = _base(shape)
    high = low + number(shape, "length")
    radius, depth = number(shape, "radius"), number(shape, "depth")
    stem = turned.spindle(text(shape, "stem"), low - 0.004, high + 0.006, number(shape, "girth"))
    outer = turned.smooth(np.asarray(CUPS[text(shape, "cup")]) * [radius, depth] + [0, high], 9)
    outer[0, 0] = max(outer[0, 0], float(stem[-1, 0]))
    wall = 0.06 * radius
    cup = turned.loft(turned.walled(outer, wall, 1.5 * wall), _section(shape, high, high + depth))
    return (
        Part(name="cup", mesh=cup, uv="cylinder"),
        Part(name="stem", mesh=turned.loft(turned.solid(stem, 0.002)), uv="cylinder"),
        Part(name="base", mesh=base, uv="cylinder"),
    )


def _ware(cup: str, stem: str, base: str | None = None) -> Colourway:
    return ware.colourway(("cup", cup), ("stem", stem), base=base or stem)


KIND = Kind(
    name="goblet",
    sample=sample,
    build=build,
    colourways=(
        _ware("pink glass", "green glass"),
        _ware("blue glass", "gold metal"),
        _ware("red glass", "silver metal"),
        _ware("gold metal", "walnut wood"),
        _ware("purple glass", "orange glass"),
        _ware("white ceramic", "navy ceramic"),
        _ware("silver metal", "black metal"),
        _ware("oak wood", "copper metal"),
    ),
    synonyms=("wine glass",),
)
