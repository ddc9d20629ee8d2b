"""Vases: thirteen silhouettes, round, faceted, fluted or twisted, a contrasting band, handles."""

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.kinds import turned, ware
from assets.catalogue.kinds.turned import Points, RingSection
from assets.catalogue.kinds.ware import Number, number, text
from assets.catalogue.model import Colourway, Kind, Part, Shape
from assets.catalogue.words import with_article

# Knots (radius, height), both of 1; "n" and "l" are the neck's and the lip's radius.
Knots = tuple[tuple[Number | str, Number], ...]
SILHOUETTES: dict[str, Knots] = {
    "bulb": ((0.5, 0), (0.93, 0.18), (1, 0.33), (0.72, 0.6), ("n", 0.76), ("n", 0.86), ("l", 1)),
    "trumpet": ((0.5, 0), (0.47, 0.06), (0.4, 0.25), (0.42, 0.45), (0.58, 0.75), (1, 1)),
    "cylinder": ((0.94, 0), (1, 0.06), (1, 0.5), (0.98, 1)),
    "amphora": (
        (0.3, 0),
        (0.36, 0.05),
        (0.32, 0.1),
        (0.9, 0.48),
        (1, 0.6),
        ("n", 0.8),
        ("n", 0.92),
        ("l", 1),
    ),
    "gourd": ((0.6, 0), (0.95, 0.16), (0.95, 0.3), (0.5, 0.5), (0.68, 0.68), ("n", 0.87), ("l", 1)),
    "teardrop": ((0.6, 0), (0.96, 0.16), (1, 0.26), (0.62, 0.55), ("n", 0.84), ("l", 1)),
    "urn": (
        (0.58, 0),
        (0.58, 0.05),
        (0.24, 0.15),
        (0.26, 0.2),
        (0.85, 0.42),
        (1, 0.62),
        (0.78, 0.84),
        (0.98, 1),
    ),
    "ginger jar": ((0.62, 0), (0.72, 0.18), (1, 0.62), (0.92, 0.78), ("n", 0.9), ("n", 1)),
    "hourglass": ((0.95, 0), (0.88, 0.12), (0.5, 0.5), (0.72, 0.8), (0.95, 1)),
    "tapered": ((0.45, 0), (0.58, 0.25), (0.8, 0.65), (1, 1)),
    "long-necked": ((0.7, 0), (1, 0.14), (0.92, 0.28), ("n", 0.5), ("n", 0.9), ("l", 1)),
    "moon": (
        (0.36, 0),
        (0.42, 0.03),
        (0.86, 0.2),
        (1, 0.42),
        (0.84, 0.66),
        ("n", 0.82),
        ("n", 0.92),
        ("l", 1),
    ),
    "barrel": ((0.68, 0), (0.95, 0.25), (1, 0.5), (0.92, 0.78), (0.72, 1)),
}
WIDTHS = {  # half the width over the height
    "bulb": (0.34, 0.5),
    "trumpet": (0.22, 0.36),
    "cylinder": (0.18, 0.4),
    "amphora": (0.27, 0.38),
    "gourd": (0.28, 0.4),
    "teardrop": (0.28, 0.42),
    "urn": (0.3, 0.46),
    "ginger jar": (0.32, 0.48),
    "hourglass": (0.24, 0.42),
    "tapered": (0.26, 0.45),
    "long-necked": (0.25, 0.4),
    "moon": (0.4, 0.5),
    "barrel": (0.32, 0.5),
}
SURFACES = {
    "plain": "",
    "fluted": "a fluted body",
    "ribbed": "a ribbed body",
    "twisted": "twisted ribs",
    "hexagonal": "six flat sides",
    "octagonal": "eight flat sides",
    "square": "a square body",
}
SURFACE_ODDS = (9, 3, 3, 3, 2, 2, 2)
BANDS = ("rim", "neck", "belly", "foot", "dip")
HANDLES = ("none", "loop", "ear", "square", "ring")


def sample(rng: np.random.Generator) -> Shape:
    """Draw a vase."""
    silhouette = ware.pick(rng, tuple(SILHOUETTES))
    surface = ware.pick(rng, tuple(SURFACES), SURFACE_ODDS)
    handles = ware.pick(rng, HANDLES, (7, 2, 2, 1, 1))
    if silhouette == "amphora" and handles == "none":
        handles = "ear"
    if silhouette in ("trumpet", "tapered"):
        handles = "none"
    if silhouette == "moon" and surface == "twisted":
        surface = "fluted"
    neck = ware.between(rng, 0.2, 0.46)
    width = ware.between(rng, *WIDTHS[silhouette])
    values = {
        "silhouette": silhouette,
        "surface": surface,
        "handles": handles,
        "band": ware.pick(rng, BANDS, (3, 3, 3, 2, 3)),
        "height": ware.between(rng, 0.45, 0.8),
        "width": width,
        "neck": neck,
        "lip": round(neck * ware.between(rng, 1.0, 2.0), 4),
        "stretch": ware.between(rng, 0.84, 1.2),
        "flutes": int(rng.integers(9, 20)),
        "oval": ware.between(rng, 0.5, 0.62) if silhouette == "moon" else 1.0,
        "twist": ware.between(rng, 2.5, 5.0),
        "band_size": ware.between(rng, 0.1, 0.24),
    }
    return Shape(kind="vase", values=values, words=_words(values))


