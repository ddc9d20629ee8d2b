"""Upholstered bodies shared by sofas and armchairs: bases, arms, backs, cushions, tufting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import trimesh

from assets.catalogue.curves import Points, Vector
from assets.catalogue.kinds.furniture import (
    Path,
    Slab,
    TubeSection,
    outline,
    puffed,
    rod,
    sheet,
    tube,
)
from assets.catalogue.kinds.legs import Meshes
from assets.catalogue.mesh import cushion, extrude, moved, rotated, rounded_box, superellipsoid

ARM_WORDS: Mapping[str, str] = {
    "rolled": "rolled arms",
    "track": "square track arms",
    "sloped": "sloped arms",
    "flared": "flared arms",
    "pad": "padded low arms",
    "english": "low round arms",
}
BACK_WORDS: Mapping[str, str] = {
    "straight": "straight back",
    "camel": "camel back",
    "round": "rounded back",
    "tufted": "tufted back",
    "channelled": "channelled back",
    "cushioned": "cushioned back",
    "rolled": "rolled back",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """The measures of an upholstered seat for one or more.

    `width` and `depth` are overall, `floor` is the underside above the floor, `seat` the top of
    the cushions, `top` the top of the back, `arm_top` and `arm_width` the arms; `lean` is how far
    the back's top leans back.
    """

    width: float
    depth: float
    floor: float
    seat: float
    top: float
    arm_top: float
    arm_width: float
    back_thick: float
    lean: float
    num_seats: int

    @property
    def inside(self) -> float:
        """Width between the arms."""
        return self.width - 2 * self.arm_width

    @property
    def seat_depth(self) -> float:
        """Depth of the seat cushions, from the back to the front edge."""
        return self.depth - self.back_thick

    @property
    def deck(self) -> float:
        """Height of what the seat cushions lie on."""
        return self.seat - 0.13

    def base(self, *, skirt: bool = False) -> Meshes:
        """Return the box under the seat; a pleated skirt reaches almost to the floor."""
        size = (self.width - 0.02, self.deck - self.floor, self.depth - 0.03)
        centre = (0, (self.deck + self.floor) / 2, -0.005)
        body = rounded_box(size, 0.025, centre)
        if not skirt:
            return [body]
        hem = rounded_box(
            (self.width, self.floor - 0.005, self.depth - 0.01),
            0.012,
            (0, self.floor / 2 + 0.03, 0),
        )
        pleats = [
            rod(
                (x, 0.035, self.depth / 2 - 0.004),
                (x, self.floor + 0.02, self.depth / 2 - 0.006),
                0.008,
            )
            for x in np.linspace(-0.5, 0.5, 2 * self.num_seats + 1) * (self.width - 0.06)
        ]
        return [body, hem, *pleats]

    def arms(self, style: str) -> Meshes:
        """Return both arms of a style in `ARMS`."""
        right = ARMS[style](self)
        return [*right, *(_mirrored(mesh) for mesh in right)]

    def back(self, style: str) -> Meshes:
        """Return the back of a style in `BACKS`, without loose cushions."""
        return BACKS[style](self)

    def seat_cushions(self, *, split: bool = True, front: float = 0.0) -> Meshes:
        """Return the seat cushions side by side, or one long one; `front` lets them jut out."""
        count = self.num_seats if split else 1
        step, long = self.inside / count, self.seat_depth + 0.02 + front
        piece = outline(step - 0.008, long, 14.0)
        slab = Slab(low=self.deck - 0.015, high=self.seat - 0.012, edge=0.04, crown=0.022)
        z = (self.depth / 2 - long / 2) + front
        return [slab.build(piece, (x, z)) for x in self.positions(count)]

    def positions(self, count: int) -> Points:
        """Return x of the middles of `count` equal seats between the arms."""
        return (np.arange(count) + 0.5 - count / 2) * self.inside / count

    def back_cushions(self, count: int, thick: float = 0.17) -> Meshes:
        """Return loose cushions that lean on the back."""
        tall = self.top - self.seat + 0.035
        size = (self.inside / count - 0.012, tall, thick)
        z = -self.depth / 2 + self.back_thick + thick * 0.26
        built: Meshes = []
        for x in self.positions(count):
            body = standing_cushion(size)
            body = rotated(body, -np.degrees(np.arctan2(self.lean, tall)) - 4, "x")
            built.append(moved(body, (x, self.seat - 0.02 + tall / 2, z)))
        return built

    def buttons(self, rows: int, columns: int) -> Meshes:
        """Return the buttons of a tufted back, half sunk into its front."""
        built: Meshes = []
        button = superellipsoid((0.028, 0.028, 0.018), 2.0, steps=5)
        for row in range(rows):
            share = (row + 0.5) / rows
            y = self.seat + 0.05 + share * (self.top - self.seat - 0.1)
            z = self.front_of_back(y) + 0.002
            shift = 0.5 if row % 2 else 0.0
            for x in (
                (np.arange(columns - (row % 2)) + 0.5 + shift - columns / 2) * self.inside / columns
            ):
                built.append(moved(button, (x, y, z)))
        return built

    def front_of_back(self, y: float) -> float:
        """Return z of the back's front surface at a height."""
        rise = (y - self.floor) / (self.top - self.floor)
        return -self.depth / 2 + self.back_thick - self.lean * rise


