"""Cabinets: sideboards, chests, cupboards and display cabinets.

Parts: body, fronts (doors and drawers), legs, handles and, where there is glass, panes.
"""

from collections.abc import Mapping

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Real, arc, rounded_rectangle
from assets.catalogue.kinds.cabinet_fronts import CELLS, Cell, curved_board
from assets.catalogue.kinds.furniture import Values, between, colourway, pick
from assets.catalogue.kinds.lofts import Assembly, box, chance, hoop, slab, vec
from assets.catalogue.model import Kind, Part, Shape, Value

# Rows from the top, each with its share of the height. A cell is D door, R drawer, O open niche,
# G glazed door.
LAYOUTS: dict[str, tuple[tuple[str, float], ...]] = {
    "three drawers": (("R", 1), ("R", 1), ("R", 1)),
    "rows of drawers": (("RR", 1), ("RR", 1), ("RR", 1), ("R", 1.2)),
    "a grid of small drawers": (("RRRR", 1), ("RRRR", 1), ("RRRR", 1)),
    "two doors": (("DD", 1),),
    "four doors": (("DDDD", 1),),
    "drawers over doors": (("RR", 0.42), ("DD", 1)),
    "doors over drawers": (("DD", 1.6), ("R", 0.5), ("R", 0.5)),
    "an open niche over doors": (("O", 0.7), ("DD", 1)),
    "a niche between doors": (("DOD", 1),),
    "glass doors over drawers": (("GG", 1.8), ("RR", 0.5)),
    "glass doors": (("GG", 1),),
    "stacked open niches": (("OD", 1), ("DO", 1)),
}

WIDE = (
    "four doors",
    "a niche between doors",
    "two doors",
    "drawers over doors",
    "rows of drawers",
    "stacked open niches",
    "glass doors",
)

TALL = (
    "glass doors over drawers",
    "glass doors",
    "doors over drawers",
    "two doors",
    "an open niche over doors",
    "stacked open niches",
)

LOW = (
    "three drawers",
    "rows of drawers",
    "a grid of small drawers",
    "drawers over doors",
    "two doors",
    "an open niche over doors",
)

PROPORTIONS = {"wide": WIDE, "tall": TALL, "low": LOW}

PROPORTION_WORDS = {"wide": "a long low body", "tall": "a tall body", "low": "a compact body"}

LEGS = {"tapered": 1.2, "splayed": 1.2, "plinth": 1.0, "bun": 0.8, "sled": 0.9, "hairpin": 0.8}

LEG_WORDS = {
    "tapered": "straight tapered legs",
    "splayed": "splayed legs",
    "plinth": "a solid plinth",
    "bun": "round bun feet",
    "sled": "sled runners",
    "hairpin": "hairpin legs",
}

STYLES = {"flat": 1.0, "panelled": 1.2, "ribbed": 0.9}

CROWNS = {"none": 1.3, "overhang": 1.0, "cornice": 0.7, "crest": 0.8, "rail": 0.5}

CROWN_WORDS = {
    "cornice": "a moulded cornice",
    "crest": "an arched crest",
    "rail": "a raised back rail",
}

HANDLES = {"knob": 1.0, "bar": 1.0, "ring": 0.7, "long": 0.7}


def sample(rng: np.random.Generator) -> Shape:
    """Draw a cabinet."""
    proportion = pick(rng, {"wide": 1.0, "tall": 1.1, "low": 1.0})
    width = {"wide": (1.25, 1.75), "tall": (0.6, 0.95), "low": (0.6, 0.95)}[proportion]
    height = {"wide": (0.45, 0.68), "tall": (1.15, 1.6), "low": (0.5, 0.88)}[proportion]
    values = {
        "proportion": proportion,
        "layout": pick(rng, dict.fromkeys(PROPORTIONS[proportion], 1.0)),
        "width": between(rng, *width),
        "height": between(rng, *height),
        "depth": between(rng, 0.36, 0.48),
        "board": between(rng, 0.022, 0.034),
        "lift": between(rng, 0.1, 0.24),
        "legs": pick(rng, LEGS),
        "style": pick(rng, STYLES),
        "crown": pick(rng, CROWNS),
        "handles": pick(rng, HANDLES),
        "bow": between(rng, 0.07, 0.14) if chance(rng, 0.28) else 0.0,
        "round": chance(rng, 0.3),
    }
    return Shape(kind="cabinet", values=values, words=_words(values))


