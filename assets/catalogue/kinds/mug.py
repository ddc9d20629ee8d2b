"""Mugs: ten bodies, seven handles, a dipped rim, sometimes a saucer or a lid."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import Points, RingSection
from assets.catalogue.kinds.ware import Number, Pair, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius of 1, height of 1).
BODIES = {
    "straight": ((0.95, 0), (1, 0.05), (1, 0.5), (1, 1)),
    "tapered": ((0.66, 0), (0.72, 0.1), (0.86, 0.55), (1, 1)),
    "bellied": ((0.62, 0), (0.92, 0.18), (1, 0.4), (0.84, 0.75), (0.84, 1)),
    "barrel": ((0.74, 0), (0.94, 0.2), (1, 0.5), (0.92, 0.8), (0.8, 1)),
    "footed": ((0.66, 0), (0.6, 0.06), (0.56, 0.12), (0.92, 0.32), (1, 0.6), (1, 1)),
    "waisted": ((0.92, 0), (0.84, 0.2), (0.7, 0.5), (0.84, 0.82), (1, 1)),
    "round": ((0.5, 0), (0.88, 0.14), (1, 0.45), (0.94, 0.75), (0.78, 1)),
    "flared": ((0.62, 0), (0.7, 0.12), (0.72, 0.5), (0.8, 0.8), (1, 1)),
    "stacking": ((0.66, 0), (0.7, 0.02), (0.72, 0.3), (0.76, 0.36), (0.98, 0.42), (1, 0.5), (1, 1)),
    "spreading": ((1, 0), (0.98, 0.1), (0.84, 0.55), (0.74, 1)),
}
SURFACES = {
    "plain": "",
    "square": "a square outline",
    "hexagonal": "six flat sides",
    "fluted": "a fluted wall",
    "ringed": "raised rings",
}
HANDLES = ("D", "ear", "square", "ring", "hook", "low loop", "pointed")
EXTRAS = {"none": "", "saucer": "a saucer", "lid": "a lid with a knob"}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a mug."""
    body, handle = ware.pick(rng, tuple(BODIES)), ware.pick(rng, HANDLES)
    surface = ware.pick(rng, tuple(SURFACES), (8, 2, 2, 2, 2))
    extra = ware.pick(rng, tuple(EXTRAS), (6, 2, 2))
    height = ware.between(rng, 0.24, 0.46)
    values = {
        "body": body,
        "handle": handle,
        "surface": surface,
        "extra": extra,
        "height": height,
        "radius": ware.between(rng, 0.13, 0.19),
        "side": int(rng.choice([-1, 1])),
        "rim": ware.between(rng, 0.07, 0.3),
        "span": ware.between(rng, 0.8, 1.15),
        "out": ware.between(rng, 0.7, 1.15),
        "flutes": int(rng.integers(12, 22)),
        "rings": int(rng.integers(3, 6)),
    }
    size = "tall " if height > 0.39 else "short " if height < 0.29 else ""
    words = (
        with_article(f"{size}{body} body"),
        with_article(f"{handle} handle"),
        SURFACES[surface],
        EXTRAS[extra],
    )
    return Shape(kind="mug", values=values, words=tuple(word for word in words if word)[:3])


def _section(shape: Shape) -> RingSection:
    match text(shape, "surface"):
        case "square":
            return RingSection(squareness=5)
        case "hexagonal":
            return RingSection(facets=6)
        case "fluted":
            return RingSection(flutes=int(number(shape, "flutes")), depth=0.05, sharp=True)
        case _:
            return turned.ROUND


def _handle(shape: Shape, outer: Points, section: RingSection, wall: Number) -> trimesh.Trimesh:
    high, size = number(shape, "height"), number(shape, "radius")
    base = float(outer[0, 1])
    middle = 0.5 if text(shape, "handle") != "low loop" else 0.42
    span = 0.3 * number(shape, "span")

    def at(fraction: Number) -> Pair:
        y = base + fraction * high
        return section.reach(outer, y, 90) - 0.55 * wall, y

    top, low = at(middle + span), at(middle - span)
    out = max(top[0], low[0], at(middle)[0]) + 0.62 * number(shape, "out") * size
    half = top[1] - low[1]
    radii = np.array([(0.16, 0.085)]) * size
    times = 3
    match text(shape, "handle"):
        case "D":
            path = [top, (out, top[1] + 0.04 * half), (out, low[1] - 0.04 * half), low]
        case "ear":
            path = [
                top,
                (top[0] + 0.1 * size, top[1] + 0.22 * half),
                (out * 1.12, top[1] + 0.2 * half),
                (out * 0.95, low[1] + 0.3 * half),
                low,
            ]
        case "square":
            corner = 0.14 * half
            path = [
                top,
                (out - corner, top[1]),
                (out, top[1]),
                (out, top[1] - corner),
                (out, low[1] + corner),
                (out, low[1]),
                (out - corner, low[1]),
                low,
            ]
            times = 2
        case "ring":
            ring = 0.42 * half
            centre = max(top[0], low[0], at(middle)[0]) + 0.78 * ring
            angle = np.linspace(-np.pi, np.pi, 33)[:, None]
            path = np.hstack(
                [centre + ring * np.cos(angle), base + middle * high + ring * np.sin(angle)]
            )
            times = 0
        case "hook":
            path = [
                top,
                (out, top[1] + 0.08 * half),
                (out * 1.04, low[1] + 0.25 * half),
                (out * 0.86, low[1] + 0.02 * half),
            ]
            radii = np.array([(0.16, 0.1), (0.16, 0.085), (0.13, 0.07)]) * size
        case "low loop":
            path = [
                top,
                (top[0] + 0.1 * size, top[1]),
                (out * 1.08, top[1]),
                (out * 1.08, low[1] - 0.1 * half),
                low,
            ]
            radii = np.array([(0.13, 0.075), (0.2, 0.095)]) * size
        case _:
            tip = (out + 0.16 * size, base + middle * high + 0.2 * half)
            path = [
                top,
                (0.4 * top[0] + 0.6 * tip[0], tip[1] + 0.24 * half),
                tip,
                tip,
                (0.4 * low[0] + 0.6 * tip[0], tip[1] - 0.5 * half),
                low,
            ]
            times = 2
    right = turned.arched(np.asarray(path), radii if len(radii) > 1 else radii[0], times=times)
    return right if number(shape, "side") > 0 else mesh.rotated(right, 180)


