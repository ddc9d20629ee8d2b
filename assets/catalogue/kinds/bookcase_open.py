"""Bookcases without a frame around them: ladders, stairs of cubes, posts, snakes, tiers."""

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import rounded_corners
from assets.catalogue.kinds.books import Bay, fill
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, slab


def ladder(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build shelves deepening downwards between two leaning sides."""
    levels, board = v.count("levels"), v.num("board")
    half, foot, head = v.num("width") * 0.42, v.num("depth") * 1.55, 0.12
    high = levels * v.num("clearance") + 0.22
    post = 0.02 + 0.4 * board
    for side in (-1, 1):
        front = np.array([(foot, 0), (foot - post, 0), (head - post, high), (head, high)])
        case.add("frame", slab(front, 0.034, 0.005, axis="x", at=side * half))
        case.add("frame", box((0.034, high, post), (side * half, high / 2, post / 2), 0.006))
        case.add("frame", box((0.03, post, head), (side * half, high - post, head / 2), 0.005))
    bays = []
    for k in range(levels):
        y = 0.12 + k * v.num("clearance")
        deep = foot + (head - foot) * y / high
        case.add(
            "shelves", box((2 * half + 0.02, board, deep), (0, y + board / 2, deep / 2), 0.006)
        )
        if v.flag("brace"):
            case.add("shelves", box((2 * half, 0.05, 0.014), (0, y + board + 0.02, 0.02), 0.004))
        bays.append(
            Bay(
                left=-half + 0.03,
                right=half - 0.03,
                floor=y + board,
                height=v.num("clearance") - board - 0.02,
                depth=deep * 0.95 - 0.03,
                back=0.03,
            )
        )
    fill(case, bays, rng, v.num("fill"))


def steps(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build columns of cubes, each column a step higher or lower."""
    levels = min(v.count("levels"), 5)
    cell, board, depth = v.num("clearance") + 0.05, v.num("board"), v.num("depth")
    columns = max(2, v.count("columns") + 1)
    heights = [max(1, round(levels * (k + 1) / columns)) for k in range(columns)]
    heights = heights[::-1] if v.flag("rising") else heights
    left = -columns * cell / 2
    bays = []
    for k, count in enumerate(heights):
        x = left + k * cell
        wall = max(count, heights[k - 1] if k else 0)
        case.add(
            "frame",
            box((board, wall * cell + board, depth), (x, (wall * cell + board) / 2, 0), 0.005),
        )
        for j in range(count + 1):
            part = "frame" if j in (0, count) else "shelves"
            case.add(
                part,
                box(
                    (cell + 0.6 * board, board, depth - 0.004),
                    (x + cell / 2, j * cell + board / 2, 0),
                    0.005,
                ),
            )
        bays += [
            Bay(
                left=x + 0.6 * board,
                right=x + cell - 0.6 * board,
                floor=j * cell + board,
                height=cell - board,
                depth=depth - 0.03,
                back=-depth / 2 + 0.02,
            )
            for j in range(count)
        ]
    case.add(
        "frame",
        box(
            (board, heights[-1] * cell + board, depth),
            (-left, (heights[-1] * cell + board) / 2, 0),
            0.005,
        ),
    )
    if v.flag("back"):
        for k, count in enumerate(heights):
            case.add(
                "frame",
                box(
                    (cell, count * cell, 0.014),
                    (left + (k + 0.5) * cell, count * cell / 2 + 0.01, -depth / 2 + 0.01),
                    0.0,
                ),
            )
    case.add(
        "shelves",
        *(
            box(
                (cell, 0.03, 0.012),
                (left + (k + 0.5) * cell, count * cell + 0.6 * board, depth / 2),
                0.004,
            )
            for k, count in enumerate(heights)
        ),
    )
    fill(case, bays, rng, v.num("fill"))


def posts(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build planks on four round posts."""
    levels, board, depth, half = (
        v.count("levels"),
        v.num("board"),
        v.num("depth"),
        v.num("width") / 2,
    )
    high = 0.12 + levels * v.num("clearance")
    radius = 0.011 + 0.2 * board
    x, z = half - 0.03, depth / 2 - 0.03
    for sx in (-1, 1):
        for sz in (-1, 1):
            case.add(
                "frame",
                mesh.tapered(
                    radius, radius, (sx * x, 0, sz * z), (sx * x, high + 0.02, sz * z), 16
                ),
                mesh.superellipsoid((3.4 * radius,) * 3, 2, (sx * x, high + 0.03, sz * z), 8),
            )
    floors = [0.12 + k * v.num("clearance") for k in range(levels)]
    plank = rounded_corners(
        [(-half, -depth / 2), (half, -depth / 2), (half, depth / 2), (-half, depth / 2)], 0.04
    )
    for y in (*floors, high - board):
        case.add("shelves", slab(plank, board, 0.006, axis="y", at=y + board / 2))
    if v.flag("brace"):
        for sign in (-1, 1):
            case.add(
                "frame",
                mesh.tapered(0.008, 0.008, (-sign * x, floors[0], -z), (sign * x, high, -z), 12),
            )
    inset = 2.5 * radius + 0.03
    bays = [
        Bay(
            left=-half + inset,
            right=half - inset,
            floor=y + board,
            height=v.num("clearance") - board,
            depth=depth - 0.05,
            back=-depth / 2 + 0.03,
        )
        for y in floors
    ]
    fill(case, bays, rng, v.num("fill"))


def snake(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build planks joined at alternate ends, each propped inside."""
    levels, board, depth, half = (
        v.count("levels"),
        v.num("board"),
        v.num("depth"),
        v.num("width") / 2,
    )
    rise = v.num("clearance") + 0.02
    side = 1 if v.flag("rising") else -1
    bays = []
    for k in range(levels + 1):
        case.add("shelves", box((2 * half, board, depth), (0, k * rise + board / 2, 0), 0.006))
    for k in range(levels):
        x, y = side * (half - board / 2), k * rise
        case.add(
            "frame",
            box((board, rise + board, depth + 0.004), (x, y + (rise + board) / 2, 0), 0.006),
        )
        prop = -side * half * (0.2 + 0.4 * v.num("fill"))
        case.add(
            "frame", box((board, rise, depth - 0.02), (prop, y + (rise + board) / 2, 0), 0.004)
        )
        inner = sorted((x - side * 0.6 * board, prop + side * 0.6 * board))
        bays.append(
            Bay(
                left=inner[0],
                right=inner[1],
                floor=y + board,
                height=rise - board,
                depth=depth - 0.03,
                back=-depth / 2 + 0.015,
            )
        )
        side = -side
    fill(case, bays, rng, v.num("fill"))


def tiers(case: Assembly, v: Values, rng: np.random.Generator) -> None:
    """Build stacked shelves, each narrower than the one below."""
    levels, board, depth = v.count("levels"), v.num("board"), v.num("depth")
    rise, y, bays = v.num("clearance"), 0.0, []
    half = v.num("width") / 2 + 0.05 * levels
    shrink = max(0.14, 0.5 * half / levels) if levels > 1 else 0.0
    for _ in range(levels):
        case.add(
            "frame",
            *(
                box(
                    (board, rise + 0.01, depth - 0.01),
                    (side * (half - 0.06), y + board + rise / 2 - 0.01, 0),
                    0.005,
                )
                for side in (-1, 1)
            ),
        )
        case.add("shelves", box((2 * half, board, depth), (0, y + board / 2, 0), 0.006))
        if v.flag("back"):
            case.add(
                "frame",
                box(
                    (2 * half - 0.12, rise, 0.014),
                    (0, y + board + rise / 2 - 0.004, -depth / 2 + 0.02),
                    0.0,
                ),
            )
        bays.append(
            Bay(
                left=-half + 0.09,
                right=half - 0.09,
                floor=y + board,
                height=rise - 0.02,
                depth=depth - 0.04,
                back=-depth / 2 + 0.03,
            )
        )
        y += rise
        half = max(0.19, half - shrink / 2)
    case.add("shelves", box((2 * half + 0.04, board, depth), (0, y + board / 2, 0), 0.006))
    fill(case, bays, rng, v.num("fill"))
