"""Lamps: table, floor, tripod, arc and desk lamps under ten shades."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import RingSection
from assets.catalogue.kinds.ware import Number, Pair, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

FORMS = {"table": 8, "floor": 3, "tripod": 3, "arc": 2, "desk": 4}
# Knots (radius of 1, height of 1) from the lower opening up.
SHADES = {
    "drum": ((1, 0), (0.96, 1)),
    "empire": ((1, 0), (0.55, 1)),
    "cone": ((1, 0), (0.26, 1)),
    "bell": ((1, 0), (0.8, 0.14), (0.58, 0.45), (0.46, 0.78), (0.42, 1)),
    "dome": ((1, 0), (0.97, 0.2), (0.82, 0.55), (0.5, 0.86), (0.16, 1)),
    "globe": (
        (0.3, 0),
        (0.71, 0.13),
        (0.96, 0.36),
        (0.98, 0.6),
        (0.76, 0.86),
        (0.42, 0.98),
        (0.1, 1),
    ),
    "pleated": ((1, 0), (0.62, 1)),
    "hexagonal": ((1, 0), (0.62, 1)),
    "square": ((1, 0), (0.7, 1)),
    "tulip": ((0.34, 0), (0.82, 0.16), (0.96, 0.42), (0.8, 0.72), (0.9, 1)),
}
SHADE_RISE = {  # height over the lower half width
    "drum": (0.7, 1.7),
    "empire": (0.9, 1.4),
    "cone": (0.6, 1.3),
    "bell": (0.9, 1.4),
    "dome": (0.6, 0.95),
    "globe": (1.75, 1.95),
    "pleated": (0.8, 1.3),
    "hexagonal": (0.9, 1.5),
    "square": (0.9, 1.6),
    "tulip": (1.2, 1.7),
}
BODIES: dict[str, tuple[Pair, ...]] = {  # of table lamps; radius of 1, height of 1
    "gourd": ((0.62, 0), (1, 0.2), (0.92, 0.36), (0.42, 0.58), (0.6, 0.76), (0.24, 1)),
    "ball": ((0.45, 0), (0.9, 0.2), (1, 0.48), (0.82, 0.78), (0.26, 1)),
    "urn": ((0.7, 0), (0.66, 0.06), (0.36, 0.16), (0.8, 0.4), (1, 0.66), (0.8, 0.86), (0.26, 1)),
    "jar": ((0.6, 0), (0.72, 0.2), (1, 0.68), (0.9, 0.86), (0.28, 1)),
    "cylinder": ((0.78, 0), (0.8, 0.04), (0.8, 0.9), (0.7, 0.97), (0.24, 1)),
    "cone": ((1, 0), (0.96, 0.05), (0.5, 0.55), (0.2, 1)),
    "bottle": ((0.9, 0), (1, 0.08), (0.98, 0.42), (0.74, 0.6), (0.26, 0.74), (0.22, 1)),
}
SLENDER = ("baluster", "inverted baluster", "beaded", "ringed", "waisted")
FEET = ("disc", "domed", "square", "stepped")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a lamp."""
    form = ware.pick(rng, tuple(FORMS), list(FORMS.values()))
    body = ware.pick(rng, (*BODIES, *SLENDER))
    shades = ("cone", "dome", "bell", "drum") if form in ("desk", "arc") else tuple(SHADES)
    shade, foot = ware.pick(rng, shades), ware.pick(rng, FEET)
    surface = ware.pick(rng, ("plain", "plain", "ribbed", "twisted", "octagonal"))
    tall = ware.between(rng, 0.26, 0.42) if form == "table" else ware.between(rng, 0.75, 1.05)
    size = ware.between(rng, 0.17, 0.25) if form == "table" else ware.between(rng, 0.2, 0.3)
    values = {
        "form": form,
        "body": body,
        "shade": shade,
        "foot": foot,
        "surface": surface,
        "tall": tall,
        "wide": ware.between(rng, 0.3, 0.5),
        "size": size * (0.72 if shade in ("globe", "tulip") else 1.0),
        "rise": ware.between(rng, *SHADE_RISE[shade]),
        "side": int(rng.choice([-1, 1])),
        "lean": ware.between(rng, 12, 38),
        "bend": ware.between(rng, 55, 100),
        "tilt": ware.between(rng, 20, 55),
        "spread": ware.between(rng, 0.85, 1.25),
        "low_table": bool(rng.random() < 0.4),
    }
    values["size"] = round(float(values["size"]), 4)
    return Shape(kind="lamp", values=values, words=_words(values))


