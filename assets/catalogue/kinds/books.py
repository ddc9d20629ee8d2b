"""Books in rows and piles, filling the bays of a bookcase."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from assets.catalogue.curves import Points, Real
from assets.catalogue.kinds.lofts import Assembly, boxes, vec

Book = tuple[tuple[Real, Real, Real], tuple[Real, Real, Real]]  # size and middle, in metres
SPINE = (0.032, 0.068)  # how thick books are, metres


@dataclass(frozen=True, kw_only=True, slots=True)
class Bay:
    """Room for books: between `left` and `right`, on a board at `floor`, `height` high."""

    left: float
    right: float
    floor: float
    height: float
    depth: float
    back: float


def fill(case: Assembly, bays: list[Bay], rng: np.random.Generator, share: Real) -> None:
    """Put rows and piles of books into bays; every bay but a few gets some."""
    sizes: list[tuple[Real, Real, Real]] = []
    positions: list[tuple[Real, Real, Real]] = []
    for index, bay in enumerate(bays):
        if index > 0 and rng.random() > 0.55 + 0.45 * share:
            continue
        row = _row(bay, rng, share)
        sizes += [size for size, _ in row]
        positions += [position for _, position in row]
    size, position = np.array(sizes), np.array(positions)
    lying = size[:, 0] > size[:, 1]
    thick = np.where(lying, size[:, 1], size[:, 0])
    cover = np.minimum(0.008, 0.2 * thick)
    case.add("books", *_covers(size, position, cover, lying))
    inner = size - np.where(lying[:, None], (0.012, 0, 0.012), (0, 0.014, 0.012))
    inner[np.arange(len(size)), np.where(lying, 1, 0)] -= cover
    case.add("pages", boxes(inner, position - vec(0, 0, 0.004), 0.0))


def _covers(
    size: Points, position: Points, cover: Points, lying: NDArray[np.bool_]
) -> list[trimesh.Trimesh]:
    """Return two boards and a spine for each book."""
    axis = np.where(lying, 1, 0)
    rows = np.arange(len(size))
    board, spine, reach = size.copy(), size.copy(), np.zeros_like(size)
    board[rows, axis] = cover
    spine[:, 2] = 0.012
    reach[rows, axis] = (size[rows, axis] - cover) / 2
    front = np.column_stack([np.zeros((len(size), 2)), size[:, 2] / 2 - 0.006])
    return [
        boxes(board, position - reach, 0.002),
        boxes(board, position + reach, 0.002),
        boxes(spine, position + front, 0.004),
    ]


def _row(bay: Bay, rng: np.random.Generator, share: Real) -> list[Book]:
    """Return upright books from one end, perhaps a pile at the other."""
    books: list[Book] = []
    tallest = min(bay.height - 0.03, 0.31)
    end = bay.left + (bay.right - bay.left) * (share * rng.uniform(0.75, 1.0))
    x, mean = bay.left + 0.004, rng.uniform(0.7, 0.95)
    while tallest > 0.09:
        wide = rng.uniform(*SPINE)
        tall = tallest * np.clip(mean + rng.uniform(-0.16, 0.12), 0.55, 1.0)
        deep = bay.depth * rng.uniform(0.68, 0.86)
        if x + wide > end:
            break
        books.append(
            (
                (wide, tall, deep),
                (x + wide / 2, bay.floor + tall / 2, bay.back + bay.depth * 0.94 - deep / 2),
            )
        )
        x += wide + 0.0015
    room = bay.right - 0.01 - x
    if room > 0.2 and rng.random() < 0.6:
        y, wide = bay.floor, min(room - 0.02, rng.uniform(0.18, 0.25))
        for _ in range(int(rng.integers(1, 4))):
            tall = rng.uniform(*SPINE) * 0.8
            if y + tall < bay.floor + bay.height - 0.02:
                books.append(
                    (
                        (wide, tall, bay.depth * 0.72),
                        (bay.right - 0.01 - wide / 2, y + tall / 2, bay.back + bay.depth * 0.55),
                    )
                )
                y, wide = y + tall, wide * rng.uniform(0.85, 1.0)
    if rng.random() < 0.4:
        middle = bay.left + bay.right
        books = [
            (size, (middle - position[0], position[1], position[2])) for size, position in books
        ]
    if not books:
        size = (min(0.2, 0.7 * (bay.right - bay.left)), 0.045, bay.depth * 0.7)
        books.append(
            (size, ((bay.left + bay.right) / 2, bay.floor + 0.0225, bay.back + bay.depth * 0.55))
        )
    return books
