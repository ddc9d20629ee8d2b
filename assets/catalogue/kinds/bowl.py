"""Bowls: nine silhouettes, round, square, faceted or fluted, on feet, with a contrasting rim."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import Points, RingSection
from assets.catalogue.kinds.ware import Number, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius of 1, height of 1) above the foot.
SILHOUETTES = {
    "hemispherical": ((0.4, 0), (0.76, 0.2), (0.94, 0.56), (1, 1)),
    "deep": ((0.5, 0), (0.84, 0.22), (0.96, 0.6), (1, 1)),
    "shallow": ((0.42, 0), (0.72, 0.22), (0.92, 0.62), (1, 1)),
    "conical": ((0.28, 0), (0.5, 0.32), (0.76, 0.67), (1, 1)),
    "flared": ((0.36, 0), (0.6, 0.2), (0.7, 0.55), (0.78, 0.8), (1, 1)),
    "incurving": ((0.45, 0), (0.88, 0.3), (1, 0.58), (0.92, 0.86), (0.84, 1)),
    "straight-sided": ((0.82, 0), (0.94, 0.1), (0.97, 0.5), (1, 1)),
    "wide-lipped": ((0.4, 0), (0.62, 0.25), (0.7, 0.7), (0.74, 0.9), (1, 1)),
    "stepped": ((0.4, 0), (0.62, 0.3), (0.66, 0.46), (0.9, 0.56), (1, 1)),
}
DEPTHS = {  # height of the shell over its half width
    "hemispherical": (0.7, 0.95),
    "deep": (0.95, 1.4),
    "shallow": (0.35, 0.5),
    "conical": (0.6, 0.95),
    "flared": (0.6, 0.95),
    "incurving": (0.75, 1.15),
    "straight-sided": (0.45, 0.85),
    "wide-lipped": (0.42, 0.65),
    "stepped": (0.5, 0.8),
}
SURFACES = {
    "plain": "",
    "ribbed": "a ribbed wall",
    "scalloped": "a scalloped wall",
    "twisted": "swirling ribs",
    "square": "a square outline",
    "hexagonal": "six flat sides",
    "octagonal": "eight flat sides",
    "oval": "an oval outline",
}
FEET = {
    "low": "",
    "ring": "a foot ring",
    "pedestal": "a tall pedestal",
    "balls": "three ball feet",
    "cone": "a flared foot",
}
HANDLES = {
    "none": "",
    "ear": "two ear handles",
    "upright": "two upright handles",
    "lug": "two lug handles",
}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a bowl."""
    silhouette = ware.pick(rng, tuple(SILHOUETTES))
    surface = ware.pick(rng, tuple(SURFACES), (8, 3, 2, 2, 2, 2, 2, 2))
    foot = ware.pick(rng, tuple(FEET), (3, 2, 3, 2, 2))
    handles = "none" if surface == "twisted" else ware.pick(rng, tuple(HANDLES), (6, 1, 2, 1))
    words = (with_article(f"{silhouette} shape"), SURFACES[surface], FEET[foot], HANDLES[handles])
    values = {
        "silhouette": silhouette,
        "surface": surface,
        "foot": foot,
        "handles": handles,
        "radius": ware.between(rng, 0.26, 0.36),
        "depth": ware.between(rng, *DEPTHS[silhouette]),
        "foot_height": ware.between(rng, 0.2, 0.4)
        if foot == "pedestal"
        else ware.between(rng, 0.09, 0.16),
        "flutes": int(rng.integers(8, 16)),
        "twist": ware.between(rng, 2.0, 5.0),
        "rim": ware.between(rng, 0.12, 0.34),
    }
    return Shape(kind="bowl", values=values, words=tuple(word for word in words if word)[:3])


def _section(shape: Shape) -> RingSection:
    flutes = int(number(shape, "flutes"))
    match text(shape, "surface"):
        case "ribbed":
            return RingSection(flutes=flutes * 2, depth=0.07)
        case "scalloped":
            return RingSection(flutes=flutes, depth=0.12, sharp=True)
        case "twisted":
            return RingSection(flutes=flutes, depth=0.12, twist=number(shape, "twist"))
        case "square":
            return RingSection(squareness=6)
        case "hexagonal":
            return RingSection(facets=6)
        case "octagonal":
            return RingSection(facets=8)
        case "oval":
            return RingSection(oval=0.68)
        case _:
            return turned.ROUND