def standing_cushion(size: Vector, puff: float = 0.42) -> trimesh.Trimesh:
    """Return a soft cushion that stands upright, its crown to the front, centred on the origin."""
    wide, tall, thick = size
    return rotated(cushion((wide, thick, tall), puff=puff), 90, "x")


def pillow(side: float, position: Vector, turn: float) -> trimesh.Trimesh:
    """Return a square throw pillow, leaning back and turned about y by degrees."""
    body = standing_cushion((side, side, side * 0.36), 0.62)
    return moved(rotated(rotated(body, -18, "x"), turn, "y"), position)


def _mirrored(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices * (-1, 1, 1), mesh.faces[:, ::-1], process=False)


# ---- arms (the right one; the other is its mirror image) -----------------------------------------
def _side(s: Suite) -> float:
    return s.width / 2 - s.arm_width / 2


def _track(s: Suite) -> Meshes:
    size = (s.arm_width, s.arm_top - s.floor, s.depth)
    return [rounded_box(size, 0.03, (_side(s), (s.arm_top + s.floor) / 2, 0))]


def _rolled(s: Suite) -> Meshes:
    radius = s.arm_width * 0.56
    x, y = s.width / 2 - radius * 0.9, s.arm_top - radius
    wall = rounded_box(
        (s.arm_width * 0.78, y - s.floor, s.depth),
        0.02,
        (_side(s) - 0.1 * s.arm_width, (y + s.floor) / 2, 0),
    )
    path = np.linspace((x, y, -s.depth / 2 + 0.02), (x, y, s.depth / 2 - 0.015), 4)
    roll = tube(path, radius)
    front = tube(np.linspace((x, y, s.depth / 2 - 0.04), (x, y, s.depth / 2), 3), radius * 0.72)
    return [wall, roll, front]


def _sloped(s: Suite) -> Meshes:
    z, low = s.depth / 2, s.floor
    high = min(s.arm_top + 0.14, s.top - 0.04)
    side = [
        (-z, low),
        (z, low),
        (z, s.arm_top - 0.05),
        (z - 0.06, s.arm_top),
        (-z + 0.1, high),
        (-z, high),
    ]
    return [moved(_turned_side(side, s.arm_width, 0.028), (_side(s), 0, 0))]


def _turned_side(profile: Path, width: float, bevel: float) -> trimesh.Trimesh:
    """Extrude a (z, y) side view along x."""
    flat = np.asarray(profile, float) * (-1, 1)
    return rotated(extrude(flat[::-1], width, bevel), 90, "y")


def _flared(s: Suite) -> Meshes:
    v, w = np.meshgrid(np.linspace(0, 1, 14), np.linspace(-1, 1, 10), indexing="ij")
    x = s.width / 2 - s.arm_width * 0.75 + (v**2.2) * s.arm_width * 0.75
    y = s.floor + v * (s.arm_top - s.floor) * (1 - 0.06 * w)
    grid = np.stack([x, y, w * (s.depth / 2 - 0.04)], axis=-1)
    return [sheet(grid, s.arm_width * 0.55)]


