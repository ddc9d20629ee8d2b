"""The plan of the catalogue: designs, their colourways and their views, all from one seed.

A design is a shape. Test designs are drawn first, then validation, then training designs, so that a
larger training set leaves the test set as it was. Nothing here renders or builds a mesh.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest

import numpy as np

from assets.catalogue.camera import Camera
from assets.catalogue.kinds import KINDS
from assets.catalogue.lighting import BACKDROPS, View
from assets.catalogue.model import NUM_COLOURWAYS, Kind, Shape, Value
from assets.catalogue.words import SEEN_KINDS, UNSEEN_KINDS

SEED = 20
WORN = 4  # colourways a design is shown in
SKILLS = (0, 1, 2)
SEATS = ("chair", "armchair", "sofa", "stool", "bench", "table")
NUM_TEST, NUM_VALIDATION = 15, 6
NUM_TRAIN, NUM_TRAIN_SEATS = 60, 120
VIEWS = 2  # of each colourway of a training design
MARGINS = (0.05, 0.24)  # of a training design's reframed pictures
NEAR = 0.05  # mean relative difference below which two shapes are near-duplicates
MAX_TRIES = 60  # candidates for one design, or one camera


class Split(StrEnum):
    """What a design is for; `UNSEEN` are test designs of kinds that are never trained on."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    UNSEEN = "unseen"


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A shape with its split and the four of its kind's colourways that it is shown in."""

    kind: str
    index: int
    split: Split
    shape: Shape
    colourways: tuple[int, ...]

    @property
    def id(self) -> str:
        """The design's name, unique in the catalogue: "chair-0042"."""
        return f"{self.kind}-{self.index:04d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """A picture to make: a colourway of a design, and the view."""

    id: str
    colourway: int
    view: View


def generator(*names: str | int) -> np.random.Generator:
    """Return the generator that belongs to these names, the same on every machine."""
    keys = [n if isinstance(n, int) else zlib.crc32(n.encode()) for n in names]
    return np.random.default_rng([SEED, *keys])


def designs(kind_name: str, kinds: Mapping[str, Kind] = KINDS) -> tuple[Design, ...]:
    """Return all designs of a kind; an unseen kind has test designs only.

    Raises:
        KeyError: If the kind is unknown.
        ValueError: If the kind has too few different shapes.
    """
    kind = kinds[kind_name]
    splits = _splits(kind_name)
    shapes = _different_shapes(kind, len(splits))
    worn: dict[Split, Iterator[tuple[int, ...]]] = {
        split: _assignments(kind_name, split) for split in Split
    }
    return tuple(
        Design(kind=kind_name, index=i, split=split, shape=shape, colourways=next(worn[split]))
        for i, (split, shape) in enumerate(zip(splits, shapes, strict=True))
    )


def catalogue(*splits: Split, kinds: Mapping[str, Kind] = KINDS) -> tuple[Design, ...]:
    """Return the designs of some splits, kinds taking turns, so that any beginning is balanced."""
    rows = [[d for d in designs(name, kinds) if d.split in splits] for name in kinds]
    return tuple(d for turn in zip_longest(*rows) for d in turn if d is not None)


def shots(design: Design, kinds: Mapping[str, Kind] = KINDS) -> tuple[Shot, ...]:
    """Return the pictures of a design.

    A training design has its own camera, lights and backdrop in every picture, and its size in the
    picture varies in every second view of a colourway. All pictures of a validation or test design
    share one camera, lights and backdrop of their own.
    """
    kind = kinds[design.kind]
    if design.split is not Split.TRAIN:
        camera = camera_of(design, kinds)
        return tuple(
            Shot(id=f"{design.id}-c{c}", colourway=c, view=_view(camera, generator(design.id, c)))
            for c in design.colourways
        )
    views = []
    for c in design.colourways:
        for v in range(VIEWS):
            view = _free_view(kind, generator(design.id, c, v))
            if v % 2:
                view = _reframed(view, generator(design.id, c, v, "framing"))
            views.append(Shot(id=f"{design.id}-c{c}-v{v}", colourway=c, view=view))
    return tuple(views)


def camera_of(design: Design, kinds: Mapping[str, Kind] = KINDS) -> Camera:
    """Return the camera of a validation or test design; the first one of a training design."""
    kind = kinds[design.kind]
    if design.split is Split.TRAIN:
        return _camera(kind, generator(design.id, design.colourways[0], 0))
    return _camera(kind, generator(design.id, "camera"))


def sketch_camera(design: Design, skill: int, kinds: Mapping[str, Kind] = KINDS) -> Camera:
    """Return where a sketch is drawn from: 0 to 15 degrees off the photo, 5 to 15 for test."""
    rng = generator(design.id, "sketch", skill)
    lowest = 5.0 if design.split in (Split.TEST, Split.UNSEEN) else 0.0
    return turned(camera_of(design, kinds), rng.uniform(lowest, 15.0), rng)


def skill_of(design: Design) -> int:
    """Return the skill of the hand that draws the benchmark's query for a design."""
    return int(generator(design.id, "skill").integers(len(SKILLS)))


