"""Teapots: nine bodies, four spouts, five handles at the side or over the top, lids and knobs."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import Points, RingSection
from assets.catalogue.kinds.ware import Number, Pair, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius of 1, height of 1); the last is the mouth.
BODIES = {
    "round": ((0.55, 0), (0.88, 0.18), (1, 0.48), (0.84, 0.8), (0.5, 1)),
    "squat": ((0.7, 0), (0.96, 0.22), (1, 0.45), (0.84, 0.8), (0.45, 1)),
    "tall": ((0.8, 0), (0.96, 0.12), (0.9, 0.4), (0.7, 0.75), (0.56, 1)),
    "pear": ((0.7, 0), (0.98, 0.16), (1, 0.32), (0.7, 0.66), (0.48, 1)),
    "cylindrical": ((0.95, 0), (1, 0.06), (1, 0.5), (0.98, 0.86), (0.9, 0.95), (0.62, 1)),
    "conical": ((1, 0), (0.96, 0.08), (0.76, 0.5), (0.5, 1)),
    "shouldered": ((0.55, 0), (0.7, 0.25), (0.92, 0.62), (1, 0.78), (0.86, 0.92), (0.5, 1)),
    "waisted": ((0.95, 0), (0.9, 0.15), (0.72, 0.5), (0.86, 0.8), (0.6, 1)),
    "apple": ((0.45, 0), (0.8, 0.15), (1, 0.55), (0.92, 0.82), (0.55, 1)),
}
HEIGHTS = {  # over the half width
    "round": (1.4, 1.75),
    "squat": (0.85, 1.15),
    "tall": (2.2, 3.0),
    "pear": (1.7, 2.3),
    "cylindrical": (1.1, 1.9),
    "conical": (1.3, 2.1),
    "shouldered": (1.3, 1.8),
    "waisted": (1.4, 1.9),
    "apple": (1.3, 1.7),
}
SURFACES = {
    "plain": "",
    "hexagonal": "six flat sides",
    "octagonal": "eight flat sides",
    "ribbed": "a ribbed body",
    "square": "a square body",
    "lobed": "a lobed body",
}
SPOUTS = ("short", "swan-neck", "straight", "long curved")
HANDLES = {
    "ear": "an ear handle",
    "D": "a D handle",
    "square": "a square handle",
    "arched": "an arched top handle",
    "angular": "an angular top handle",
}
LIDS = ("flat", "domed", "high")
KNOBS = ("ball", "disc", "spire", "ring")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a teapot."""
    body, spout = ware.pick(rng, tuple(BODIES)), ware.pick(rng, SPOUTS)
    surface = ware.pick(rng, tuple(SURFACES), (7, 2, 2, 2, 2, 2))
    handle, lid = ware.pick(rng, tuple(HANDLES)), ware.pick(rng, LIDS)
    values = {
        "body": body,
        "spout": spout,
        "surface": surface,
        "handle": handle,
        "lid": lid,
        "knob": ware.pick(rng, KNOBS),
        "radius": ware.between(rng, 0.19, 0.25),
        "height": ware.between(rng, *HEIGHTS[body]),
        "side": int(rng.choice([-1, 1])),
        "reach": ware.between(rng, 0.85, 1.25),
        "arch": ware.between(rng, 0.75, 1.15),
        "lobes": int(rng.integers(7, 12)),
        "foot": ware.between(rng, 0.0, 0.06),
        "mouth": ware.between(rng, 0.85, 1.1),
    }
    words = (
        with_article(f"{body} body"),
        SURFACES[surface] or with_article(f"{spout} spout"),
        HANDLES[handle],
    )
    return Shape(kind="teapot", values=values, words=words)


def _section(shape: Shape, low: Number, high: Number) -> RingSection:
    lobes = int(number(shape, "lobes"))
    fade = (low + 0.7 * (high - low), high)
    match text(shape, "surface"):
        case "hexagonal":
            return RingSection(facets=6).fading(*fade)
        case "octagonal":
            return RingSection(facets=8).fading(*fade)
        case "ribbed":
            return RingSection(flutes=2 * lobes, depth=0.05).fading(*fade)
        case "square":
            return RingSection(squareness=4.5).fading(*fade)
        case "lobed":
            return RingSection(flutes=lobes, depth=0.11, sharp=True).fading(*fade)
        case _:
            return turned.ROUND