def _pad(s: Suite) -> Meshes:
    wall = rounded_box(
        (s.arm_width * 0.7, s.arm_top - s.floor - 0.04, s.depth - 0.04),
        0.02,
        (_side(s), (s.arm_top - 0.04 + s.floor) / 2, 0),
    )
    shape = outline(s.arm_width * 1.05, s.depth - 0.02, 5.0)
    return [
        wall,
        Slab(low=s.arm_top - 0.08, high=s.arm_top, edge=0.034, crown=0.012).build(
            shape, (_side(s), 0)
        ),
    ]


def _english(s: Suite) -> Meshes:
    radius = s.arm_width * 0.5
    x, top = _side(s), s.arm_top - radius
    z = s.depth / 2 - radius
    path = np.array(
        [
            (x, s.floor + 0.02, z),
            (x, top * 0.7 + 0.3 * s.floor, z),
            (x, top - 0.02, z - 0.01),
            (x, top, z - 0.05),
            (x, top + 0.02, 0),
            (x, top + 0.05, -s.depth / 2 + 0.05),
        ]
    )
    wall = rounded_box(
        (s.arm_width * 0.72, top - s.floor, s.depth - 0.08), 0.02, (x, (top + s.floor) / 2, -0.03)
    )
    return [tube(path, radius), wall]


ARMS: Mapping[str, Callable[[Suite], Meshes]] = {
    "rolled": _rolled,
    "track": _track,
    "sloped": _sloped,
    "flared": _flared,
    "pad": _pad,
    "english": _english,
}


# ---- backs ---------------------------------------------------------------------------------------
def _wall(s: Suite, rise: Callable[[Points], Points], width: float, puff: float = 0.0) -> Meshes:
    """Return a thick back; `rise` gives its top edge, as a share of the height by u in [-1, 1]."""
    v, u = np.meshgrid(np.linspace(0, 1, 18), np.linspace(-1, 1, 30), indexing="ij")
    tall = (s.top - s.back_thick / 2 - s.floor) * v * rise(u)
    y = s.floor + tall
    z = -s.depth / 2 + s.back_thick / 2 - s.lean * tall / (s.top - s.floor)
    reach = (width - s.back_thick) / 2
    thick = s.back_thick * 0.96 + puffed(18, 30, puff, 0.0)
    return [sheet(np.stack([u * reach, y, z], axis=-1), thick)]


def _straight_back(s: Suite) -> Meshes:
    return _wall(s, lambda u: np.ones_like(u), s.width - 0.04)


def _camel_back(s: Suite) -> Meshes:
    return _wall(s, lambda u: 0.84 + 0.16 * np.cos(u * np.pi / 2) ** 1.5, s.width - 0.04, 0.03)


def _round_back(s: Suite) -> Meshes:
    return _wall(
        s, lambda u: 0.66 + 0.34 * np.sqrt(1 - 0.96 * np.abs(u) ** 3.2), s.width - 0.03, 0.03
    )


def _cushioned_back(s: Suite) -> Meshes:
    return _wall(s, lambda u: np.full_like(u, 0.9), s.width - 0.04)


def _rolled_back(s: Suite) -> Meshes:
    y, z = s.top - 0.075, -s.depth / 2 + s.back_thick * 0.42 - s.lean * 0.9
    path = np.linspace((-s.width / 2 + 0.05, y, z), (s.width / 2 - 0.05, y, z), 4)
    return [*_cushioned_back(s), tube(path, 0.085)]


def _channelled_back(s: Suite) -> Meshes:
    wide = 0.085
    count = max(4, round(s.inside / wide))
    section = TubeSection(power=2.4, across=1.0, along=0.62)
    radius = s.inside / count / 2 * 1.03
    wall = _cushioned_back(s)
    for x in (np.arange(count) + 0.5 - count / 2) * s.inside / count:
        low, high = s.deck + 0.02, s.top - 0.02
        ends = [(x, y, s.front_of_back(y) - 0.01) for y in (low, high)]
        wall.append(tube(np.linspace(ends[0], ends[1], 5), radius, section))
    return wall


BACKS: Mapping[str, Callable[[Suite], Meshes]] = {
    "straight": _straight_back,
    "camel": _camel_back,
    "round": _round_back,
    "tufted": _straight_back,
    "channelled": _channelled_back,
    "cushioned": _cushioned_back,
    "rolled": _rolled_back,
}
