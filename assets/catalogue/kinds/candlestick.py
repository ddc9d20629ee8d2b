"""Candlesticks: single, chamber, two- and three-armed and pillar, candles of all lengths."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import RingSection
from assets.catalogue.kinds.ware import Number, Pair, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

FORMS = {
    "single": (4, ""),
    "chamber": (2, "a dish with a ring handle"),
    "two-armed": (2, "two arms"),
    "three-armed": (2, "three arms"),
    "pillar": (2, "a wide plate"),
}
STEMS = (*turned.SPINDLES, "twisted", "square", "fluted")
BASES = ("disc", "domed", "stepped", "square", "hexagonal", "three feet")
ARMS = ("curved", "square", "straight")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a candlestick."""
    form = ware.pick(rng, tuple(FORMS), [odds for odds, _ in FORMS.values()])
    stem = ware.pick(rng, STEMS, [1] * len(turned.SPINDLES) + [2, 1, 1])
    base = "dish" if form == "chamber" else ware.pick(rng, BASES)
    arms = ware.pick(rng, ARMS)
    low, high = {"chamber": (0.05, 0.12), "pillar": (0.08, 0.3)}.get(form, (0.16, 0.42))
    length = ware.between(rng, low, high)
    values = {
        "form": form,
        "stem": stem,
        "base": base,
        "arms": arms,
        "length": length,
        "girth": ware.between(rng, 0.021, 0.031),
        "spread": ware.between(rng, 0.1, 0.14),
        "candle": ware.between(rng, 0.1, 0.34),
        "reach": ware.between(rng, 0.13, 0.2),
        "lift": ware.between(rng, -0.4, 0.9),
        "side": int(rng.choice([-1, 1])),
        "plate": ware.between(rng, 0.055, 0.075),
        "fat": ware.between(rng, 0.05, 0.075),
    }
    size = "tall " if length > 0.32 else ""
    words = [
        FORMS[form][1],
        with_article(f"{size}{stem} stem"),
        "three feet" if base == "three feet" else with_article(f"{base} base"),
    ]
    if "armed" in form:
        words[0] = f"{FORMS[form][1].split()[0]} {arms} arms"
    return Shape(kind="candlestick", values=values, words=tuple(word for word in words if word))


def _base(shape: Shape) -> tuple[trimesh.Trimesh, float]:
    """Return the base and the height of its top."""
    r, neck = number(shape, "spread"), 1.2 * number(shape, "girth")
    section, base = turned.ROUND, text(shape, "base")
    match base:
        case "disc":
            line = turned.smooth([(r, 0), (r, 0.02), (0.5 * r, 0.032), (neck, 0.045)])
        case "domed":
            line = turned.smooth(
                [
                    (r, 0),
                    (r, 0.016),
                    (0.88 * r, 0.022),
                    (0.7 * r, 0.06),
                    (0.35 * r, 0.085),
                    (neck, 0.095),
                ]
            )
        case "stepped":
            line = turned.chain(
                [
                    (r, 0),
                    (r, 0.026),
                    (0.76 * r, 0.028),
                    (0.76 * r, 0.054),
                    (0.52 * r, 0.056),
                    (0.52 * r, 0.082),
                    (neck, 0.086),
                ]
            )
        case "dish":
            return _dish(1.25 * r)
        case "three feet":
            return _tripod(r, neck)
        case _:
            section = (
                RingSection(squareness=9, full_at=0.03, round_at=0.09)
                if base == "square"
                else RingSection(facets=6, full_at=0.03, round_at=0.09)
            )
            line = turned.chain(
                [(r, 0), (r, 0.03)],
                turned.smooth([(0.86 * r, 0.036), (0.4 * r, 0.066), (neck, 0.09)]),
            )
    return turned.loft(turned.solid(line), section), float(line[-1, 1])


def _dish(r: Number) -> tuple[trimesh.Trimesh, float]:
    wall = turned.smooth([(0.7 * r, 0), (0.78 * r, 0.01), (0.96 * r, 0.035), (r, 0.055)])
    return turned.loft(turned.walled(wall, 0.012, 0.014)), 0.013


def _tripod(r: Number, neck: Number) -> tuple[trimesh.Trimesh, float]:
    path = [(0.4 * neck, 0.09), (0.45 * r, 0.12), (0.7 * r, 0.0145), (1.1 * r, 0.0145)]
    leg = turned.arched(np.asarray(path), [(0.018, 0.016), (0.014, 0.014)])
    hub = turned.solid(turned.smooth([(0.8 * neck, 0.06), (1.5 * neck, 0.09), (neck, 0.13)]))
    return mesh.merge(
        [turned.loft(hub), *(mesh.rotated(leg, angle) for angle in (30, 150, 270))]
    ), 0.128


def _stem(shape: Shape, low: Number, high: Number) -> trimesh.Trimesh:
    girth, style = number(shape, "girth"), text(shape, "stem")
    plain = turned.smooth(
        [(1.3 * girth, low), (1.15 * girth, 0.5 * (low + high)), (1.2 * girth, high)], 24
    )
    match style:
        case "twisted":
            return turned.loft(turned.solid(plain), RingSection(flutes=4, depth=0.34, twist=24.0))
        case "square":
            return turned.loft(turned.solid(plain), RingSection(squareness=9))
        case "fluted":
            return turned.loft(
                turned.solid(plain * [1.25, 1]), RingSection(flutes=10, depth=0.16, sharp=True)
            )
        case _:
            return turned.loft(turned.solid(turned.spindle(style, low, high, girth)))


