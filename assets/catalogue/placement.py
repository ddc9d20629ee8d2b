"""Positions of the things in a scene, and the scene as one prepared object."""

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
from assets.catalogue.scene import PreparedObject, Solid, fit, prepare

MOST_HIDDEN = 0.2  # share of the farther thing's rectangle in the picture
CLEARANCE = 0.06  # between a bystander and whatever is nearest
NUM_SPOTS, NUM_CHOICES = 300, 12  # spots tried for a bystander; free spots to choose from

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlacedThing:
    """A thing turned and at its size in the scene.

    Attributes:
        prepared: The object alone, radius 1.
        turn: (3, 3) from the object's axes to the scene's.
        radius: Radius of its bounding sphere.
        position: (3,) where it stands.
        points: (n, 3) its outermost corners in the scene.
    """

    prepared: PreparedObject
    turn: Points
    radius: float
    position: Points
    points: Points

    @property
    def half(self) -> Points:
        """Half its extents (3,)."""
        return np.ptp(self.points, axis=0) / 2

    @property
    def middle(self) -> Points:
        """The middle (3,) of its extents."""
        return (self.points.min(0) + self.points.max(0)) / 2

    def at(self, x: float, z: float) -> "PlacedThing":
        """Return it moved so that its middle stands at x (right) and z (towards the viewer)."""
        step = np.array([x, 0.0, z]) - self.middle * (1, 0, 1)
        return replace(self, position=self.position + step, points=self.points + step)


def stand(thing: Thing) -> PlacedThing:
    """Build a thing, turned to be seen from its azimuth by a camera at azimuth 0."""
    prepared = prepare(KINDS[thing.design.kind].build(thing.design.shape))
    a = np.radians(-thing.azimuth)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    radius = thing.scale / prepared.scale
    corners = np.concatenate([solid.positions for solid in prepared.solids]).astype(float)
    outer = corners[ConvexHull(corners).vertices]
    thing_at_origin = PlacedThing(
        prepared=prepared,
        turn=turn,
        radius=radius,
        position=np.zeros(3),
        points=outer @ turn.T * radius,
    )
    return thing_at_origin.at(0.0, 0.0)


def arrange(scene: Scene) -> tuple[PlacedThing, ...]:
    """Return the things where they stand: none touches or much hides another.

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


def hidden(a: PlacedThing, b: PlacedThing, camera: Camera) -> float:
    """Return which share in [0, 1] of the farther one's rectangle the nearer one's covers."""
    rectangles = _rectangles((a, b), camera)
    low, high = rectangles[:, 0].max(0), rectangles[:, 1].min(0)
    common = float(np.prod(np.maximum(high - low, 0)))
    farther = rectangles[int(a.middle[2] > b.middle[2])]
    return common / float(np.prod(farther[1] - farther[0]))


def combined(standing: Sequence[PlacedThing]) -> PreparedObject:
    """Return the things as one object of radius 1; part "seat" of the first is "0 seat"."""
    origin, scale = fit(np.concatenate([thing.points for thing in standing]))
    solids = [
        _moved(solid, thing, number, origin, scale)
        for number, thing in enumerate(standing)
        for solid in thing.prepared.solids
    ]
    return PreparedObject(solids=tuple(solids), scale=scale)


def worn(things: Sequence[Thing], standing: Sequence[PlacedThing]) -> Colourway:
    """Return one colourway in which each part of `combined` keeps its own finish."""
    finishes: list[tuple[str, Finish]] = []
    for number, (thing, stood) in enumerate(zip(things, standing, strict=True)):
        colourway = KINDS[thing.design.kind].colourways[thing.colourway]
        names = [solid.part.name for solid in stood.prepared.solids]
        finishes += [(f"{number} {name}", colourway.finish_of(name)) for name in names]
    return Colourway(finishes=tuple(finishes[:3]), others=tuple(finishes[3:]))


def _moved(solid: Solid, thing: PlacedThing, number: int, origin: Points, scale: float) -> Solid:
    positions = solid.positions.astype(float) @ thing.turn.T * thing.radius
    return Solid(
        part=Part(name=f"{number} {solid.part.name}", mesh=solid.part.mesh, uv=solid.part.uv),
        positions=((positions + thing.position - origin) * scale).astype(np.float32),
        normals=(solid.normals.astype(float) @ thing.turn.T).astype(np.float32),
    )


def _beside(
    main: PlacedThing,
    neighbour: PlacedThing,
    relation: Relation,
    camera: Camera,
    rng: np.random.Generator,
) -> PlacedThing:
    """Place the main object; the neighbour stands in the middle of the ground."""
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
    main: PlacedThing, neighbour: PlacedThing, depth: float, side: float, camera: Camera
) -> PlacedThing:
    """Move the main object aside and away until neither hides much of the other."""
    reach = main.half + neighbour.half
    shifted = main
    for share in np.linspace(0.15, 1.6, 16):
        across = share * reach[0]
        away = max(abs(depth) * reach[2], 1.25 * across)
        shifted = main.at(side * across, np.sign(depth) * away)
        if hidden(shifted, neighbour, camera) <= MOST_HIDDEN:
            break
    return shifted


def _among(
    other: PlacedThing, standing: Sequence[PlacedThing], camera: Camera, rng: np.random.Generator
) -> PlacedThing:
    """Find free spots for a bystander, ever farther away; take the most compact arrangement."""
    points = np.concatenate([thing.points for thing in standing])
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.ptp(points, axis=0) / 2 + other.half

    def spots() -> Iterator[PlacedThing]:
        for attempt in range(NUM_SPOTS):
            spread = reach * (0.4 + 1.2 * attempt / NUM_SPOTS)
            x, z = middle[[0, 2]] + rng.uniform(-1, 1, 2) * spread[[0, 2]]
            yield other.at(float(x), float(z))

    clear = (spot for spot in spots() if all(_is_clear(spot, s, camera) for s in standing))
    free = list(islice(clear, NUM_CHOICES))
    if not free:
        raise ValueError("A bystander must have a spot where it hides little; there is none.")
    return min(free, key=lambda spot: _distance((*standing, spot), camera))


def _distance(standing: Sequence[PlacedThing], camera: Camera) -> float:
    """Return how far away a camera must be to see all."""
    points = np.concatenate([thing.points for thing in standing])
    pose = frame(points, camera)
    return float((pose.origin - points.mean(0)) @ pose.axes[2])


def _is_clear(a: PlacedThing, b: PlacedThing, camera: Camera) -> bool:
    apart = np.abs(a.middle - b.middle) - a.half - b.half
    return bool(apart[[0, 2]].max() >= CLEARANCE) and hidden(a, b, camera) <= MOST_HIDDEN


def _rectangles(standing: Sequence[PlacedThing], camera: Camera) -> Points:
    """Return each thing's rectangle in the picture, (n, 2, 2): lowest and highest x and y."""
    pose = frame(np.concatenate([thing.points for thing in standing]), camera)
    rectangles: list[Points] = []
    for thing in standing:
        x, y, z = ((thing.points - pose.origin) @ pose.axes.T).T
        flat = np.stack([x, y], 1) / -z[:, None]
        rectangles.append(np.stack([flat.min(0), flat.max(0)]))
    return np.stack(rectangles)
