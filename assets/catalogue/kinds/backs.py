"""Backs of chairs and benches, built on one leaning, bowed surface, and armrests beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import trimesh

from assets.catalogue.curves import Points, Vector
from assets.catalogue.kinds.furniture import (
    SQUARE,
    Size,
    TubeSection,
    curve,
    puffed,
    rod,
    sheet,
    tube,
)

Meshes = list[trimesh.Trimesh]
FLAT = TubeSection(power=7.0, across=1.0, along=0.42)


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """A back: the surface it follows, its style and the numbers of its style.

    The surface starts at height `base` and distance `behind` (z), is `width` wide below and
    `top_width` above, `height` long, leans back by `rake` radians, and its sides come forward by
    `bow`. `arch` raises the middle of its top edge; `bars` counts slats, rungs or spindles;
    `thick` is the radius of posts.
    """

    style: str
    base: float
    behind: float
    width: float
    top_width: float
    height: float
    rake: float
    bow: float = 0.0
    arch: float = 0.0
    bars: int = 5
    thick: float = 0.014

    def at(self, u: Size, v: Size) -> Points:
        """Return points (..., 3): u from -1 (left) to 1, v from 0 (seat) to 1 (top)."""
        across, up = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float))
        half = (self.width + (self.top_width - self.width) * up) / 2
        length = up * (self.height + self.arch * (1 - across**2))
        lean = self.rake * (0.45 + 0.55 * up)
        return np.stack(
            [
                across * half,
                self.base + length * np.cos(lean),
                self.behind - length * np.sin(lean) + self.bow * across**2,
            ],
            axis=-1,
        )

    def line(self, start: Vector, end: Vector, num: int = 14) -> Points:
        """Return points along the straight line in (u, v), which follows the surface."""
        pairs = np.linspace(start, end, num)
        return self.at(pairs[:, 0], pairs[:, 1])

    def softened(
        self, low: float, high: float, reach: float = 1.0, round_off: float = 0.16
    ) -> Points:
        """Return a grid (rows, columns, 3) over a rectangle in (u, v) with rounded corners."""
        b, a = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 20), indexing="ij")
        u, v = a * (1 - round_off * b**8), b * (1 - 0.6 * round_off * a**8)
        return self.at(u * reach, (low + high) / 2 + v * (high - low) / 2)

    def disc(self, centre: float, half_height: float, half_width: float) -> Points:
        """Return a grid (rows, columns, 3) over an ellipse in (u, v)."""
        b, a = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25), indexing="ij")
        u, v = a * np.sqrt(1 - b**2 / 2), b * np.sqrt(1 - a**2 / 2)
        return self.at(u * half_width, centre + v * half_height)

    def build(self) -> "BackMeshes":
        """Return the back's structure and the pad upon it, which only some styles have."""
        return BACKS[self.style](self)


@dataclass(frozen=True, kw_only=True, slots=True)
class BackMeshes:
    """The structure of a back and its upholstery, which may be empty."""

    frame: Meshes
    pad: Meshes


def _posts(back: Back, top: float = 1.0) -> Meshes:
    taper = np.linspace(1.15, 0.85, 14) * back.thick
    return [tube(back.line((side, 0), (side, top)), taper, SQUARE) for side in (-1, 1)]


def _rail(back: Back, v: float, half_height: float, reach: float = 1.0) -> trimesh.Trimesh:
    thin = back.thick * 0.62
    section = TubeSection(power=6.0, across=half_height / thin, along=1.0)
    path = back.line((-reach, v), (reach, v), 20)
    # A path along x carries its first axis from z; standing rails want their height on it.
    return _standing_tube(path, thin, section)


def _standing_tube(path: Points, radius: float, section: TubeSection) -> trimesh.Trimesh:
    swapped = TubeSection(power=section.power, across=section.along, along=section.across)
    return tube(path, radius, swapped)


def _slatted(back: Back) -> BackMeshes:
    slat = TubeSection(power=6.0, across=1.0, along=0.3)
    positions = np.linspace(-1, 1, back.bars + 2)[1:-1]
    wide = min(0.55 * back.width / (back.bars + 1), 0.034) / 1.2
    slats = [tube(back.line((u, 0.16), (u, 0.95)), wide, slat) for u in positions]
    rails = [_rail(back, 0.93, 0.028), _rail(back, 0.16, 0.018)]
    return BackMeshes(frame=[*_posts(back), *rails, *slats], pad=[])


