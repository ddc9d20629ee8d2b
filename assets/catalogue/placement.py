"""Where the things of a scene stand: ground, relation and view in, one prepared object out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from assets.catalogue.arrangement import Relation, Scene
from assets.catalogue.camera import Camera, frame
from assets.catalogue.casting import Thing
from assets.catalogue.kinds import KINDS
from assets.catalogue.model import Colourway, Finish, Part
from assets.catalogue.plan import generator
from assets.catalogue.scene import Prepared, Solid, fit, prepare

MOST_HIDDEN = 0.2  # of the farther thing's rectangle in the picture
CLEARANCE = 0.06  # between a bystander and whatever is nearest
NUM_SPOTS, NUM_CHOICES = 300, 12  # tried for a bystander; free ones of which it takes one

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Standing:
    """A thing turned and at its size in the scene.

    Attributes:
        prepared: The object alone, radius 1.
        turn: (3, 3) from the object's axes to the scene's.
        radius: Of its bounding sphere.
        place: (3,) where it stands.
        points: (n, 3) its outermost corners, there.
    """

    prepared: Prepared
    turn: Points
    radius: float
    place: Points
    points: Points

    @property
    def half(self) -> Points:
        """Returns half its extents (3,)."""
        return np.ptp(self.points, axis=0) / 2

    @property
    def middle(self) -> Points:
        """Returns the middle (3,) of its extents."""
        return (self.points.min(0) + self.points.max(0)) / 2

    def at(self, x: float, z: float) -> "Standing":
        """Returns it moved so that its middle stands at x (right) and z (towards the viewer)."""
        step = np.array([x, 0.0, z]) - self.middle * (1, 0, 1)
        return replace(self, place=self.place + step, points=self.points + step)


def stand(thing: Thing) -> Standing:
    """Builds a thing, turned to be seen from its azimuth by a camera at azimuth 0."""
    prepared = prepare(KINDS[thing.design.kind].build(thing.design.shape))
    a = np.radians(-thing.azimuth)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    radius = thing.scale / prepared.scale
    corners = np.concatenate([solid.positions for solid in prepared.solids]).astype(float)
    outer = corners[ConvexHull(corners).vertices]
    here = Standing(
        prepared=prepared,
        turn=turn,
        radius=radius,
        place=np.zeros(3),
        points=outer @ turn.T * radius,
    )
    return here.at(0.0, 0.0)


def place(scene: Scene) -> tuple[Standing, ...]:
    """Returns the things where they stand: none touches or much hides another.

    Raises:
        ValueError: If there is no spot for a bystander.
    """
    rng = generator("scenes", scene.layout, "places")
    main, neighbour, *others = (stand(thing) for thing in scene.things)
    camera = scene.view.camera
    standing = [_beside(main, neighbour, scene.relation, camera, rng), neighbour]
    for other in others:
        standing.append(_among(other, standing, camera, rng))
    return tuple(standing)


def hidden(a: Standing, b: Standing, camera: Camera) -> float:
    """Returns which share in [0, 1] of the farther one's rectangle the nearer one's covers."""
    rectangles = _rectangles((a, b), camera)
    low, high = rectangles[:, 0].max(0), rectangles[:, 1].min(0)
    common = float(np.prod(np.maximum(high - low, 0)))
    farther = rectangles[int(a.middle[2] > b.middle[2])]
    return common / float(np.prod(farther[1] - farther[0]))


def combined(standing: Sequence[Standing]) -> Prepared:
    """Returns the things as one object of radius 1; part "seat" of the first is "0 seat"."""
    origin, scale = fit(np.concatenate([thing.points for thing in standing]))
    solids = [
        _moved(solid, thing, number, origin, scale)
        for number, thing in enumerate(standing)
        for solid in thing.prepared.solids
    ]
    return Prepared(solids=tuple(solids), scale=scale)


def worn(things: Sequence[Thing], standing: Sequence[Standing]) -> Colourway:
    """Returns one colourway in which each part of `combined` keeps its own finish."""
    finishes: list[tuple[str, Finish]] = []
    for number, (thing, stood) in enumerate(zip(things, standing, strict=True)):
        own = KINDS[thing.design.kind].colourways[thing.colourway]
        names = [solid.part.name for solid in stood.prepared.solids]
        finishes += [(f"{number} {name}", own.finish_of(name)) for name in names]
    return Colourway(finishes=tuple(finishes[:3]), others=tuple(finishes[3:]))


def _moved(solid: Solid, thing: Standing, number: int, origin: Points, scale: float) -> Solid:
    positions = solid.positions.astype(float) @ thing.turn.T * thing.radius
    return Solid(
        part=Part(name=f"{number} {solid.part.name}", mesh=solid.part.mesh, uv=solid.part.uv),
        positions=((positions + thing.place - origin) * scale).astype(np.float32),
        normals=(solid.normals.astype(float) @ thing.turn.T).astype(np.float32),
    )


def _beside(
    main: Standing,
    neighbour: Standing,
    relation: Relation,
    camera: Camera,
    rng: np.random.Generator,
) -> Standing:
    """Places the main object; the neighbour stands in the middle of the ground."""
    reach = main.half + neighbour.half
    gap, slip, side = rng.uniform(0.08, 0.25), rng.uniform(-0.3, 0.3), rng.choice((-1.0, 1.0))
    match relation:
        case Relation.LEFT | Relation.RIGHT:
            sign = -1 if relation is Relation.LEFT else 1
            return main.at(sign * reach[0] * (1 + gap), slip * reach[2])
        case Relation.FRONT | Relation.BEHIND:
            sign = 1 if relation is Relation.FRONT else -1
            return _in_line(main, neighbour, sign * (1 + gap), side, camera)


def _in_line(
    main: Standing, neighbour: Standing, depth: float, side: float, camera: Camera
) -> Standing:
    """Moves the main object aside and away until neither hides much of the other."""
    reach = main.half + neighbour.half
    found = main
    for share in np.linspace(0.15, 1.6, 16):
        across = share * reach[0]
        away = max(abs(depth) * reach[2], 1.25 * across)
        found = main.at(side * across, np.sign(depth) * away)
        if hidden(found, neighbour, camera) <= MOST_HIDDEN:
            break
    return found


def _among(
    other: Standing, standing: Sequence[Standing], camera: Camera, rng: np.random.Generator
) -> Standing:
    """Finds free spots for a bystander, farther and farther away; takes the one most in company."""
    points = np.concatenate([thing.points for thing in standing])
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.ptp(points, axis=0) / 2 + other.half

    def spots() -> Iterator[Standing]:
        for attempt in range(NUM_SPOTS):
            spread = reach * (0.4 + 1.2 * attempt / NUM_SPOTS)
            x, z = middle[[0, 2]] + rng.uniform(-1, 1, 2) * spread[[0, 2]]
            yield other.at(float(x), float(z))

    clear = (spot for spot in spots() if all(_is_clear(spot, s, camera) for s in standing))
    found = list(islice(clear, NUM_CHOICES))
    if not found:
        raise ValueError("A bystander must have a spot where it hides little, found none.")
    return min(found, key=lambda spot: _distance((*standing, spot), camera))


def _distance(standing: Sequence[Standing], camera: Camera) -> float:
    """Returns how far away a camera must be to see all."""
    points = np.concatenate([thing.points for thing in standing])
    pose = frame(points, camera)
    return float((pose.origin - points.mean(0)) @ pose.axes[2])


def _is_clear(a: Standing, b: Standing, camera: Camera) -> bool:
    apart = np.abs(a.middle - b.middle) - a.half - b.half
    return bool(apart[[0, 2]].max() >= CLEARANCE) and hidden(a, b, camera) <= MOST_HIDDEN


def _rectangles(standing: Sequence[Standing], camera: Camera) -> Points:
    """Returns each thing's rectangle in the picture, (n, 2, 2): lowest and highest x and y."""
    pose = frame(np.concatenate([thing.points for thing in standing]), camera)
    found: list[Points] = []
    for thing in standing:
        x, y, z = ((thing.points - pose.origin) @ pose.axes.T).T
        flat = np.stack([x, y], 1) / -z[:, None]
        found.append(np.stack([flat.min(0), flat.max(0)]))
    return np.stack(found)