def _words(values: dict[str, float | int | str | bool]) -> tuple[str, ...]:
    shade = with_article(f"{values['shade']} shade")
    match values["form"]:
        case "table":
            return shade, with_article(f"{values['body']} base")
        case "floor":
            return shade, "a tall pole", with_article(f"{values['foot']} foot")
        case "tripod":
            return shade, "three short legs" if values["low_table"] else "three long legs"
        case "arc":
            return shade, "an arched arm"
        case _:
            return shade, "a jointed arm"


def _shade(shape: Shape, *, turned_out: bool = False) -> trimesh.Trimesh:
    """Return the shade, its lower opening at height 0."""
    style, size = text(shape, "shade"), number(shape, "size")
    section = {
        "pleated": RingSection(flutes=30, depth=0.05),
        "hexagonal": RingSection(facets=6),
        "square": RingSection(squareness=10),
    }.get(style, turned.ROUND)
    knots = np.asarray(SHADES[style], dtype=float) * [size, size * number(shape, "rise")]
    line = turned.smooth(knots, 3 if len(knots) == 2 else 9)
    sunk = 0.03 * size if not turned_out else 0.04 * size
    return turned.loft(turned.band(line, 0.006, sunk), section, closed=True)


def _harp(shape: Shape, y: Number, drop: Number) -> trimesh.Trimesh:
    """Return what holds the shade: a rod from height `y`, spokes to the shade, a finial.

    The shade's lower opening lies `drop` below `y`.
    """
    style, size = text(shape, "shade"), number(shape, "size")
    high = size * number(shape, "rise")
    knots = np.asarray(SHADES[style], dtype=float) * [size, high]
    if style in ("globe", "tulip"):
        r = 0.33 * size
        cup = turned.smooth(
            [
                (0.35 * r, y - 0.02),
                (1.02 * r, y - drop - 0.006),
                (1.16 * r, y - drop + 0.012),
                (1.2 * r, y - drop + 0.05 * size),
            ]
        )
        top = (
            turned.ball(0.11 * size, y - drop + high)
            if style == "globe"
            else turned.ball(0.2 * size, y - drop + 0.2 * size)
        )
        return mesh.merge([turned.loft(turned.solid(cup)), top])
    level = y - drop + 0.9 * high
    radius = turned.radius_at(turned.smooth(knots, 9), 0.9 * high)
    if style in ("square", "hexagonal"):
        radius *= 0.87
    spoke = turned.tube(
        np.array([(-radius + 0.004, level), (0.0, level), (radius - 0.004, level)]), 0.007
    )
    rod = turned.spindle("straight", y - 0.02, y - drop + high + 0.012, 0.009)
    socket = turned.spindle("straight", y - 0.015, y + 0.05, 0.02)
    finial = turned.ball(0.018, y - drop + high + 0.022)
    return mesh.merge(
        [
            spoke,
            mesh.rotated(spoke, 90),
            turned.loft(turned.solid(rod)),
            turned.loft(turned.solid(socket)),
            finial,
        ]
    )