def _ladder(back: Back) -> BackMeshes:
    positions = np.linspace(0.94, 0.24, back.bars)
    tall = min(0.3 * back.height * 0.7 / back.bars, 0.032)
    return BackMeshes(frame=_posts(back) + [_rail(back, v, tall) for v in positions], pad=[])


def _spindle(back: Back) -> BackMeshes:
    positions = np.linspace(-0.93, 0.93, back.bars + 2)
    swell = 0.0085 * np.array([0.75, *np.linspace(0.9, 1.15, 6), *np.linspace(1.1, 0.8, 7)])
    rods = [tube(back.line((u, 0), (u * 1.04, 0.95)), swell) for u in positions]
    return BackMeshes(frame=[_rail(back, 0.96, 0.034, 1.12), *rods], pad=[])


def _hoop(back: Back) -> BackMeshes:
    turn = np.linspace(np.pi, 0, 40)
    u, v = np.cos(turn) * 1.0, np.sin(turn) ** 0.62
    v[0] = v[-1] = 0.0
    bow = tube(back.at(u, v), back.thick * 0.85)
    rods = [
        tube(back.line((p * 0.8, 0), (p, max(0.2, float((1 - p**2) ** 0.31)))), 0.0075)
        for p in np.linspace(-1, 1, back.bars + 2)[1:-1]
    ]
    return BackMeshes(frame=[bow, *rods], pad=[])


def _panel(back: Back) -> BackMeshes:
    board = sheet(back.softened(0.26, 1.0), 0.02)
    posts = [
        tube(back.line((side, 0), (side, 0.5)), back.thick * 0.8, SQUARE) for side in (-0.62, 0.62)
    ]
    return BackMeshes(frame=[board, *posts], pad=[])


def _cross(back: Back) -> BackMeshes:
    bars = [
        tube(back.line((-side, 0.2), (side, 0.9)), back.thick * 0.75, FLAT)
        for side in (-0.97, 0.97)
    ]
    rails = [_rail(back, 0.93, 0.03), _rail(back, 0.2, 0.018)]
    return BackMeshes(frame=[*_posts(back), *rails, *bars], pad=[])


def _oval(back: Back) -> BackMeshes:
    turn = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    ring = tube(back.at(np.cos(turn), 0.6 + 0.4 * np.sin(turn)), back.thick * 1.05, closed=True)
    posts = [
        tube(back.line((side, 0), (side * 1.05, 0.34)), back.thick * 1.05) for side in (-0.6, 0.6)
    ]
    return BackMeshes(frame=[ring, *posts], pad=[sheet(back.disc(0.6, 0.395, 0.985), 0.016)])


def _padded(back: Back) -> BackMeshes:
    board = sheet(back.softened(0.16, 1.0, round_off=0.1), 0.022)
    posts = [tube(back.line((side, 0), (side, 0.5)), back.thick, SQUARE) for side in (-0.7, 0.7)]
    grid = back.softened(0.22, 0.955, 0.9, 0.1)
    pad = sheet(grid + np.array([0, 0, 0.018]), puffed(grid.shape[0], grid.shape[1], 0.05, 0.3))
    return BackMeshes(frame=[board, *posts], pad=[pad])


def _cafe(back: Back) -> BackMeshes:
    rail = sheet(back.softened(0.6, 1.0, 1.06), 0.02)
    posts = [tube(back.line((side, 0), (side, 0.86)), back.thick) for side in (-0.9, 0.9)]
    return BackMeshes(frame=[rail, *posts], pad=[])


def _splat(back: Back) -> BackMeshes:
    grid_v = np.linspace(0.06, 0.95, 26)
    wave = 0.30 + 0.13 * np.cos((grid_v - 0.06) * 2 * np.pi / 0.55) + 0.1 * grid_v
    u = np.linspace(-1, 1, 10)[None] * wave[:, None]
    splat = sheet(back.at(u, np.broadcast_to(grid_v[:, None], u.shape)), 0.014)
    crest = _rail(back, 0.96, 0.032, 1.12)
    return BackMeshes(frame=[*_posts(back, 0.97), crest, splat, _rail(back, 0.08, 0.016)], pad=[])