def _words(values: Mapping[str, Value]) -> tuple[str, ...]:
    words = [str(values["layout"])]
    if values["bow"]:
        words.append("a curved front")
    elif str(values["crown"]) in CROWN_WORDS:
        words.append(CROWN_WORDS[str(values["crown"])])
    else:
        words.append(PROPORTION_WORDS[str(values["proportion"])])
    words.append(LEG_WORDS[str(values["legs"])])
    return tuple(words)


def build(shape: Shape) -> tuple[Part, ...]:
    """Make the parts of a cabinet."""
    v = Values(shape.values)
    cabinet = Assembly("body", "fronts", "legs", "handles", "panes")
    low = _legs(cabinet, v)
    high = low + v.num("height")
    _body(cabinet, v, low, high)
    _crown(cabinet, v, high)
    inset = v.num("board")
    top, share = (
        high - inset,
        (v.num("height") - 2 * inset) / sum(part for _, part in LAYOUTS[v.text("layout")]),
    )
    inner = v.num("width") - 2 * inset
    for row, part in LAYOUTS[v.text("layout")]:
        tall = part * share
        for k, cell in enumerate(row):
            wide = inner / len(row)
            position = Cell(
                x=-inner / 2 + (k + 0.5) * wide,
                y=top - tall / 2,
                width=wide,
                height=tall,
                index=k,
                count=len(row),
            )
            CELLS[cell](cabinet, v, position)
        top -= tall
    return cabinet.parts()


def _body(cabinet: Assembly, v: Values, low: Real, high: Real) -> None:
    width, depth, board = v.num("width"), v.num("depth"), v.num("board")
    middle, tall = (low + high) / 2, high - low
    if v.flag("round") and not v.num("bow"):
        shell = hoop(
            rounded_rectangle((width, tall), 0.07, 9) + vec(0, middle), board, depth, 0.006
        )
        cabinet.add("body", shell)
    else:
        cabinet.add(
            "body",
            *(
                box((board, tall, depth), (side * (width - board) / 2, middle, 0), 0.005)
                for side in (-1, 1)
            ),
        )
        cabinet.add(
            "body",
            *(
                curved_board(v, (width - 0.004, board, depth), (0, y, 0))
                for y in (low + board / 2, high - board / 2)
            ),
        )
    cabinet.add(
        "body", box((width - board, tall - board, 0.016), (0, middle, -depth / 2 + 0.02), 0.0)
    )


def _crown(cabinet: Assembly, v: Values, y: Real) -> None:
    width, depth, crown = v.num("width"), v.num("depth"), v.text("crown")
    if crown in ("overhang", "crest", "cornice"):
        cabinet.add(
            "body", curved_board(v, (width + 0.05, 0.028, depth + 0.04), (0, y + 0.01, 0), 0.01)
        )
    if crown == "cornice":
        cabinet.add(
            "body", curved_board(v, (width + 0.1, 0.034, depth + 0.07), (0, y + 0.036, 0), 0.012)
        )
    if crown == "crest":
        rise = 0.09 + 0.1 * width
        bow = arc(1, 0, 180, 33) * (width / 2, rise) + vec(0, y + 0.015)
        cabinet.add(
            "body",
            slab(bow, 0.05, 0.008, at=0.0 if v.text("proportion") == "tall" else -depth / 2 + 0.03),
        )
    if crown == "rail":
        cabinet.add("body", box((width, 0.13, 0.022), (0, y + 0.055, -depth / 2 + 0.011), 0.006))
        cabinet.add(
            "body",
            *(
                box(
                    (0.022, 0.075, depth * 0.7),
                    (side * (width / 2 - 0.011), y + 0.03, -depth * 0.15),
                    0.006,
                )
                for side in (-1, 1)
            ),
        )


