"""The values of the catalogue: parts, finishes, colourways, shapes and kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import trimesh

NUM_COLOURWAYS = 8  # of every kind

Real = float | int
Value = float | int | str | bool  # plain Python values, not numpy's


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of an object that a word can name.

    Attributes:
        name: "seat", "legs" (plural where there are several, merged into one mesh).
        mesh: Closed or open surface, y up, front facing +z, in object coordinates.
        uv: How textures are projected, "box" or "cylinder" (about the y axis).
    """

    name: str
    mesh: trimesh.Trimesh
    uv: str = "box"

    def __post_init__(self) -> None:
        """Check the projection's name.

        Raises:
            ValueError: If `uv` is neither "box" nor "cylinder".
        """
        if self.uv not in ("box", "cylinder"):
            raise ValueError(f'`uv` must be "box" or "cylinder", got "{self.uv}".')


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """Colour, material and pattern of a part, as the words of the lexicon."""

    colour: str
    material: str
    pattern: str = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Colourway:
    """The finishes of a kind's parts.

    Attributes:
        finishes: Part name and finish, the most conspicuous part first; 1 to 3, all of them said.
        others: Finishes of parts that are never said. A part named nowhere takes the first finish.
    """

    finishes: tuple[tuple[str, Finish], ...]
    others: tuple[tuple[str, Finish], ...] = ()

    def __post_init__(self) -> None:
        """Check the number of finishes.

        Raises:
            ValueError: If there are not 1 to 3 said finishes.
        """
        if not 1 <= len(self.finishes) <= 3:
            raise ValueError(f"A colourway names 1 to 3 parts, got {len(self.finishes)}.")

    def finish_of(self, part_name: str) -> Finish:
        """Return the finish of a part; the first finish where the part is named nowhere."""
        for name, finish in (*self.finishes, *self.others):
            if name == part_name:
                return finish
        return self.finishes[0][1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A design of a kind: numbers and choices, and the words for them.

    Attributes:
        kind: Name of the kind.
        values: What `Kind.build` needs; strings and booleans are structural choices.
        words: Phrases without colour, material or kind: ("a tall slatted back", "turned legs").
    """

    kind: str
    values: Mapping[str, Value]
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A parametric kind of object.

    Attributes:
        name: The word for it.
        sample: Draws a shape from a generator.
        build: Makes the parts of a shape; deterministic.
        colourways: Exactly 8, told apart by their first two finishes.
        azimuths: Range in degrees from the front in which the object shows well.
        elevations: Range in degrees above the horizon.
        synonyms: Other words for the kind.
    """

    name: str
    sample: Callable[[np.random.Generator], Shape]
    build: Callable[[Shape], tuple[Part, ...]]
    colourways: tuple[Colourway, ...]
    azimuths: tuple[Real, Real] = (-60, 60)
    elevations: tuple[Real, Real] = (8, 30)
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the number of colourways.

        Raises:
            ValueError: If there are not exactly 8.
        """
        if len(self.colourways) != NUM_COLOURWAYS:
            raise ValueError(
                f"A kind has {NUM_COLOURWAYS} colourways, {self.name} has {len(self.colourways)}."
            )