def _foot(style: str, r: Number) -> tuple[trimesh.Trimesh, float]:
    section = (
        RingSection(squareness=9, full_at=0.03, round_at=0.06)
        if style == "square"
        else turned.ROUND
    )
    match style:
        case "domed":
            line = turned.smooth(
                [(r, 0), (r, 0.014), (0.86 * r, 0.03), (0.45 * r, 0.055), (0.14 * r, 0.066)]
            )
        case "stepped":
            line = turned.chain(
                [
                    (r, 0),
                    (r, 0.026),
                    (0.72 * r, 0.028),
                    (0.72 * r, 0.05),
                    (0.4 * r, 0.052),
                    (0.4 * r, 0.068),
                    (0.2 * r, 0.07),
                ]
            )
        case _:
            line = turned.chain([(r, 0), (r, 0.03), (0.3 * r, 0.036)])
    return turned.loft(turned.solid(line, 0.006), section), float(line[-1, 1])


def _table(shape: Shape) -> tuple[trimesh.Trimesh, float]:
    """Return the base of a table lamp and the height of its top."""
    tall, style = number(shape, "tall"), text(shape, "body")
    if style in SLENDER:
        foot, low = _foot(text(shape, "foot"), 0.36 * tall)
        column = turned.spindle(style, low - 0.006, tall, 0.085 * tall)
        return mesh.merge([foot, turned.loft(turned.solid(column))]), tall
    wide = number(shape, "wide") * tall * (0.75 if style == "cylinder" else 1.0)
    line = turned.smooth(np.asarray(BODIES[style]) * [wide, tall], 9)
    fade = (0.6 * tall, 0.98 * tall)
    section = {
        "ribbed": RingSection(flutes=14, depth=0.1, sharp=True).fading(*fade),
        "twisted": RingSection(flutes=9, depth=0.14, twist=6.0).fading(*fade),
        "octagonal": RingSection(facets=8).fading(*fade),
    }.get(text(shape, "surface"), turned.ROUND)
    return turned.loft(turned.solid(line, 0.01), section), tall


def _floor(shape: Shape) -> tuple[trimesh.Trimesh, float]:
    tall = number(shape, "tall")
    foot, low = _foot(text(shape, "foot"), 0.19 * number(shape, "spread"))
    style = text(shape, "body") if text(shape, "body") in SLENDER else "straight"
    pole = turned.loft(turned.solid(turned.spindle(style, low - 0.01, tall, 0.026)))
    return mesh.merge([foot, pole]), tall


def _tripod(shape: Shape) -> tuple[trimesh.Trimesh, float]:
    tall = number(shape, "tall") * (0.45 if shape.values["low_table"] else 0.9)
    out, thick = 0.36 * tall * number(shape, "spread"), 0.014 + 0.012 * tall
    path = np.array([(0.012, tall - 0.02), (0.5 * out, 0.5 * tall), (out, thick)])
    leg = turned.arched(path, [(1.2 * thick, 1.2 * thick), (0.8 * thick, 0.8 * thick)], times=0)
    hub = turned.spindle("straight", tall - 0.05, tall, 0.042)
    return mesh.merge(
        [turned.loft(turned.solid(hub, 0.01)), *(mesh.rotated(leg, a) for a in (-30, 90, 210))]
    ), tall


def _arc(shape: Shape) -> tuple[trimesh.Trimesh, trimesh.Trimesh, trimesh.Trimesh]:
    """Return the base with its arm, the shade and the fittings of an arc lamp."""
    tall, out = number(shape, "tall"), 0.62 * number(shape, "spread") * number(shape, "tall")
    foot, _ = _foot(text(shape, "foot"), 0.17)
    start, top = -0.5 * out, 1.12 * tall
    path = [
        (start, 0.03),
        (start, 0.55 * tall),
        (start, top),
        (0.1 * out, 1.1 * top),
        (0.5 * out, top),
        (0.55 * out, 0.9 * top),
    ]
    base = mesh.merge([mesh.moved(foot, (start, 0, 0)), turned.arched(np.asarray(path), 0.022)])
    high = number(shape, "size") * number(shape, "rise")
    x, y = 0.55 * out, 0.9 * top
    shade = mesh.moved(_shade(shape), (x, y - 0.02 - high, 0))
    return (
        base,
        shade,
        mesh.moved(_harp(shape, y - 0.03 - 0.6 * high, 0.4 * high - 0.01), (x, 0, 0)),
    )