def _words(values: dict[str, float | str | int]) -> tuple[str, ...]:
    silhouette, surface = str(values["silhouette"]), str(values["surface"])
    slim = (
        "slim "
        if float(values["width"]) < 0.26
        else "wide "
        if float(values["width"]) > 0.42
        else ""
    )
    words = [with_article(f"{slim}{silhouette} shape")]
    if SURFACES[surface]:
        words.append(SURFACES[surface])
    if values["handles"] != "none":
        words.append(f"two {values['handles']} handles")
    elif float(values["lip"]) > 1.6 * float(values["neck"]) and silhouette in (
        "bulb",
        "teardrop",
        "long-necked",
        "gourd",
    ):
        words.append("a flared lip")
    return tuple(words)


def meridian(shape: Shape) -> Points:
    """Return the outer meridian, from the foot's edge to the lip."""
    height = number(shape, "height")
    named = {"n": number(shape, "neck"), "l": number(shape, "lip")}
    knots = [
        (named[r] if isinstance(r, str) else r, y)
        for r, y in SILHOUETTES[text(shape, "silhouette")]
    ]
    line = np.asarray(knots, dtype=float)
    line[:, 1] **= number(shape, "stretch")
    return turned.smooth(line * [number(shape, "width") * height, height], 9)


def _section(shape: Shape) -> RingSection:
    flutes, oval, height = (
        int(number(shape, "flutes")),
        number(shape, "oval"),
        number(shape, "height"),
    )
    match text(shape, "surface"):
        case "fluted":
            return RingSection(flutes=flutes, depth=0.09, sharp=True, oval=oval)
        case "ribbed":
            return RingSection(
                flutes=flutes - flutes % 2,
                depth=0.13,
                oval=oval,
                full_at=0.55 * height,
                round_at=0.85 * height,
            )
        case "twisted":
            return RingSection(
                flutes=max(5, flutes // 2), depth=0.14, oval=oval, twist=number(shape, "twist")
            )
        case "hexagonal":
            return RingSection(facets=6, oval=oval)
        case "octagonal":
            return RingSection(facets=8, oval=oval)
        case "square":
            return RingSection(squareness=7, oval=oval)
        case _:
            return RingSection(oval=oval)


def _band(shape: Shape, outer: Points, section: RingSection, wall: Number) -> trimesh.Trimesh:
    height, size = number(shape, "height"), number(shape, "band_size")
    proud = 0.012 * height
    match text(shape, "band"):
        case "rim":
            return turned.loft(
                turned.rim(turned.cut(outer, (1 - size) * height, height), wall, proud),
                section,
                closed=True,
            )
        case "neck":
            low, high = 0.97 - 1.5 * size, 0.97 - 0.5 * size
        case "belly":
            low, high = 0.4 - 0.6 * size, 0.4 + 0.6 * size
        case "foot":
            low, high = 0.0, 0.9 * size
        case _:
            low, high = 0.0, 0.25 + 1.1 * size
    line = turned.cut(outer, low * height, high * height)
    return turned.loft(turned.band(line, proud, 0.5 * wall), section, closed=True)


def _handles(shape: Shape, outer: Points, section: RingSection, wall: Number) -> trimesh.Trimesh:
    height = number(shape, "height")
    high, low = 0.88, 0.55

    def hold(y: Number) -> float:
        return section.reach(outer, y * height, 90) - 0.6 * wall

    widest = max(hold(y) for y in np.linspace(low, high, 9))
    out = widest + 0.1 * height
    match text(shape, "handles"):
        case "loop":
            path = [(hold(0.82), 0.82), (out, 0.9), (out * 1.05, 0.62), (hold(low), low)]
        case "ear":
            path = [
                (hold(high), high),
                (hold(high) + 0.05 * height, 1.0),
                (out * 1.05, 0.97),
                (out, 0.72),
                (hold(low), low),
            ]
        case "square":
            path = [
                (hold(0.84), 0.84),
                (out - 0.01, 0.84),
                (out, 0.84),
                (out, 0.83),
                (out, 0.61),
                (out, 0.6),
                (out - 0.01, 0.6),
                (hold(0.6), 0.6),
            ]
        case _:
            path = [
                (hold(0.78), 0.78),
                (hold(0.78) + 0.05 * height, 0.84),
                (widest + 0.09 * height, 0.76),
                (widest + 0.05 * height, 0.64),
                (hold(0.66), 0.66),
            ]
    line = np.asarray(path) * [1.0, height]
    right = turned.arched(line, (0.03 * height, 0.02 * height))
    return mesh.merge([right, mesh.rotated(right, 180)])


def build(shape: Shape) -> tuple[Part, ...]:
    """Build the body, the band and the handles where there are any."""
    outer, section = meridian(shape), _section(shape)
    wall = min(0.02 * number(shape, "height"), 0.4 * float(outer[:, 0].min()))
    body = turned.loft(turned.walled(outer, wall, 0.03 * number(shape, "height")), section)
    parts = [
        Part(name="body", mesh=body, uv="cylinder"),
        Part(name="band", mesh=_band(shape, outer, section, wall), uv="cylinder"),
    ]
    if text(shape, "handles") != "none":
        parts.append(Part(name="handles", mesh=_handles(shape, outer, section, wall)))
    return tuple(parts)


def _ware(body: str, band: str, handles: str | None = None) -> Colourway:
    return ware.colourway(("body", body), ("band", band), handles=handles or band)


KIND = Kind(
    name="vase",
    sample=sample,
    build=build,
    colourways=(
        _ware("blue ceramic", "white ceramic"),
        _ware("red ceramic", "gold metal"),
        _ware("green glass", "silver metal"),
        _ware("white marble", "black ceramic"),
        _ware("yellow ceramic", "teal ceramic"),
        _ware("purple glass", "gold metal"),
        _ware("striped orange ceramic", "brown ceramic"),
        _ware("beige wicker", "walnut wood"),
    ),
    azimuths=(-35, 35),
)