def _spout(shape: Shape, outer: Points, section: RingSection) -> trimesh.Trimesh:
    low, high = float(outer[0, 1]), float(outer[-1, 1])
    size, deep, far = number(shape, "radius"), high - low, number(shape, "reach")

    def root(fraction: Number) -> Pair:
        y = low + fraction * deep
        return section.reach(outer, y, 90) - 0.12 * size, y

    match text(shape, "spout"):
        case "short":
            start = root(0.6)
            path = [
                start,
                (start[0] + 0.3 * size, start[1] + 0.06 * size),
                (start[0] + 0.42 * far * size, max(high, start[1] + 0.4 * size)),
            ]
            radii = [(0.26, 0.26), (0.17, 0.17), (0.13, 0.11)]
        case "swan-neck":
            start = root(0.3)
            x, y = start
            path = [
                start,
                (x + 0.45 * size, y - 0.02 * deep),
                (x + 0.5 * far * size, y + 0.35 * deep),
                (x + 0.56 * far * size, high + 0.02 * deep),
                (x + 0.86 * far * size, high + 0.12 * deep),
            ]
            radii = [(0.28, 0.3), (0.19, 0.2), (0.12, 0.12), (0.1, 0.09)]
        case "straight":
            start = root(0.42)
            path = [
                start,
                (start[0] + 0.4 * far * size, 0.5 * (start[1] + high)),
                (start[0] + 0.8 * far * size, high + 0.06 * deep),
            ]
            radii = [(0.25, 0.27), (0.17, 0.17), (0.1, 0.1)]
        case _:
            start = root(0.35)
            x, y = start
            path = [
                start,
                (x + 0.7 * far * size, y),
                (x + 0.9 * far * size, 0.5 * (y + high)),
                (x + 1.0 * far * size, high + 0.1 * deep),
            ]
            radii = [(0.26, 0.28), (0.18, 0.18), (0.12, 0.12), (0.1, 0.1)]
    return turned.arched(np.asarray(path), np.asarray(radii) * size, hollow=0.72)


def _handle(shape: Shape, outer: Points, section: RingSection, wall: Number) -> trimesh.Trimesh:
    low, high = float(outer[0, 1]), float(outer[-1, 1])
    size, deep, arch = number(shape, "radius"), high - low, number(shape, "arch")

    def at(fraction: Number) -> Pair:
        y = low + fraction * deep
        return section.reach(outer, y, 90) - 0.6 * wall, y

    top, bottom = at(0.8), at(0.28)
    out = max(top[0], bottom[0], at(0.5)[0]) + 0.62 * arch * size
    radii, times = np.array((0.085, 0.065)) * size, 3
    match text(shape, "handle"):
        case "ear":
            path = [
                top,
                (top[0] + 0.15 * size, top[1] + 0.3 * deep),
                (out * 1.1, top[1] + 0.3 * deep),
                (out, bottom[1] + 0.2 * deep),
                bottom,
            ]
        case "D":
            path = [top, (out, top[1] + 0.06 * deep), (out, bottom[1] - 0.06 * deep), bottom]
        case "square":
            c = 0.12 * deep
            path = [
                top,
                (out - c, top[1]),
                (out, top[1]),
                (out, top[1] - c),
                (out, bottom[1] + c),
                (out, bottom[1]),
                (out - c, bottom[1]),
                bottom,
            ]
            times = 2
        case "arched":
            end, peak = at(0.85), high + (0.35 + 0.75 * arch) * size
            path = [
                end,
                (end[0] + 0.2 * size, 0.6 * high + 0.4 * peak),
                (0.75 * end[0], peak + 0.12 * size),
                (-0.75 * end[0], peak + 0.12 * size),
                (-end[0] - 0.2 * size, 0.6 * high + 0.4 * peak),
                (-end[0], end[1]),
            ]
        case _:
            end, peak = at(0.85), high + (0.35 + 0.65 * arch) * size
            c = 0.1 * size
            half = [
                end,
                (end[0] + 0.06 * size, peak - c),
                (end[0] + 0.06 * size, peak),
                (end[0] - c, peak),
            ]
            path = [*half, *((-x, y) for x, y in reversed(half))]
            times = 2
    handle = turned.arched(np.asarray(path), radii, times=times)
    return mesh.rotated(handle, 180)


