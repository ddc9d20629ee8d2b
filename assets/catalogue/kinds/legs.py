"""Legs and bases of seats and tables, from single turned legs to sleds, pedestals and stars."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.interpolate import PchipInterpolator

from assets.catalogue.curves import Points, Vector
from assets.catalogue.kinds.furniture import (
    ROUND,
    SQUARE,
    Slab,
    TubeSection,
    curve,
    outline,
    rod,
    rounded_path,
    tube,
)

Meshes = list[trimesh.Trimesh]

LEG_WORDS: Mapping[str, str] = {
    "straight": "straight square legs",
    "round": "round straight legs",
    "tapered": "tapered legs",
    "splayed": "splayed legs",
    "turned": "turned legs",
    "cabriole": "curved cabriole legs",
    "sabre": "curved sabre legs",
    "hairpin": "hairpin legs",
    "sled": "a sled base",
    "cantilever": "a cantilever base",
    "frames": "a-frame legs",
    "crossed": "crossed legs",
    "pedestal": "a pedestal base",
    "star": "a swivel star base",
}

# Radius along a turned leg, from the foot (0) to the top (1), as a share of the leg's radius.
TURNINGS = (
    (0.0, 0.55), (0.05, 0.72), (0.09, 0.5), (0.13, 0.85), (0.17, 0.52), (0.38, 0.95), (0.52, 0.8),
    (0.6, 0.5), (0.64, 0.92), (0.68, 0.52), (0.74, 1.0), (0.8, 0.62), (0.84, 1.0), (1.0, 1.0),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Stance:
    """Where four legs start under a top and stand on the floor.

    `front`, `back` and `depth` are distances between the legs' axes at the top, `height` is where
    they end (inside what they carry); `splay` moves each foot outwards, `rear` moves the back feet
    further back.
    """

    front: float
    back: float
    depth: float
    height: float
    splay: float = 0.0
    rear: float = 0.0

    def tops(self) -> Points:
        """Return the upper ends: front right, front left, back left, back right."""
        f, b, z = self.front / 2, self.back / 2, self.depth / 2
        y = self.height
        return np.array([(f, y, z), (-f, y, z), (-b, y, -z), (b, y, -z)])

    def feet(self) -> Points:
        """Return the points on the floor in the same order."""
        out = np.array([(1, 0, 1), (-1, 0, 1), (-1, 0, -1), (1, 0, -1)]) * self.splay
        out[2:, 2] -= self.rear
        return self.tops() * (1, 0, 1) + out

    def at(self, height: float) -> Points:
        """Return the legs' axes at a height above the floor."""
        share = height / self.height
        return self.feet() * (1 - share) + self.tops() * share


def leg(style: str, top: Vector, foot: Vector, radius: float) -> trimesh.Trimesh:
    """Return one leg of a style from the foot on the floor to the top."""
    return LEGS[style](np.asarray(foot, float), np.asarray(top, float), radius)