def _frame(back: Back) -> BackMeshes:
    """Return two rounded hoops one inside the other: an open metal frame with cross wires."""
    turn = np.linspace(np.pi, 0, 40)
    built = []
    for scale in (1.0, 0.55):
        u, v = np.cos(turn) * scale, np.sin(turn) ** 0.4 * (0.45 + 0.55 * scale)
        v[0] = v[-1] = 0.0
        built.append(tube(back.at(u, v), back.thick * 0.8))
    wires = [_rail(back, v, 0.016, 0.98) for v in (0.36, 0.58)]
    return BackMeshes(frame=built + wires, pad=[])


def _shield(back: Back) -> BackMeshes:
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    up = np.sin(turn)
    u = np.cos(turn) * (0.84 + 0.18 * up)
    v = 0.58 + up * np.where(up > 0, 0.42, 0.46) - 0.07 * np.cos(turn) ** 8 * (up > 0)
    ring = tube(back.at(u, v), back.thick, closed=True)
    ribs = [
        tube(back.line((p * 0.3, 0.14), (p * 0.95, 0.94 - 0.1 * p * p)), 0.009, FLAT)
        for p in np.linspace(-0.75, 0.75, max(3, back.bars - 2))
    ]
    posts = [tube(back.line((side, 0), (side * 0.9, 0.34)), back.thick) for side in (-0.62, 0.62)]
    return BackMeshes(frame=[ring, *posts, *ribs], pad=[])


def _shell(back: Back) -> BackMeshes:
    """Return a moulded shell that wraps the seat; it sits on the seat's edge."""
    b, a = np.meshgrid(np.linspace(0, 1, 24), np.linspace(-1, 1, 28), indexing="ij")
    u = a * (1 - 0.22 * b**5)
    crest = 1 - 0.42 * np.abs(a) ** 3.5
    return BackMeshes(frame=[sheet(back.at(u, b * crest), 0.016)], pad=[])


BACKS: Mapping[str, Callable[[Back], BackMeshes]] = {
    "slatted": _slatted,
    "ladder": _ladder,
    "spindle": _spindle,
    "hoop": _hoop,
    "panel": _panel,
    "cross": _cross,
    "oval": _oval,
    "padded": _padded,
    "cafe": _cafe,
    "splat": _splat,
    "frame": _frame,
    "shield": _shield,
    "shell": _shell,
}

BACK_WORDS: Mapping[str, str] = {
    "slatted": "slatted back",
    "ladder": "ladder back",
    "spindle": "spindle back",
    "hoop": "hoop back",
    "panel": "solid panel back",
    "cross": "cross back",
    "oval": "oval back",
    "padded": "padded back",
    "cafe": "curved top rail",
    "splat": "splat back",
    "frame": "tubular frame back",
    "shield": "shield back",
    "shell": "moulded shell back",
}


def armrests(style: str, back: Back, *, seat_y: float, front: float, rise: float) -> Meshes:
    """Return two armrests from the back to the front of the seat.

    Args:
        style: "bent" (one bent tube), "posted" (a rail upon a post) or "scrolled" (a curved rail).
        back: The back the armrests start from.
        seat_y: Height of the seat, where the front supports end.
        front: z of the front supports.
        rise: Height of the armrests above the seat.
    """
    built: Meshes = []
    share = rise / back.height
    for side in (-1.0, 1.0):
        start = back.at(side, share)
        wide = side * max(back.width / 2, abs(float(start[0])))
        foot = np.array([wide, seat_y - 0.012, front])
        if style == "bent":
            keys = [start, (wide * 1.1, seat_y + rise, front - 0.08), foot]
            path = np.concatenate(
                [
                    np.linspace(keys[0], keys[1], 8)[:-1],
                    curve([keys[1], (wide * 1.1, seat_y + rise * 0.72, front), keys[2]], 16),
                ]
            )
            built.append(tube(path, 0.012))
            continue
        lift = 0.02 if style == "scrolled" else 0.0
        tip = np.array([wide * 1.08, seat_y + rise, front + 0.03])
        middle = (start + tip) / 2 + (side * 0.02, -lift, 0)
        rail = tube(
            curve([start, middle, tip], 16),
            np.linspace(0.7, 1.1, 16) * 0.021,
            TubeSection(power=4.0, across=1.0, along=0.6),
        )
        built += [
            rail,
            rod(
                foot, tip - (0, 0.004, 0.035), 0.013, SQUARE if style == "posted" else TubeSection()
            ),
        ]
    return built