def _legs(cabinet: Assembly, v: Values) -> float:
    """Add what the body stands on; return the height of the body's underside."""
    kind, lift, width, depth = v.text("legs"), v.num("lift"), v.num("width"), v.num("depth")
    x, z = width / 2 - 0.06, depth / 2 - 0.05
    spots = [(sx, sz) for sx in (-1, 1) for sz in (-1, 1)]
    if kind == "plinth":
        lift = 0.4 * lift
        cabinet.add(
            "legs",
            curved_board(v, (width - 0.05, lift + 0.01, depth - 0.05), (0, lift / 2, 0), 0.004),
        )
    elif kind == "bun":
        lift = 0.075
        cabinet.add(
            "legs",
            *(
                mesh.superellipsoid(
                    (0.095, lift + 0.01, 0.095), 2.3, (sx * x, (lift + 0.01) / 2, sz * z), 10
                )
                for sx, sz in spots
            ),
        )
    elif kind == "sled":
        for side in (-1, 1):
            ring = rounded_rectangle((2 * z + 0.06, lift + 0.03), 0.03) + vec(0, lift / 2 + 0.015)
            cabinet.add(
                "legs",
                mesh.moved(mesh.rotated(hoop(ring, 0.024, 0.024, 0.004), 90), (side * x, 0, 0)),
            )
    elif kind == "hairpin":
        for sx, sz in spots:
            for turn in (-0.035, 0.035):
                cabinet.add(
                    "legs",
                    mesh.tapered(
                        0.008,
                        0.008,
                        (sx * x, 0.008, sz * z),
                        (sx * x + turn, lift + 0.01, sz * (z - 0.035 + turn * sx * sz)),
                        10,
                    ),
                )
            cabinet.add(
                "legs", mesh.superellipsoid((0.022, 0.016, 0.022), 2, (sx * x, 0.008, sz * z), 6)
            )
    else:
        spread = 0.25 * lift if kind == "splayed" else 0.0
        for sx, sz in spots:
            foot = (sx * (x + spread), 0, sz * (z + spread * 0.6))
            cabinet.add(
                "legs", mesh.tapered(0.013, 0.028, foot, (sx * x, lift + 0.012, sz * z), 20)
            )
        cabinet.add(
            "legs",
            box((width - 0.1, 0.03, 0.03), (0, lift - 0.01, z), 0.005),
            box((width - 0.1, 0.03, 0.03), (0, lift - 0.01, -z), 0.005),
        )
    return lift


COLOURWAYS = (
    colourway(
        {"body": "oak wood", "fronts": "white wood", "legs": "oak wood"},
        handles="black metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "walnut wood", "fronts": "walnut wood", "legs": "gold metal"},
        handles="gold metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "navy wood", "fronts": "teal wood"},
        legs="walnut wood",
        handles="gold metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "white wood", "fronts": "pink wood", "legs": "oak wood"},
        handles="oak wood",
        panes="clear glass",
    ),
    colourway(
        {"body": "black metal", "fronts": "orange metal", "legs": "black metal"},
        handles="black metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "green wood", "fronts": "beige wicker", "legs": "walnut wood"},
        handles="gold metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "grey plastic", "fronts": "yellow plastic", "legs": "silver metal"},
        handles="silver metal",
        panes="clear glass",
    ),
    colourway(
        {"body": "red wood", "fronts": "striped beige fabric", "legs": "black wood"},
        handles="black metal",
        panes="clear glass",
    ),
)

KIND = Kind(
    name="cabinet",
    sample=sample,
    build=build,
    colourways=COLOURWAYS,
    azimuths=(-50, 50),
    elevations=(6, 26),
    synonyms=("cupboard",),
)