def _arm(shape: Shape, y: Number) -> tuple[trimesh.Trimesh, Pair]:
    """Return the arm towards +x that leaves the stem at height `y`, and where its cup stands."""
    out, thick = number(shape, "reach"), 0.62 * number(shape, "girth")
    top = y + 0.06 + 0.05 * max(number(shape, "lift"), 0)
    match text(shape, "arms"):
        case "curved":
            path = [
                (0, y),
                (0.4 * out, y - 0.09),
                (1.0 * out, y - 0.09),
                (out, y - 0.02),
                (out, top),
            ]
        case "square":
            path = [(0, y), (out - 0.015, y), (out, y), (out, y + 0.015), (out, top)]
        case _:
            path = [(0, y - 0.05), (0.9 * out, top - 0.03), (out, top - 0.015), (out, top)]
    return turned.arched(np.asarray(path), thick), (out, top)


def _cup(girth: Number, y: Number, r: Number) -> trimesh.Trimesh:
    """Return a socket with its drip pan, `y` the height where it stands."""
    line = turned.smooth(
        [(0.55 * girth, y - 0.006), (0.9 * girth, y + 0.008), (r, y + 0.016), (1.02 * r, y + 0.024)]
    )
    socket = turned.smooth([(0.032, y + 0.012), (0.036, y + 0.03), (0.034, y + 0.055)])
    return mesh.merge([turned.loft(turned.solid(line)), turned.loft(turned.solid(socket))])


def _candle(r: Number, y: Number, length: Number) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    """Return the candle standing at height `y`, and its wick."""
    line = turned.smooth([(r, y), (0.99 * r, y + 0.5 * length), (0.94 * r, y + length)])
    path = np.array(
        [(0, y + length - 0.01), (0.001, y + length + 0.012), (0.005, y + length + 0.026)]
    )
    return turned.loft(turned.solid(line, 0.3 * r)), turned.tube(path, 0.0045)


def _places(shape: Shape, high: Number) -> tuple[list[trimesh.Trimesh], list[Pair]]:
    """Return the arms and where the cups stand, as (x, height)."""
    if "armed" not in text(shape, "form"):
        return [], [(0.0, high)]
    arm, (x, y) = _arm(shape, high - 0.035)
    spots = [(x, y), (-x, y)]
    if text(shape, "form") == "three-armed":
        spots.append((0.0, high))
    return [arm, mesh.rotated(arm, 180)], spots


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the base, the stem with its arms, the cups, the candles and their wicks."""
    base, low = _base(shape)
    girth, form = number(shape, "girth"), text(shape, "form")
    high = low + number(shape, "length") + (0.12 if form == "three-armed" else 0.0)
    arms, spots = _places(shape, high)
    stem = [_stem(shape, low - 0.008, high + 0.006), *arms]
    if form == "two-armed":
        stem.append(mesh.moved(turned.ball(1.2 * girth, 0), (0, high + 0.9 * girth, 0)))
    if form == "chamber":
        stem.append(_ring(shape))
    thick, pan, seat = 0.026, number(shape, "plate"), 0.05
    if form == "pillar":
        thick, seat = number(shape, "fat"), 0.022
        pan = 1.35 * thick
    cups = [_pan(y, pan) if form == "pillar" else _cup(girth, y, pan) for _, y in spots]
    candles = [
        _candle(thick, y + seat, number(shape, "candle") * (0.7 if form == "pillar" else 1))
        for _, y in spots
    ]

    def placed(meshes: list[trimesh.Trimesh]) -> trimesh.Trimesh:
        return mesh.merge(
            [mesh.moved(m, (x, 0, 0)) for m, (x, _) in zip(meshes, spots, strict=True)]
        )

    return (
        Part(name="stem", mesh=mesh.merge(stem), uv="cylinder"),
        Part(name="base", mesh=base, uv="cylinder"),
        Part(name="candle", mesh=placed([candle for candle, _ in candles]), uv="cylinder"),
        Part(name="cups", mesh=placed(cups), uv="cylinder"),
        Part(name="wicks", mesh=placed([wick for _, wick in candles])),
    )


def _pan(y: Number, r: Number) -> trimesh.Trimesh:
    line = turned.smooth(
        [(0.3 * r, y - 0.006), (0.7 * r, y + 0.006), (r, y + 0.02), (1.02 * r, y + 0.03)]
    )
    return turned.loft(turned.walled(line, 0.008, 0.022))


def _ring(shape: Shape) -> trimesh.Trimesh:
    edge, r = 1.25 * number(shape, "spread"), 0.042
    angle = np.linspace(-np.pi, np.pi, 33)[:, None]
    path = np.hstack([edge + 0.85 * r + r * np.cos(angle), 0.053 + r * np.sin(angle)])
    return mesh.rotated(turned.tube(path, (0.014, 0.009)), 0 if number(shape, "side") > 0 else 180)


def _ware(stem: str, candle: str, base: str | None = None, cups: str | None = None) -> Colourway:
    return ware.colourway(
        ("base", base or stem),
        ("candle", candle),
        stem=stem,
        cups=cups or stem,
        wicks="black fabric",
    )


KIND = Kind(
    name="candlestick",
    sample=sample,
    build=build,
    colourways=(
        _ware("silver metal", "red plastic"),
        _ware("gold metal", "white plastic"),
        _ware("walnut wood", "green plastic", cups="copper metal"),
        _ware("black metal", "orange plastic"),
        _ware("blue ceramic", "yellow plastic"),
        _ware("copper metal", "navy plastic"),
        _ware("green glass", "pink plastic"),
        _ware("white marble", "purple plastic", cups="gold metal"),
    ),
    azimuths=(-35, 35),
    elevations=(6, 24),
    synonyms=("candle holder",),
)