def _lid(shape: Shape, outer: Points, wall: Number) -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    size, r = number(shape, "radius"), float(outer[-1, 0]) + 0.03 * number(shape, "radius")
    y = float(outer[-1, 1]) + 0.2 * wall
    rise = {"flat": 0.07, "domed": 0.24, "high": 0.46}[text(shape, "lid")] * size
    lip = [(r, y), (1.02 * r, y + 0.04 * size)]
    match text(shape, "lid"):
        case "flat":
            top = [(0.97 * r, y + 0.06 * size), (0.3 * r, y + rise)]
        case "domed":
            top = turned.smooth(
                [(0.9 * r, y + 0.09 * size), (0.62 * r, y + 0.75 * rise), (0.2 * r, y + rise)]
            )
        case _:
            top = turned.smooth(
                [
                    (0.86 * r, y + 0.09 * size),
                    (0.55 * r, y + 0.4 * rise),
                    (0.36 * r, y + 0.75 * rise),
                    (0.2 * r, y + rise),
                ]
            )
    lid = turned.loft(turned.solid(turned.chain(lip, top)))
    return lid, _knob(text(shape, "knob"), 0.12 * size, y + rise - 0.01 * size)


def _knob(style: str, r: Number, y: Number) -> trimesh.Trimesh:
    neck = turned.loft(turned.solid(turned.spindle("straight", y - 0.1 * r, y + 0.6 * r, 0.5 * r)))
    match style:
        case "ball":
            return mesh.merge([neck, turned.ball(1.05 * r, y + 1.3 * r)])
        case "disc":
            return mesh.merge([neck, turned.ball(1.45 * r, y + 0.9 * r, 0.4)])
        case "spire":
            line = turned.smooth(
                [
                    (0.6 * r, y),
                    (1.05 * r, y + 0.8 * r),
                    (0.5 * r, y + 1.5 * r),
                    (0.62 * r, y + 1.8 * r),
                    (0.12 * r, y + 2.9 * r),
                ]
            )
            return turned.loft(turned.solid(line, 0.1 * r))
        case _:
            angle = np.linspace(-np.pi, np.pi, 33)
            ring = np.stack(
                [1.0 * r * np.sin(angle), y + 1.35 * r - 1.0 * r * np.cos(angle)], axis=1
            )
            return mesh.merge([neck, turned.tube(ring, 0.3 * r)])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the body, the lid, the handle, the spout and the knob."""
    size = number(shape, "radius")
    start, high = number(shape, "foot"), number(shape, "height") * size
    knots = np.asarray(BODIES[text(shape, "body")]) * [size, high] + [0, start]
    knots[-1, 0] *= number(shape, "mouth")
    outer = turned.smooth(knots, 9)
    section, wall = _section(shape, start, start + high), 0.07 * size
    body = [turned.loft(turned.walled(outer, wall, wall), section)]
    if start > 0.015:
        radius = float(outer[0, 0])
        foot = turned.smooth(
            [(1.06 * radius, 0), (0.9 * radius, 0.5 * start), (0.98 * radius, start + 0.01)]
        )
        body.append(
            turned.loft(
                turned.solid(foot),
                RingSection(facets=section.facets, squareness=section.squareness),
            )
        )
    else:
        body = [mesh.moved(body[0], (0, -start, 0))]
        outer = outer - [0, start]
    lid, knob = _lid(shape, outer, wall)
    turn = 0 if number(shape, "side") > 0 else 180
    return (
        Part(name="body", mesh=mesh.merge(body), uv="cylinder"),
        Part(name="lid", mesh=lid, uv="cylinder"),
        Part(name="handle", mesh=mesh.rotated(_handle(shape, outer, section, wall), turn)),
        Part(name="spout", mesh=mesh.rotated(_spout(shape, outer, section), turn)),
        Part(name="knob", mesh=knob),
    )


def _ware(body: str, lid: str, handle: str | None = None, spout: str | None = None) -> Colourway:
    return ware.colourway(
        ("body", body), ("lid", lid), handle=handle or lid, spout=spout or body, knob=handle or lid
    )


KIND = Kind(
    name="teapot",
    sample=sample,
    build=build,
    colourways=(
        _ware("white ceramic", "blue ceramic"),
        _ware("black metal", "walnut wood"),
        _ware("teal glass", "oak wood"),
        _ware("green ceramic", "orange ceramic"),
        _ware("copper metal", "black plastic"),
        _ware("dotted red ceramic", "white ceramic"),
        _ware("purple ceramic", "gold metal"),
        _ware("yellow ceramic", "grey ceramic"),
    ),
    azimuths=(-32, 32),
    elevations=(8, 28),
)
