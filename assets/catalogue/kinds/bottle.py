"""Bottles, flasks and jugs: eleven bodies, seven stoppers, a label."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import Points, RingSection
from assets.catalogue.kinds.ware import Number, Pair, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius of 1, height of 1); "n" is the neck's radius. The neck begins at the first "n".
Knots = tuple[tuple[Number | str, Number], ...]
BODIES: dict[str, Knots] = {
    "straight": ((0.95, 0), (1, 0.03), (1, 0.3), (1, 0.54), (0.84, 0.64), ("n", 0.74), ("n", 1)),
    "sloping": ((0.95, 0), (1, 0.03), (1, 0.22), (0.98, 0.42), (0.6, 0.66), ("n", 0.82), ("n", 1)),
    "globe": ((0.42, 0), (0.84, 0.1), (1, 0.3), (0.84, 0.5), ("n", 0.64), ("n", 1)),
    "teardrop": ((0.7, 0), (0.97, 0.1), (1, 0.22), (0.66, 0.5), ("n", 0.78), ("n", 1)),
    "conical": ((0.96, 0), (1, 0.04), (0.9, 0.14), (0.42, 0.62), ("n", 0.74), ("n", 1)),
    "bell": ((1, 0), (1, 0.05), (0.86, 0.25), (0.8, 0.5), (0.6, 0.66), ("n", 0.76), ("n", 1)),
    "milk": ((0.94, 0), (1, 0.03), (1, 0.5), (0.8, 0.66), (0.56, 0.8), (0.56, 0.9), ("n", 1)),
    "squat": ((0.9, 0), (1, 0.06), (1, 0.55), (0.92, 0.68), ("n", 0.8), ("n", 1)),
    "waisted": (
        (0.92, 0),
        (1, 0.06),
        (0.98, 0.2),
        (0.74, 0.36),
        (0.92, 0.52),
        (0.7, 0.66),
        ("n", 0.78),
        ("n", 1),
    ),
    "gourd": ((0.62, 0), (0.95, 0.1), (1, 0.22), (0.6, 0.42), (0.72, 0.56), ("n", 0.74), ("n", 1)),
    "pocket": ((0.8, 0), (0.98, 0.07), (1, 0.3), (0.96, 0.58), (0.78, 0.7), ("n", 0.79), ("n", 1)),
}
HEIGHTS = {  # over the half width
    "straight": (4.6, 7.0),
    "sloping": (4.8, 7.2),
    "globe": (2.7, 4.2),
    "teardrop": (3.0, 4.6),
    "conical": (2.6, 3.8),
    "bell": (3.0, 4.6),
    "milk": (3.4, 4.8),
    "squat": (1.9, 2.6),
    "waisted": (3.6, 5.2),
    "gourd": (3.2, 4.8),
    "pocket": (2.5, 3.4),
}
SECTIONS = {
    "round": "",
    "square": "square sides",
    "hexagonal": "six flat sides",
    "octagonal": "eight flat sides",
    "flat": "a flattened body",
    "fluted": "a fluted body",
}
CAPS = {
    "cork": "a cork",
    "screw": "a screw cap",
    "ball": "a ball stopper",
    "swing": "a swing top",
    "teardrop": "a pointed stopper",
    "disc": "a flat stopper",
    "pump": "a pump top",
}
LABELS = ("front", "wrap", "neck and belly", "oval")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a bottle."""
    body, cap = ware.pick(rng, tuple(BODIES)), ware.pick(rng, tuple(CAPS))
    section = ware.pick(rng, tuple(SECTIONS), (8, 3, 2, 2, 2, 2))
    if body == "pocket":
        section = ware.pick(rng, ("flat", "square"))
    height = ware.between(rng, *HEIGHTS[body])
    handle = ware.pick(rng, ("none", "none", "shoulder", "ring")) if cap != "pump" else "none"
    values = {
        "body": body,
        "cap": cap,
        "section": section,
        "height": height,
        "radius": round(0.75 / (height + 1.2), 4),
        "neck": ware.between(rng, 0.24, 0.38),
        "neck_length": ware.between(rng, 0.5, 1.25),
        "label": ware.pick(rng, LABELS, (4, 3, 1, 2)),
        "label_size": ware.between(rng, 0.7, 1.2),
        "handle": handle,
        "side": int(rng.choice([-1, 1])),
        "flutes": int(rng.integers(12, 20)),
        "cap_size": ware.between(rng, 0.85, 1.3),
    }
    words = [with_article(f"{body} body"), CAPS[cap]]
    extra = SECTIONS[section] or ("a handle" if handle != "none" else "")
    words += [extra] if extra else []
    return Shape(kind="bottle", values=values, words=tuple(words))