def turned(camera: Camera, degrees: float, rng: np.random.Generator) -> Camera:
    """Return a camera whose line of sight is `degrees` away from another's, to a random side.

    Raises:
        ValueError: If there is none from 1 to 45 degrees above the ground.
    """
    for _ in range(MAX_TRIES):
        turned = _turned(camera, np.radians(degrees), rng.uniform(0, 2 * np.pi))
        if 1 <= turned.elevation <= 45:
            return turned
    raise ValueError(f"No camera above the ground is {degrees} degrees from {camera}.")


def _turned(camera: Camera, step: float, heading: float) -> Camera:
    """Move along a great circle by `step` from a camera's position; all in radians."""
    elevation = np.radians(camera.elevation)
    height = np.sin(elevation) * np.cos(step) + np.cos(elevation) * np.sin(step) * np.cos(heading)
    across = np.sin(heading) * np.sin(step) * np.cos(elevation)
    side = np.degrees(np.arctan2(across, np.cos(step) - np.sin(elevation) * height))
    return Camera(
        azimuth=float(camera.azimuth + side), elevation=float(np.degrees(np.arcsin(height)))
    )


def is_near(a: Shape, b: Shape) -> bool:
    """Return whether two shapes make the same choices and nearly the same proportions."""
    if a.values.keys() != b.values.keys():
        return False
    differences = []
    for name, value in a.values.items():
        other = b.values[name]
        if not isinstance(value, float) or not isinstance(other, float):
            if value != other:
                return False
            continue
        differences.append(_relative(value, other))
    return not differences or float(np.mean(differences)) < NEAR


def _relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b), 1e-6)


def _splits(kind_name: str) -> list[Split]:
    if kind_name in UNSEEN_KINDS:
        return [Split.UNSEEN] * NUM_TEST
    if kind_name not in SEEN_KINDS:
        raise KeyError(kind_name)
    train = NUM_TRAIN_SEATS if kind_name in SEATS else NUM_TRAIN
    held_out = [Split.TEST] * NUM_TEST + [Split.VALIDATION] * NUM_VALIDATION
    return held_out + [Split.TRAIN] * train


def _different_shapes(kind: Kind, count: int) -> list[Shape]:
    shapes: list[Shape] = []
    groups: dict[tuple[tuple[str, Value], ...], list[Shape]] = {}
    for candidate in range(count * MAX_TRIES):
        shape = kind.sample(generator(kind.name, candidate))
        choices = tuple((n, v) for n, v in shape.values.items() if not isinstance(v, float))
        alike = groups.setdefault(choices, [])
        if any(is_near(shape, other) for other in alike):
            continue
        alike.append(shape)
        shapes.append(shape)
        if len(shapes) == count:
            return shapes
    raise ValueError(f"{kind.name} must have {count} different shapes, has {len(shapes)}.")


def _assignments(kind_name: str, split: Split) -> Iterator[tuple[int, ...]]:
    """Yield four colourways a design, always the four worn least so far."""
    rng = generator(kind_name, split.value, "colourways")
    worn = np.zeros(NUM_COLOURWAYS, int)
    while True:
        order = np.lexsort([rng.random(NUM_COLOURWAYS), worn])
        chosen = np.sort(order[:WORN])
        worn[chosen] += 1
        yield tuple(int(c) for c in chosen)


def _camera(kind: Kind, rng: np.random.Generator) -> Camera:
    return Camera(
        azimuth=float(rng.uniform(*kind.azimuths)), elevation=float(rng.uniform(*kind.elevations))
    )


def _reframed(view: View, rng: np.random.Generator) -> View:
    return replace(view, camera=replace(view.camera, margin=float(rng.uniform(*MARGINS))))


def _free_view(kind: Kind, rng: np.random.Generator) -> View:
    return _view(_camera(kind, rng), rng)


def _view(camera: Camera, rng: np.random.Generator) -> View:
    base = np.array(BACKDROPS[int(rng.integers(len(BACKDROPS)))])
    colour = np.clip(base * rng.uniform(0.85, 1.12) + rng.uniform(-0.02, 0.02, 3), 0.25, 0.75)
    backdrop = (float(colour[0]), float(colour[1]), float(colour[2]))
    return View(camera=camera, backdrop=backdrop, light=int(rng.integers(1 << 30)))
