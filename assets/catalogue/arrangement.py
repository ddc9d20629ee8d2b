"""The plan of scenes: two to four objects on one ground, in a relation of first to second.

Held-out scenes come in groups of four in which neither a drawing of the main object nor the words
are enough: (a) a main object beside its neighbour, (b) the same on the other side, (c) the same
beside another neighbour, (d) another design of the main kind in the first place. All four share
camera, lights, backdrop and layout. Nothing here renders or builds a mesh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import zip_longest

import numpy as np

from assets.catalogue.camera import Camera
from assets.catalogue.casting import Company, Thing, any_of, cast, settings_of, thing_of
from assets.catalogue.lighting import BACKDROPS, View
from assets.catalogue.plan import Design, Split, catalogue, generator

NUM_GROUPS = {Split.TEST: 32, Split.UNSEEN: 8, Split.VALIDATION: 24}
SCENES_A_DESIGN = 3  # of each training design
MARGIN = 0.07


class Relation(StrEnum):
    """Where the main object stands, as the camera sees it."""

    LEFT = "to the left of"
    RIGHT = "to the right of"
    FRONT = "in front of"
    BEHIND = "behind"

    @property
    def opposite(self) -> "Relation":
        """Where the neighbour stands, as seen from the main object."""
        pairs = {Relation.LEFT: Relation.RIGHT, Relation.FRONT: Relation.BEHIND}
        return (pairs | {b: a for a, b in pairs.items()})[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture to make.

    Attributes:
        id: Unique in the catalogue.
        member: Its position in its group, "a" to "d" as above.
        relation: Where the main object stands to its neighbour.
        things: The main object, its neighbour, then bystanders.
        view: Camera, backdrop and lights.
        layout: Name of the generator that places the things.
    """

    id: str
    member: str
    relation: Relation
    things: tuple[Thing, ...]
    view: View
    layout: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Scenes that are compared with each other; `lead` is the main object of the first."""

    lead: Design
    scenes: tuple[Scene, ...]


@lru_cache(maxsize=len(Split))
def groups(split: Split) -> tuple[Group, ...]:
    """Return the scenes of a split: groups of four, or three loose scenes a training design.

    Scenes of unseen kinds have one as main object only; its company are test designs. No design is
    the main object of two groups.

    Raises:
        ValueError: If a main object has no company whose finishes fit the studio.
    """
    by_kind = _by_kind(split)
    company = _by_kind(Split.TEST) if split is Split.UNSEEN else by_kind
    if split is Split.TRAIN:
        leads = [d for turn in zip_longest(*by_kind.values()) for d in turn if d is not None]
        return tuple(Group(lead=d, scenes=_loose(d, company)) for d in leads)
    rivals = [_pairs(designs) for designs in by_kind.values()]
    turns = [pair for turn in zip_longest(*rivals) for pair in turn if pair is not None]
    return tuple(
        Group(lead=lead, scenes=_four(lead, rival, company, is_crowded=number % 2 == 1))
        for number, (lead, rival) in enumerate(turns[: NUM_GROUPS[split]])
    )


def _by_kind(split: Split) -> Company:
    designs: dict[str, list[Design]] = {}
    for design in catalogue(split):
        if settings_of(design):
            designs.setdefault(design.kind, []).append(design)
    return designs


def _pairs(designs: Sequence[Design]) -> list[tuple[Design, Design]]:
    """Pair off designs of a kind, each with the one that shares the fewest shape words."""
    left, pairs = list(designs), list[tuple[Design, Design]]()
    while len(left) > 1:
        lead = left.pop(0)
        shared = [len(set(lead.shape.words) & set(d.shape.words)) for d in left]
        pairs.append((lead, left.pop(shared.index(min(shared)))))
    return pairs


def _loose(lead: Design, company: Company) -> tuple[Scene, ...]:
    scenes: list[Scene] = []
    for number in range(SCENES_A_DESIGN):
        id = f"{lead.id}-s{number}"
        rng = generator("scenes", id)
        relation, num_bystanders = _relation(rng), int(rng.integers(3))
        drawn = cast(lead, company, 1, num_bystanders, rng)
        scenes.append(
            Scene(
                id=id,
                member="",
                relation=relation,
                things=(drawn.main, *drawn.neighbours, *drawn.bystanders),
                view=_view(relation, num_bystanders, rng),
                layout=id,
            )
        )
    return tuple(scenes)


def _four(lead: Design, rival: Design, company: Company, *, is_crowded: bool) -> tuple[Scene, ...]:
    rng = generator("scenes", lead.id)
    relation = _relation(rng)
    num_bystanders = int(rng.integers(1, 3)) if is_crowded else 0
    view = _view(relation, num_bystanders, rng)
    drawn = cast(lead, company, 2, num_bystanders, rng)
    neighbour, other = drawn.neighbours
    members = {
        "a": (relation, drawn.main, neighbour),
        "b": (relation.opposite, drawn.main, neighbour),
        "c": (relation, drawn.main, other),
        "d": (relation, thing_of(rival, drawn.main.colourway, drawn.main.scale, rng), neighbour),
    }
    return tuple(
        Scene(
            id=f"{lead.id}-{member}",
            member=member,
            relation=where,
            things=(first, second, *drawn.bystanders),
            view=view,
            layout=lead.id,
        )
        for member, (where, first, second) in members.items()
    )


def _relation(rng: np.random.Generator) -> Relation:
    return Relation(rng.choice([r.value for r in Relation], p=[0.35, 0.35, 0.15, 0.15]))


def _view(relation: Relation, num_bystanders: int, rng: np.random.Generator) -> View:
    """Look down more steeply where one thing stands behind another."""
    is_deep = num_bystanders > 0 or relation in (Relation.FRONT, Relation.BEHIND)
    elevation = float(rng.uniform(21, 29) if is_deep else rng.uniform(13, 24))
    return View(
        camera=Camera(azimuth=0.0, elevation=elevation, margin=MARGIN),
        backdrop=any_of(BACKDROPS, rng),
        light=int(rng.integers(1 << 30)),
    )