def meridian(shape: Shape) -> tuple[Points, float]:
    """Return the outer meridian and the height at which the neck begins."""
    neck, longer = number(shape, "neck"), number(shape, "neck_length")
    knots = BODIES[text(shape, "body")]
    start = next(y for r, y in knots if r == "n")
    lifted = [
        (neck if isinstance(r, str) else r, y if y <= start else start + (y - start) * longer)
        for r, y in knots
    ]
    line = np.asarray(lifted, dtype=float) * [
        number(shape, "radius"),
        number(shape, "radius") * number(shape, "height"),
    ]
    return turned.smooth(line, 8), start * number(shape, "radius") * number(shape, "height")


def _section(shape: Shape, neck: Number) -> RingSection:
    fade = (0.8 * neck, 0.99 * neck)
    match text(shape, "section"):
        case "square":
            return RingSection(squareness=7).fading(*fade)
        case "hexagonal":
            return RingSection(facets=6).fading(*fade)
        case "octagonal":
            return RingSection(facets=8).fading(*fade)
        case "flat":
            return RingSection(oval=0.55)
        case "fluted":
            return RingSection(flutes=int(number(shape, "flutes")), depth=0.07, sharp=True).fading(
                *fade
            )
        case _:
            return turned.ROUND


def _cap(shape: Shape, radius: Number, y: Number, oval: Number) -> trimesh.Trimesh:
    r = radius * number(shape, "cap_size")
    match text(shape, "cap"):
        case "cork":
            line = turned.smooth(
                [
                    (0.8 * radius, y - 1.2 * radius),
                    (0.86 * radius, y),
                    (1.05 * r, y + 0.3 * r),
                    (1.1 * r, y + 1.5 * r),
                ]
            )
        case "screw":
            line = turned.chain(
                [(1.22 * radius, y - 1.1 * radius), (1.22 * radius, y + 0.5 * radius)]
            )
            return turned.loft(
                turned.solid(line, 0.2 * radius), RingSection(flutes=20, depth=0.06, oval=oval)
            )
        case "ball":
            plug = turned.loft(
                turned.solid(turned.spindle("straight", y - radius, y + 0.6 * r, 0.8 * radius)),
                RingSection(oval=oval),
            )
            return mesh.merge([plug, turned.ball(1.6 * r, y + 1.75 * r)])
        case "swing":
            return _swing(radius, y, oval)
        case "teardrop":
            line = turned.smooth(
                [
                    (0.8 * radius, y - radius),
                    (0.8 * radius, y + 0.1 * r),
                    (1.6 * r, y + 1.0 * r),
                    (1.1 * r, y + 2.2 * r),
                    (0.12 * r, y + 4.0 * r),
                ]
            )
        case "disc":
            line = turned.chain(
                [
                    (0.8 * radius, y - radius),
                    (0.8 * radius, y + 0.15 * r),
                    (1.9 * r, y + 0.3 * r),
                    (1.9 * r, y + 1.1 * r),
                ]
            )
        case _:
            return _pump(radius, y, oval, number(shape, "side"))
    return turned.loft(turned.solid(line, 0.2 * radius), RingSection(oval=oval))


def _swing(radius: Number, y: Number, oval: Number) -> trimesh.Trimesh:
    collar = turned.band(
        np.array([(radius, y - 2.0 * radius), (radius, y - 1.3 * radius)]),
        0.14 * radius,
        0.1 * radius,
    )
    head = turned.smooth(
        [
            (0.8 * radius, y - 0.5 * radius),
            (1.15 * radius, y + 0.1 * radius),
            (1.2 * radius, y + 0.8 * radius),
            (0.6 * radius, y + 1.25 * radius),
        ]
    )
    x = 1.12 * radius
    wire = [
        (x, y - 1.65 * radius),
        (1.9 * radius, y - 1.0 * radius),
        (1.5 * radius, y + 1.0 * radius),
        (0.5 * radius, y + 1.05 * radius),
    ]
    right = turned.arched(np.asarray(wire), 0.16 * radius)
    return mesh.merge(
        [
            turned.loft(collar, RingSection(oval=oval), closed=True),
            turned.loft(turned.solid(head, 0.2 * radius)),
            right,
            mesh.rotated(right, 180),
        ]
    )


def _pump(radius: Number, y: Number, oval: Number, side: Number) -> trimesh.Trimesh:
    collar = turned.chain([(1.25 * radius, y - 0.6 * radius), (1.25 * radius, y + 0.7 * radius)])
    stem = turned.spindle("straight", y, y + 2.4 * radius, 0.34 * radius)
    head = turned.chain([(0.95 * radius, y + 2.0 * radius), (0.95 * radius, y + 2.9 * radius)])
    path = [
        (0, y + 2.5 * radius),
        (1.6 * radius, y + 2.6 * radius),
        (2.6 * radius, y + 2.5 * radius),
        (2.9 * radius, y + 1.9 * radius),
    ]
    nozzle = turned.arched(np.asarray(path), 0.3 * radius)
    return mesh.merge(
        [
            turned.loft(turned.solid(collar, 0.15 * radius), RingSection(oval=oval)),
            turned.loft(turned.solid(stem)),
            turned.loft(turned.solid(head, 0.3 * radius)),
            nozzle if side > 0 else mesh.rotated(nozzle, 180),
        ]
    )