def _straight(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    return rod(top, foot, radius, SQUARE)


def _round(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    return rod(top, foot, radius * 0.9)


def _tapered(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    return tube(np.linspace(foot, top, 5), np.linspace(0.52, 1.1, 5) * radius)


def _turned(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    share, factor = np.array(TURNINGS).T
    along = np.linspace(0, 1, 48)
    return tube(
        foot + along[:, None] * (top - foot), PchipInterpolator(share, factor)(along) * radius
    )


def _cabriole(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    return _bent(foot, top, (0.6, -1.1, 1.3, 0.0), radius * np.array([1.0, 0.62, 0.85, 1.3, 1.2]))


def _sabre(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    return _bent(foot, top, (2.2, 0.2, -0.3, 0.0), radius * np.array([0.6, 0.7, 0.85, 1.0, 1.1]))


def _bent(foot: Points, top: Points, offsets: Vector, radii: Points) -> trimesh.Trimesh:
    """Bend a leg away from the object's axis.

    The offsets, in leg radii, apply at 0, 30, 75 and 100 % of its height.
    """
    away = top * (1, 0, 1)
    away = away / max(float(np.linalg.norm(away)), 1e-9)
    heights = (0.0, 0.3, 0.75, 1.0)
    swing = radii.max() * min(1.0, float(top[1]) / 0.36)  # short legs bend less
    keys = [
        foot + (top - foot) * h + away * o * swing
        for h, o in zip(heights, np.asarray(offsets), strict=True)
    ]
    path = curve(keys, 20)
    widths = PchipInterpolator(np.linspace(0, 1, len(radii)), radii)(np.linspace(0, 1, 20))
    mesh = tube(path, widths)
    mesh.vertices[:, 1] = np.clip(mesh.vertices[:, 1], 0.0, top[1])
    return mesh


def _standing(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Flatten what a slanted end pushes below the floor."""
    mesh.vertices[:, 1] = np.maximum(mesh.vertices[:, 1], 0.0)
    return mesh


def _hairpin(foot: Points, top: Points, radius: float) -> trimesh.Trimesh:
    away = (
        np.array([-top[2], 0, top[0]]) / max(float(np.hypot(top[0], top[2])), 1e-9) * radius * 2.2
    )
    wire = radius * 0.28
    heel = foot + np.array([0, wire, 0])
    return tube(
        rounded_path([top + away, heel + away * 0.12, heel - away * 0.12, top - away], 0.02), wire
    )


LEGS: Mapping[str, Callable[[Points, Points, float], trimesh.Trimesh]] = {
    "straight": _straight,
    "round": _round,
    "tapered": _tapered,
    "splayed": _tapered,
    "turned": _turned,
    "cabriole": _cabriole,
    "sabre": _sabre,
    "hairpin": _hairpin,
}


def four_legs(style: str, stance: Stance, radius: float) -> Meshes:
    """Return four legs of a style in `LEGS`."""
    return [
        _standing(leg(style, top, foot, radius))
        for top, foot in zip(stance.tops(), stance.feet(), strict=True)
    ]


def stretchers(layout: str, stance: Stance, height: float, radius: float) -> Meshes:
    """Return bars between four legs: "none", "box", "h" or "crossed"."""
    a, b, c, d = stance.at(height)
    pairs = {
        "none": [],
        "box": [(a, b), (b, c), (c, d), (d, a)],
        "h": [(b, c), (a, d), ((b + c) / 2, (a + d) / 2)],
        "crossed": [(a, c), (b, d)],
    }[layout]
    return [rod(start, end, radius) for start, end in pairs]


def sled(stance: Stance, radius: float) -> Meshes:
    """Return two loops of bent tube, left and right, and bars that join them under the top."""
    tops, feet = stance.tops(), stance.feet() + np.array([0, radius, 0])
    loops = [(tops[0], feet[0], feet[3], tops[3]), (tops[1], feet[1], feet[2], tops[2])]
    bends = [tube(rounded_path(loop, 0.06), radius) for loop in loops]
    return [*bends, rod(tops[0], tops[1], radius), rod(tops[3], tops[2], radius)]


def cantilever(stance: Stance, radius: float) -> Meshes:
    """Return one bent tube: up from a floor loop at the front, nothing at the back."""
    tops, feet = stance.tops(), stance.feet() + np.array([0, radius, 0])
    path = [tops[3], tops[0], feet[0], feet[3], feet[2], feet[1], tops[1], tops[2]]
    return [tube(rounded_path(path, 0.07), radius), rod(tops[3], tops[2], radius)]


def frames(stance: Stance, radius: float) -> Meshes:
    """Return an A-shaped frame on each side, with a crossbar, joined under the top."""
    tops, feet = stance.tops(), stance.feet()
    built: Meshes = []
    for right in (True, False):
        near, far = (0, 3) if right else (1, 2)
        squeeze = np.array([1, 1, 0.3])
        peaks = tops[near] * squeeze, tops[far] * squeeze
        ends = feet[near], feet[far]
        built += [
            _standing(rod(top, foot, radius, SQUARE)) for top, foot in zip(peaks, ends, strict=True)
        ]
        low = [foot + (top - foot) * 0.42 for top, foot in zip(peaks, ends, strict=True)]
        built += [
            rod(low[0], low[1], radius * 0.8, SQUARE),
            rod(peaks[0], peaks[1], radius, SQUARE),
        ]
    built += [rod(tops[0] * (1, 1, z), tops[1] * (1, 1, z), radius, SQUARE) for z in (0.3, -0.3)]
    return built


def crossed(stance: Stance, radius: float) -> Meshes:
    """Return a folding X on each side, joined by bars at the crossing and under the top."""
    tops, feet = stance.tops(), stance.feet()
    built: Meshes = []
    for right in (True, False):
        near, far = (0, 3) if right else (1, 2)
        step = np.array([radius if right else -radius, 0, 0])
        built += [
            _standing(rod(tops[near] + step, feet[far] + step, radius, SQUARE)),
            _standing(rod(tops[far] - step, feet[near] - step, radius, SQUARE)),
        ]
    middle = (tops[[0, 1]] + feet[[3, 2]]) / 2
    ends = [(tops[0], tops[1]), (tops[3], tops[2]), (middle[0], middle[1])]
    return built + [rod(start, end, radius * 0.9) for start, end in ends]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A central support from the floor to `height`, `radius` thick, on a foot of `foot_radius`."""

    height: float
    radius: float
    foot_radius: float

    def pedestal(self, style: str) -> Meshes:
        """Return a turned column: "trumpet", "disc" or "vase"."""
        share, factor = np.array(PEDESTALS[style]).T
        along = np.concatenate([np.linspace(0, 0.12, 12), np.linspace(0.14, 1, 36)])
        sway = PchipInterpolator(share, factor)(along)
        radii = self.radius + (self.foot_radius - self.radius) * sway
        path = np.column_stack([along * 0, along * self.height, along * 0])
        return [tube(path, radii)]

    def star(self, num_arms: int, *, castors: bool) -> Meshes:
        """Return a column on arms that slope to the floor, on castors or small pads."""
        lift = 0.055 if castors else 0.02
        hub = lift + 0.065
        built = [
            rod((0, lift + 0.01, 0), (0, hub + 0.03, 0), self.radius * 1.7),
            rod((0, hub, 0), (0, self.height, 0), self.radius),
        ]
        for angle in np.pi / 2 + 2 * np.pi * np.arange(num_arms) / num_arms:
            way = np.array([np.cos(angle), 0, np.sin(angle)])
            tip = way * self.foot_radius + (0, lift + 0.012, 0)
            path = np.linspace((0, hub - 0.01, 0), tip, 4)
            built.append(tube(path, np.linspace(1.1, 0.65, 4) * self.radius, SQUARE))
            if castors:
                side = np.array([-way[2], 0, way[0]]) * 0.014
                centre = tip * (1, 0, 1) + (0, 0.028, 0)
                built += [rod(centre - side, centre + side, 0.028), rod(centre, tip, 0.009)]
            else:
                built.append(rod(tip * (1, 0, 1), tip, self.radius * 0.7))
        return built

    def claws(self, num_feet: int) -> Meshes:
        """Return a turned column on curved feet."""
        share, factor = np.array(PEDESTALS["vase"]).T
        along = np.linspace(0.1, 1, 40)
        radii = self.radius * (
            0.85 + 1.1 * np.clip(PchipInterpolator(share, factor)(along), -0.2, 0.75)
        )
        built = [tube(np.column_stack([along * 0, along * self.height, along * 0]), radii)]
        rise = min(0.42 * self.height, 0.26)
        for angle in np.pi / 2 + 2 * np.pi * (np.arange(num_feet) + 0.5) / num_feet:
            way = np.array([np.cos(angle), 0, np.sin(angle)])
            thick = self.radius * 0.62
            keys = [
                (0, rise, 0),
                way * self.foot_radius * 0.45 + (0, rise * 0.8, 0),
                way * self.foot_radius * 0.8 + (0, rise * 0.28, 0),
                way * self.foot_radius + (0, thick * 0.6, 0),
            ]
            claw = tube(curve(keys, 16), np.linspace(1.15, 0.75, 16) * thick)
            claw.vertices[:, 1] -= claw.vertices[:, 1].min()
            built.append(_standing(claw))
        return built


# How far towards the foot's radius a column is at a share of its height.
PEDESTALS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "trumpet": (
        (0, 1.0), (0.03, 0.98), (0.08, 0.6), (0.2, 0.18), (0.45, 0.0), (0.75, 0.04), (0.92, 0.2),
        (1, 0.4),
    ),
    "disc": (
        (0, 1.0), (0.03, 1.0), (0.05, 0.85), (0.06, 0.12), (0.09, 0.0), (0.95, 0.0), (1, 0.25),
    ),
    "vase": (
        (0, 1.0), (0.05, 1.0), (0.09, 0.8), (0.13, 0.15), (0.18, 0.35), (0.3, 0.42), (0.5, 0.1),
        (0.6, 0.0), (0.64, 0.2), (0.68, 0.0), (0.9, 0.1), (1, 0.35),
    ),
}  # fmt: skip


def apron(width: float, depth: float, low: float, high: float) -> Meshes:
    """Return the four boards under a top, their outer faces `width` and `depth` apart."""
    thick, middle, half = 0.01, (low + high) / 2, (high - low) / 2
    board = TubeSection(power=12.0, across=1.0, along=half / thick)
    x, z = width / 2 - thick, depth / 2 - thick
    front = [rod((-x, middle, side), (x, middle, side), thick, board) for side in (z, -z)]
    sides = TubeSection(power=12.0, across=1.0, along=half / thick)
    return front + [rod((side, middle, -z), (side, middle, z), thick, sides) for side in (x, -x)]


def round_apron(width: float, depth: float, low: float, high: float) -> Meshes:
    """Return a round band under a round or oval top."""
    return [Slab(low=low, high=high, edge=0.004).build(outline(width, depth, 2.0))]


def feet(style: str, stance: Stance, radius: float) -> Meshes:
    """Return short furniture feet: any leg style, or "bun"."""
    if style != "bun":
        return four_legs(style, stance, radius)
    share = np.linspace(0, 1, 16)
    belly = radius * (0.62 + 0.75 * np.sqrt(np.clip(np.sin(np.pi * (0.08 + 0.84 * share)), 0, 1)))
    paths = [
        (1 - share[:, None]) * foot + share[:, None] * top
        for top, foot in zip(stance.tops(), stance.feet(), strict=True)
    ]
    return [tube(path, belly, ROUND) for path in paths]