def _desk(shape: Shape) -> tuple[trimesh.Trimesh, trimesh.Trimesh, trimesh.Trimesh]:
    """Return the base with its two arms, the shade and the fittings of a desk lamp."""
    reach, scale = 0.34 * number(shape, "spread"), 0.62
    foot, low = _foot(text(shape, "foot"), 0.14)
    lean, bend = (
        np.radians(90 + number(shape, "lean")),
        np.radians(90 + number(shape, "lean") - number(shape, "bend")),
    )
    start = np.array([0.0, low + 0.02])
    elbow = start + reach * np.array([np.cos(lean), np.sin(lean)])
    wrist = elbow + 0.9 * reach * np.array([np.cos(bend), np.sin(bend)])
    arms = [turned.tube(np.linspace(a, b, 5), 0.016) for a, b in ((start, elbow), (elbow, wrist))]
    joints = [
        mesh.moved(turned.ball(r, 0), (*at, 0))
        for at, r in ((start, 0.034), (elbow, 0.03), (wrist, 0.03))
    ]
    high = number(shape, "size") * number(shape, "rise")
    shade = mesh.scaled(mesh.moved(_shade(shape, turned_out=True), (0, -high, 0)), scale)
    top = scale * number(shape, "size") * SHADES[text(shape, "shade")][-1][0]
    cap = turned.smooth([(top + 0.006, -0.016), (max(0.7 * top, 0.02), 0.012), (0.02, 0.045)])
    cover = turned.loft(turned.solid(cap))
    tilt = number(shape, "tilt")
    placed = [
        mesh.moved(mesh.rotated(m, tilt, "z"), (wrist[0] + 0.01, wrist[1] - 0.02, 0))
        for m in (shade, cover)
    ]
    return mesh.merge([foot, *arms]), placed[0], mesh.merge([placed[1], *joints])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the shade, the base and the fittings that join them."""
    form = text(shape, "form")
    if form in ("arc", "desk"):
        base, shade, fittings = _arc(shape) if form == "arc" else _desk(shape)
    else:
        base, top = {"table": _table, "floor": _floor, "tripod": _tripod}[form](shape)
        is_cupped = text(shape, "shade") in ("globe", "tulip")
        drop = -0.03 if is_cupped else 0.02 * number(shape, "size")
        shade = mesh.moved(_shade(shape), (0, top - drop, 0))
        fittings = _harp(shape, top, drop)
    turn = 0 if number(shape, "side") > 0 else 180
    return (
        Part(name="shade", mesh=mesh.rotated(shade, turn), uv="cylinder"),
        Part(name="base", mesh=mesh.rotated(base, turn), uv="cylinder"),
        Part(name="fittings", mesh=mesh.rotated(fittings, turn)),
    )


def _ware(shade: str, base: str, fittings: str = "gold metal") -> Colourway:
    return ware.colourway(("shade", shade), ("base", base), fittings=fittings)


KIND = Kind(
    name="lamp",
    sample=sample,
    build=build,
    colourways=(
        _ware("white fabric", "blue ceramic"),
        _ware("red fabric", "black metal", "black metal"),
        _ware("green glass", "gold metal"),
        _ware("beige wicker", "walnut wood"),
        _ware("striped navy fabric", "white marble"),
        _ware("orange plastic", "silver metal", "silver metal"),
        _ware("yellow fabric", "teal ceramic"),
        _ware("dotted pink fabric", "oak wood", "copper metal"),
    ),
    azimuths=(-35, 35),
    elevations=(4, 20),
)
