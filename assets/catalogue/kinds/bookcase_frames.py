"""Bookcases inside a frame of any outline, with bays, and doors or drawers below."""

from itertools import pairwise

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, arc, rounded_rectangle
from assets.catalogue.kinds.books import Bay, fill
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, hoop, slab, vec


def _outline(name: str, half: Real, low: Real, high: Real) -> Points:
    if name == "round":
        middle, radius = (low + high) / 2, (high - low) / 2
        return arc(1, -90, 270, 61)[:-1] * (max(half, 0.85 * radius), radius) + vec(0, middle)
    if name == "arch":
        bow = arc(half, 0, 180, 33) * (1, 0.75) + vec(0, high)
        return np.concatenate([[(-half, low), (half, low)], bow])
    if name == "gable":
        return np.array(
            [(-half, low), (half, low), (half, high), (0, high + 0.85 * half), (-half, high)]
        )
    if name == "rounded":
        return rounded_rectangle((2 * half, high - low), 0.45 * half, 9) + vec(0, (low + high) / 2)
    top = 0.62 * half if name == "tapering" else half
    return np.array([(-half, low), (half, low), (top, high), (-top, high)])


def _span(outline: Points, y: Real) -> tuple[Real, Real]:
    """Return where a horizontal line crosses a convex outline, (0, 0) where it does not."""
    ahead = np.roll(outline, -1, 0)
    low, high = np.minimum(outline[:, 1], ahead[:, 1]), np.maximum(outline[:, 1], ahead[:, 1])
    crossing = (low <= y) & (y < high)
    if not crossing.any():
        return 0.0, 0.0
    a, b = outline[crossing], ahead[crossing]
    x = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return float(x.min()), float(x.max())


def framed(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build a bookcase inside a frame of the chosen outline."""
    name, board, depth, levels = (
        v.text("outline"),
        v.num("board"),
        v.num("depth"),
        v.count("levels"),
    )
    is_round = name == "round"
    base = "none" if is_round else v.text("base")
    feet = "plinth" if is_round else v.text("feet")
    low = {"none": 0.0, "plinth": 0.07, "legs": 0.14}[feet]
    cupboard = 0.0 if base == "none" else 0.36
    half, high = v.num("width") / 2, low + cupboard + levels * v.num("clearance")
    outline = _outline(name, half, low, high)
    case.add("frame", hoop(outline, board * 1.15, depth, 0.006))
    if v.flag("back") or base != "none":
        case.add("frame", slab(outline + vec(0, 0), 0.016, at=-depth / 2 + 0.012))
    _stand(case, feet, half * (0.5 if is_round else 1), low, depth)
    if name == "cornice":
        case.add(
            "frame",
            box((2 * half + 0.09, 0.05, depth + 0.06), (0, high + 0.015, 0), 0.015),
            box((2 * half + 0.04, 0.03, depth + 0.03), (0, high - 0.02, 0), 0.008),
        )
    first = low + cupboard
    floors = [first + k * v.num("clearance") for k in range(levels)]
    if is_round:
        rise = (high - low) / (levels + 0.6)
        floors = [low + (k + 0.55) * rise for k in range(levels)]
    bays = _shelve(case, v, outline, floors, is_round or cupboard > 0)
    if cupboard:
        _cupboard(case, v, low + board, first, _span(outline, low + cupboard / 2))
    fill(case, bays, rng, v.num("fill"))


def _stand(case: Assembly, feet: str, half: Real, low: Real, depth: Real) -> None:
    if feet == "plinth":
        case.add(
            "frame",
            box((2 * half - 0.05, low + 0.02, depth - 0.05), (0, low / 2 + 0.01, -0.005), 0.006),
        )
    elif feet == "legs":
        spots = [(sx * (half - 0.05), sz * (depth / 2 - 0.04)) for sx in (-1, 1) for sz in (-1, 1)]
        case.add(
            "frame",
            *(
                mesh.tapered(0.014, 0.024, (x * 1.04, 0, z * 1.08), (x, low + 0.012, z), 16)
                for x, z in spots
            ),
        )


def _shelve(
    case: Assembly, v: Values, outline: Points, floors: list[float], has_bottom: bool
) -> list[Bay]:
    """Add boards and dividers inside an outline; return the bays above the boards."""
    board, depth = v.num("board"), v.num("depth")
    top = float(outline[:, 1].max())
    bays = []
    for k, floor in enumerate(floors):
        ceiling = floors[k + 1] if k + 1 < len(floors) else top
        left, right = _span(outline, floor + board / 2)
        if k > 0 or has_bottom:
            case.add(
                "shelves",
                box(
                    (right - left - board, board, depth - 0.02),
                    ((left + right) / 2, floor + board / 2, -0.004),
                    0.005,
                ),
            )
        head = min(ceiling - board, floor + v.num("clearance"))
        above = _span(outline, head - 0.03)
        inner = (max(left, above[0]) + 1.2 * board, min(right, above[1]) - 1.2 * board)
        if inner[1] - inner[0] < 0.1:
            continue
        columns = max(1, min(v.count("columns"), int((inner[1] - inner[0]) / 0.24)))
        edges = np.linspace(inner[0], inner[1], columns + 1)
        for x in edges[1:-1]:
            reach = ceiling - floor - 0.5 * board
            if ceiling == top:
                reach = (
                    head - floor - 0.2 * board
                    if v.text("outline") in ("arch", "gable", "round")
                    else reach - 0.3 * board
                )
                continue
            case.add(
                "frame",
                box(
                    (0.8 * board, reach, depth - 0.03),
                    (x, floor + 0.5 * board + reach / 2, -0.006),
                    0.004,
                ),
            )
        gap = 0.4 * board if ceiling < top else 0.0
        bays += [
            Bay(
                left=a + gap,
                right=b - gap,
                floor=floor + board,
                height=head - floor - board,
                depth=depth - 0.03,
                back=-depth / 2 + 0.02,
            )
            for a, b in pairwise(edges)
        ]
    return bays


def _cupboard(case: Assembly, v: Values, low: Real, high: Real, span: tuple[Real, Real]) -> None:
    """Return doors or drawers below the lowest shelf, with knobs."""
    left, right, z = span[0] + v.num("board"), span[1] - v.num("board"), v.num("depth") / 2 - 0.006
    behind = ((left + right) / 2, (low + high) / 2, z - 0.014)
    case.add("frame", box((right - left + 0.02, high - low + 0.01, 0.012), behind, 0.0))
    columns = 2 if right - left > 0.5 or v.text("base") == "doors" else 1
    rows = 1 if v.text("base") == "doors" else 2
    wide, tall = (right - left) / columns, (high - low) / rows
    for i in range(columns):
        for j in range(rows):
            x, y = left + (i + 0.5) * wide, low + (j + 0.5) * tall
            case.add("doors", box((wide - 0.008, tall - 0.008, 0.022), (x, y, z), 0.005))
            if rows == 1:
                case.add("doors", box((wide - 0.1, tall - 0.1, 0.012), (x, y, z + 0.012), 0.005))
            knob = (
                x + (wide / 2 - 0.03) * (1 if i == 0 else -1) * (columns == 2) * (rows == 1),
                y,
                z + 0.026,
            )
            case.add("shelves", mesh.superellipsoid((0.032, 0.032, 0.034), 2.2, knob, 8))