def _foot(shape: Shape, radius: Number, section: RingSection) -> trimesh.Trimesh:
    high = number(shape, "foot_height") * number(shape, "radius")
    top = high + 0.03 * number(shape, "radius")
    slim = min(radius, 0.6 * number(shape, "radius"))  # keeps a spreading foot under the bowl
    match text(shape, "foot"):
        case "low":
            line = turned.smooth([(0.98 * radius, 0), (0.96 * radius, 0.5 * high), (radius, top)])
        case "ring":
            line = turned.smooth(
                [(0.8 * radius, 0), (0.76 * radius, 0.5 * high), (0.8 * radius, top)]
            )
        case "pedestal":
            line = turned.smooth(
                [
                    (1.25 * slim, 0),
                    (1.2 * slim, 0.12 * high),
                    (0.42 * slim, 0.5 * high),
                    (0.4 * slim, 0.75 * high),
                    (0.75 * slim, top),
                ]
            )
        case "balls":
            ball = turned.ball(0.62 * high, 0.62 * high)
            at = 0.8 * radius
            feet = [
                mesh.moved(ball, (at * np.sin(a), 0, at * np.cos(a) * section.oval))
                for a in np.radians((60, 180, 300))
            ]
            plate = turned.smooth([(0.9 * radius, 0.85 * high), (0.95 * radius, top)])
            return mesh.merge(
                [*feet, turned.loft(turned.solid(plate), RingSection(oval=section.oval))]
            )
        case _:
            line = turned.smooth([(1.3 * slim, 0), (1.05 * slim, 0.35 * high), (0.9 * slim, top)])
    return turned.loft(turned.solid(line), section)


def _handles(shape: Shape, outer: Points, section: RingSection, wall: Number) -> trimesh.Trimesh:
    size = number(shape, "radius")
    low, high = float(outer[0, 1]), float(outer[-1, 1])
    deep = high - low
    spread = 18.0  # degrees from the side to each end of a handle that spans the wall
    kind = text(shape, "handles")
    if kind == "ear":
        ends = [
            (section.reach(outer, y, 90) - 0.5 * wall, y)
            for y in (high - 0.1 * deep, low + 0.45 * deep)
        ]
        out = ends[0][0] + 0.26 * size
        path = [ends[0], (out, high + 0.04 * deep), (out - 0.03 * size, ends[1][1]), ends[1]]
        right = turned.arched(np.asarray(path), (0.07 * size, 0.045 * size))
        return mesh.merge([right, mesh.rotated(right, 180)])
    y = high - 0.06 * deep if kind == "upright" else high - 0.2 * deep
    hold = section.reach(outer, y, 90 - spread) - 0.4 * wall
    half, out = hold * np.sin(np.radians(spread)), 0.42 * size if kind == "upright" else 0.3 * size
    path = [(-half, 0), (-1.15 * half, out), (1.15 * half, out), (half, 0)]
    arch = turned.arched(np.asarray(path), 0.05 * size)
    if kind == "upright":
        right = mesh.rotated(arch, 90)
    else:
        right = mesh.rotated(mesh.rotated(arch, -90, "z"), 90, "x")
    right = mesh.moved(right, (hold * np.cos(np.radians(spread)), y, 0))
    return mesh.merge([right, mesh.rotated(right, 180)])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the body, the rim, the foot and the handles where there are any."""
    size, section = number(shape, "radius"), _section(shape)
    start = number(shape, "foot_height") * size
    high = number(shape, "depth") * size
    knots = np.asarray(SILHOUETTES[text(shape, "silhouette")]) * [size, high] + [0, start]
    outer, wall = turned.smooth(knots, 10), 0.055 * size
    top = turned.cut(outer, start + (1 - number(shape, "rim")) * high, start + high)
    parts = [
        Part(
            name="body", mesh=turned.loft(turned.walled(outer, wall, wall), section), uv="cylinder"
        ),
        Part(
            name="rim",
            mesh=turned.loft(turned.rim(top, wall, 0.016 * size), section, closed=True),
            uv="cylinder",
        ),
        Part(name="foot", mesh=_foot(shape, float(outer[0, 0]), section), uv="cylinder"),
    ]
    if text(shape, "handles") != "none":
        parts.append(Part(name="handles", mesh=_handles(shape, outer, section, wall)))
    return tuple(parts)


def _ware(body: str, rim: str, foot: str | None = None) -> Colourway:
    return ware.colourway(("body", body), ("rim", rim), foot=foot or rim, handles=foot or rim)


KIND = Kind(
    name="bowl",
    sample=sample,
    build=build,
    colourways=(
        _ware("white ceramic", "blue ceramic"),
        _ware("red ceramic", "black ceramic"),
        _ware("teal glass", "gold metal"),
        _ware("oak wood", "green ceramic"),
        _ware("copper metal", "silver metal"),
        _ware("dotted yellow ceramic", "brown ceramic"),
        _ware("pink plastic", "purple plastic"),
        _ware("navy ceramic", "orange ceramic"),
    ),
    azimuths=(-30, 30),
    elevations=(14, 34),
)
