"""Random items and random conditions on them."""

from dataclasses import dataclass
from random import Random

from retrieval.filters.tree import (
    NUMBERS,
    WORDS,
    And,
    Between,
    Compare,
    Contains,
    Field,
    Filter,
    Has,
    In,
    Not,
    Operator,
    Or,
)

# Each text is a trap of some language: quotes, backslashes, wildcards, comments, other alphabets.
TEXTS = (
    "",
    "photo",
    "Photo",
    "it's",
    'a "chair"',
    "back\\slash",
    "\\'",
    '\\"',
    "100%",
    "a_b",
    "axb",
    "'; drop table items; --",
    '" or id != "',
    "{tags}",
    "Größe",
    "ΟΔΟΣ",
    "日本 🪑",
)
FOLDERS = ("", "a", "a/b", "a%", "a_", "a0", "ab", "it's", 'q"', "b\\c", "Ünï", "a/日本")
DATES = ("", "2023-12-31T23:59:59", "2024-01-01T00:00:00", "2024-02-29T12:30:15",
         "2024-03-31T18:30:00", "2025-01-01T00:00:00")  # fmt: skip
FILTER_DATES = ("2023", "2024", "2024-02", "2024-02-29", "2024-03-31 18:30", "2024-01-01T00:00:00")


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    path: str
    copies: tuple[str, ...]
    domain: str
    kind: str
    caption: str
    tags: tuple[str, ...]
    taken: str
    size_bytes: int
    width_px: int
    height_px: int


CHAIR = Thing(
    path="holiday/2024/chair.png",
    copies=(),
    domain="photo",
    kind="chair",
    caption="A Red chair",
    tags=("red", "it's"),
    taken="2024-03-31T18:30:05",
    size_bytes=100,
    width_px=640,
    height_px=480,
)


def random_things(seed: int, num: int) -> list[Thing]:
    rng = Random(seed)
    return [
        Thing(
            path=f"{folder}/{number}.png" if (folder := rng.choice(FOLDERS)) else f"{number}.png",
            copies=tuple(
                f"{folder}/{number}.png" for folder in rng.sample(FOLDERS[1:], rng.randrange(3))
            ),
            domain=rng.choice(TEXTS),
            kind=rng.choice(TEXTS),
            caption=" ".join(rng.choices(TEXTS, k=rng.randrange(4))),
            tags=tuple(rng.sample(TEXTS, rng.randrange(4))),
            taken=rng.choice(DATES),
            size_bytes=rng.choice((0, 5, 6, 2**40)),
            width_px=rng.randrange(4),
            height_px=rng.randrange(4),
        )
        for number in range(num)
    ]


def random_filter(rng: Random, depth: int = 3) -> Filter:
    shape = rng.randrange(8) if depth else rng.randrange(3, 8)
    match shape:
        case 0 | 1:
            parts = tuple(random_filter(rng, depth - 1) for _ in range(rng.randrange(2, 4)))
            return And(parts=parts) if shape else Or(parts=parts)
        case 2:
            return Not(part=random_filter(rng, depth - 1))
        case 3:
            return Has(values=tuple(rng.sample(TEXTS, rng.randrange(1, 4))))
        case 4:
            return Contains(text=random_part(rng))
        case _:
            return random_comparison(rng, shape)


def random_part(rng: Random) -> str:
    text = rng.choice(TEXTS)
    start = rng.randrange(len(text) + 1)
    part = text[start : start + rng.randrange(1, 6)]
    return part.upper() if rng.random() < 0.3 else part


def random_comparison(rng: Random, shape: int) -> Filter:
    field = rng.choice((*WORDS, *NUMBERS, Field.DATE))
    values = tuple(random_value(rng, field) for _ in range(rng.randrange(1, 4)))
    if shape == 5:
        return In(field=field, values=values)
    if shape == 6 and field not in WORDS:
        return Between(field=field, low=values[0], high=values[-1])
    operators = (Operator.EQUAL, Operator.UNEQUAL) if field in WORDS else tuple(Operator)
    return Compare(field=field, operator=rng.choice(operators), value=values[0])


def random_value(rng: Random, field: Field) -> str | int:
    match field:
        case Field.FOLDER:
            return rng.choice(FOLDERS)
        case Field.DATE:
            return rng.choice(FILTER_DATES)
        case Field.SIZE:
            return rng.choice((0, 5, 6, 7, 2**40))
        case Field.WIDTH | Field.HEIGHT:
            return rng.randrange(4)
        case _:
            return rng.choice(TEXTS)