def _saucer(shape: Shape, foot: Number) -> trimesh.Trimesh:
    wide = max(1.75 * number(shape, "radius"), 1.6 * foot)
    line = turned.smooth([(0.55 * wide, 0), (0.6 * wide, 0.008), (0.8 * wide, 0.022), (wide, 0.05)])
    return turned.loft(turned.walled(line, 0.016, 0.014))


def _lid(outer: Points, wall: Number, section: RingSection) -> trimesh.Trimesh:
    radius, top = float(outer[-1, 0]), float(outer[-1, 1])
    low = top + 0.3 * wall
    edge = radius + 0.012
    dome = turned.smooth(
        [(edge, low), (edge, low + 0.014), (0.8 * edge, low + 0.034), (0.3 * edge, low + 0.05)]
    )
    knob = turned.smooth(
        [
            (0.16 * edge, low + 0.045),
            (0.14 * edge, low + 0.065),
            (0.28 * edge, low + 0.085),
            (0.22 * edge, low + 0.11),
        ]
    )
    cover = RingSection(facets=section.facets, squareness=section.squareness)
    return mesh.merge(
        [turned.loft(turned.solid(dome), cover), turned.loft(turned.solid(knob, 0.01))]
    )


def _rings(shape: Shape, outer: Points, wall: Number) -> list[trimesh.Trimesh]:
    low, high = float(outer[0, 1]), float(outer[-1, 1])
    count = int(number(shape, "rings"))
    levels = np.linspace(low + 0.12 * (high - low), low + 0.62 * (high - low), count)
    return [
        turned.loft(
            turned.band(turned.cut(outer, y - 0.009, y + 0.009), 0.008, 0.5 * wall), closed=True
        )
        for y in levels
    ]


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the body, the rim, the handle and the saucer or lid where there is one."""
    section, extra = _section(shape), text(shape, "extra")
    size, high = number(shape, "radius"), number(shape, "height")
    start = 0.013 if extra == "saucer" else 0.0
    outer = turned.smooth(np.asarray(BODIES[text(shape, "body")]) * [size, high] + [0, start], 9)
    wall = 0.07 * size
    body = [turned.loft(turned.walled(outer, wall, wall), section)]
    if text(shape, "surface") == "ringed":
        body += _rings(shape, outer, wall)
    top = turned.cut(outer, start + (1 - number(shape, "rim")) * high, start + high)
    parts = [
        Part(name="body", mesh=mesh.merge(body), uv="cylinder"),
        Part(name="handle", mesh=_handle(shape, outer, section, wall)),
        Part(
            name="rim",
            mesh=turned.loft(turned.rim(top, wall, 0.025 * size), section, closed=True),
            uv="cylinder",
        ),
    ]
    if extra == "saucer":
        parts.append(Part(name="saucer", mesh=_saucer(shape, float(outer[0, 0])), uv="cylinder"))
    if extra == "lid":
        parts.append(Part(name="lid", mesh=_lid(outer, wall, section), uv="cylinder"))
    return tuple(parts)


def _ware(body: str, handle: str, saucer: str | None = None) -> Colourway:
    return ware.colourway(
        ("body", body), ("handle", handle), rim=handle, lid=handle, saucer=saucer or handle
    )


KIND = Kind(
    name="mug",
    sample=sample,
    build=build,
    colourways=(
        _ware("white ceramic", "red ceramic"),
        _ware("blue ceramic", "yellow ceramic"),
        _ware("green ceramic", "oak wood"),
        _ware("black metal", "orange plastic"),
        _ware("purple glass", "copper metal"),
        _ware("dotted pink ceramic", "white ceramic"),
        _ware("teal plastic", "navy plastic"),
        _ware("striped beige ceramic", "brown ceramic"),
    ),
    azimuths=(-32, 32),
    elevations=(10, 30),
    synonyms=("cup",),
)