def _label(shape: Shape, outer: Points, section: RingSection, neck: Number) -> trimesh.Trimesh:
    size, where, top = number(shape, "label_size"), text(shape, "label"), float(outer[-1, 1])
    proud = 0.035 * number(shape, "radius")
    middle, half = 0.42 * neck, 0.25 * size * neck
    line = turned.band(turned.cut(outer, middle - half, middle + half), proud, proud)
    if where == "neck and belly":
        neck_line = turned.cut(outer, neck + 0.12 * (top - neck), neck + 0.55 * (top - neck))
        ring = turned.band(neck_line, 0.6 * proud, 0.6 * proud)
        return mesh.merge([turned.loft(m, section, closed=True) for m in (line, ring)])
    if where == "wrap" or section.facets or section.flutes:
        return turned.loft(line, section, closed=True)
    arc = (-36.0, 36.0) if section.squareness else (-62.0, 62.0)
    patch = turned.loft(line, section, closed=True, arc=arc)
    is_oval = where == "oval" and section == turned.ROUND
    return _oval(patch, middle, half) if is_oval else patch


def _oval(patch: trimesh.Trimesh, middle: Number, half: Number) -> trimesh.Trimesh:
    """Return narrow a label towards its upper and lower end, keeping it on the wall."""
    points = np.array(patch.vertices)
    lift = np.clip((points[:, 1] - middle) / half, -1, 1)
    theta, radius = np.arctan2(points[:, 0], points[:, 2]), np.hypot(points[:, 0], points[:, 2])
    theta = theta * np.sqrt(1 - 0.85 * lift**2)
    points[:, 0], points[:, 2] = radius * np.sin(theta), radius * np.cos(theta)
    return trimesh.Trimesh(points, patch.faces, process=False)


def _handle(
    shape: Shape, outer: Points, section: RingSection, neck: Number, wall: Number
) -> trimesh.Trimesh:
    top, r = float(outer[-1, 1]), number(shape, "radius")

    def at(y: Number) -> Pair:
        return section.reach(outer, y, 90) - 0.6 * wall, y

    if text(shape, "handle") == "shoulder":
        high, low = at(neck + 0.5 * (top - neck)), at(0.62 * neck)
        out = max(low[0] + 0.12 * r, high[0] + 0.5 * r)
        path = [
            high,
            (high[0] + 0.2 * r, high[1] + 0.25 * r),
            (out, high[1] + 0.2 * r),
            (out + 0.1 * r, 0.5 * (high[1] + low[1])),
            low,
        ]
    else:
        high, low = at(neck + 0.4 * (top - neck)), at(neck)
        half = max(0.3 * r, 0.5 * (high[1] - low[1]))
        y = 0.5 * (high[1] + low[1])
        path = [
            high,
            (high[0] + 0.5 * r, y + 1.5 * half),
            (high[0] + 0.9 * r, y),
            (high[0] + 0.5 * r, y - 1.3 * half),
            low,
        ]
    return mesh.rotated(
        turned.arched(np.asarray(path), (0.13 * r, 0.09 * r)),
        0 if number(shape, "side") > 0 else 180,
    )


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the body, the cap, the label and the handle where there is one."""
    outer, neck = meridian(shape)
    section = _section(shape, neck)
    radius, r, top = float(outer[-1, 0]), number(shape, "radius"), float(outer[-1, 1])
    wall = min(0.07 * r, 0.3 * radius)
    lip = turned.band(turned.cut(outer, top - 0.35 * radius, top), 0.12 * radius, 0.3 * wall)
    body = [
        turned.loft(turned.walled(outer, wall, wall), section),
        turned.loft(lip, section, closed=True),
    ]
    parts = [
        Part(name="body", mesh=mesh.merge(body), uv="cylinder"),
        Part(name="cap", mesh=_cap(shape, radius, top, section.oval), uv="cylinder"),
        Part(name="label", mesh=_label(shape, outer, section, neck), uv="cylinder"),
    ]
    if text(shape, "handle") != "none":
        parts.append(Part(name="handle", mesh=_handle(shape, outer, section, neck, wall)))
    return tuple(parts)


def _ware(body: str, label: str, cap: str) -> Colourway:
    return ware.colourway(("body", body), ("label", label), ("cap", cap), handle=body)


KIND = Kind(
    name="bottle",
    sample=sample,
    build=build,
    colourways=(
        _ware("green glass", "white plastic", "oak wood"),
        _ware("brown glass", "yellow plastic", "black plastic"),
        _ware("clear glass", "red plastic", "silver metal"),
        _ware("blue glass", "beige fabric", "oak wood"),
        _ware("white ceramic", "navy ceramic", "gold metal"),
        _ware("black ceramic", "orange plastic", "copper metal"),
        _ware("pink plastic", "striped purple plastic", "white plastic"),
        _ware("silver metal", "teal plastic", "black plastic"),
    ),
    azimuths=(-30, 30),
    elevations=(5, 24),
    synonyms=("flask",),
)
