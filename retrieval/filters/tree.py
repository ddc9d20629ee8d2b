"""Conditions on items: one small syntax tree, which prints as the text it is read from.

`language` reads the text, `targets` compiles for each engine.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, Union

MAX_NESTING = 8  # what every engine's own parser reads in any mixture of `and`, `or` and `not`
MAX_NUMBER = 2**63 - 1


class FilterError(ValueError):
    """A condition that cannot be asked, and how to write it."""


class Field(StrEnum):
    """What is known of an item, as a filter names it."""

    DOMAIN = "domain"
    KIND = "kind"
    FOLDER = "folder"
    TAGS = "tags"
    CAPTION = "caption"
    SIZE = "size"
    WIDTH = "width"
    HEIGHT = "height"
    DATE = "date"


WORDS = (Field.DOMAIN, Field.KIND, Field.FOLDER)
NUMBERS = (Field.SIZE, Field.WIDTH, Field.HEIGHT)


class Operator(StrEnum):
    """How a field is compared with one value."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, kw_only=True, slots=True)
class And:
    """Holds where each of its parts does, two at least."""

    parts: "tuple[Filter, ...]"

    def __post_init__(self) -> None:
        _check_parts(self, self.parts)

    def __str__(self) -> str:
        return " and ".join(_inside(part, And, Or) for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Or:
    """Holds where one of its parts does, two at least."""

    parts: "tuple[Filter, ...]"

    def __post_init__(self) -> None:
        _check_parts(self, self.parts)

    def __str__(self) -> str:
        return " or ".join(_inside(part, Or) for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """Holds where its part does not."""

    part: "Filter"

    def __post_init__(self) -> None:
        _check_nesting(self)

    def __str__(self) -> str:
        return f"not {_inside(self.part, And, Or)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compare:
    """Compares a field with one value.

    Domain, kind and folder are equal or not; a picture is in a folder when it lies anywhere below
    it, and `''` is the root. A date may be a year, a month, a day or a moment: it stands for all
    of its time, and pictures without a date match none.
    """

    field: Field
    operator: Operator
    value: str | int

    def __post_init__(self) -> None:
        check_value(self.field, self.value)
        if self.field in WORDS and self.operator not in (Operator.EQUAL, Operator.UNEQUAL):
            raise FilterError(f"`{self.field}` takes =, != or `in`, got {self.operator}.")

    def __str__(self) -> str:
        return f"{self.field} {self.operator} {_literal(self.value)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class In:
    """Holds where the field equals one of the values."""

    field: Field
    values: tuple[str | int, ...]

    def __post_init__(self) -> None:
        _check_values(self.field, self.values)

    def __str__(self) -> str:
        return f"{self.field} in ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Holds where a number or a date lies between two, both included."""

    field: Field
    low: str | int
    high: str | int

    def __post_init__(self) -> None:
        check_value(self.field, self.low)
        check_value(self.field, self.high)
        if self.field in WORDS:
            raise FilterError(f"`{self.field}` takes =, != or `in`, got `between`.")

    def __str__(self) -> str:
        return f"{self.field} between {_literal(self.low)} and {_literal(self.high)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Has:
    """Holds where an item carries one of the tags."""

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_values(None, self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"tags has {_literal(self.values[0])}"
        return f"tags has any ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contains:
    """Holds where the caption contains a text, in small or capital letters."""

    text: str

    def __post_init__(self) -> None:
        check_text(self.text)

    def __str__(self) -> str:
        return f"caption contains {_literal(self.text)}"


Filter: TypeAlias = Union[And, Or, Not, Compare, In, Between, Has, Contains]  # noqa: UP007  forward


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """First and last second that a date stands for, as `Item.taken` spells them."""

    first: str
    last: str


_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?)?", re.ASCII)


def span_of(date: str) -> Span:
    """Return the time that a year, a month, a day, a minute or a second takes.

    Raises:
        FilterError: It is no date.
    """
    spelled = date.replace(" ", "T")
    # Compared as text only, so every month may end with a day 31.
    span = Span(
        first=spelled + "0000-01-01T00:00:00"[len(spelled) :],
        last=spelled + "9999-12-31T23:59:59"[len(spelled) :],
    )
    try:
        if not _DATE.fullmatch(date):
            raise ValueError
        datetime.fromisoformat(span.first)
    except ValueError:
        raise FilterError(
            f"A date must be like '2024', '2024-03', '2024-03-31' or '2024-03-31 18:30', got "
            f"{date!r}."
        ) from None
    return span


def nesting(where: Filter) -> int:
    """Count how deep conditions lie within `and`, `or` and `not`."""
    match where:
        case And(parts=parts) | Or(parts=parts):
            return 1 + max(map(nesting, parts))
        case Not(part=part):
            return 1 + nesting(part)
        case Compare() | In() | Between() | Has() | Contains():
            return 0


def check_value(field: Field, value: str | int) -> None:
    """Check that a field can be compared with a value.

    Raises:
        FilterError: It cannot.
    """
    match field:
        case Field.TAGS:
            raise FilterError("`tags` takes `has 'red'` or `has any ('red', 'blue')`.")
        case Field.CAPTION:
            raise FilterError("`caption` takes `contains 'red'`.")
        case Field.SIZE | Field.WIDTH | Field.HEIGHT:
            if isinstance(value, str) or not 0 <= value <= MAX_NUMBER:
                raise FilterError(
                    f"`{field}` must be compared with a whole number from 0 to 2^63-1, got "
                    f"{value!r}."
                )
        case Field.DOMAIN | Field.KIND | Field.FOLDER:
            check_text(_text(field, value))
        case Field.DATE:
            span_of(_text(field, value))


def check_text(text: str) -> None:
    """Check that every engine can read a text.

    Raises:
        FilterError: It holds control characters, or halves of characters.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise FilterError(f"A text must be of printable characters, got {character!r} in it.")


def _text(field: Field, value: str | int) -> str:
    if not isinstance(value, str):
        raise FilterError(f"`{field}` must be compared with a text, got {value}; write '{value}'.")
    return value


def _check_values(field: Field | None, values: Sequence[str | int]) -> None:
    if not values:
        raise FilterError(f"`{field or 'tags'}` must be compared with one value at least, got ().")
    for value in values:
        if field is None:
            check_text(_text(Field.TAGS, value))
        else:
            check_value(field, value)


def _check_parts(where: And | Or, parts: Sequence[Filter]) -> None:
    if len(parts) < 2:
        raise FilterError(f"`and` and `or` must join two conditions at least, got {len(parts)}.")
    _check_nesting(where)


def _check_nesting(where: Filter) -> None:
    if (found := nesting(where)) > MAX_NESTING:
        raise FilterError(
            f"Conditions may lie {MAX_NESTING} deep in `and`, `or` and `not`, got {found}."
        )


def _inside(part: Filter, *looser: type) -> str:
    return f"({part})" if isinstance(part, looser) else str(part)


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
