"""Syntax tree of filters; `str` of a tree is text that parses to the same tree.

`language` parses the text, `targets` compiles the tree for each engine.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, Union

MAX_NESTING = 8  # every engine parses so many levels of any mixture of `and`, `or` and `not`
MAX_NUMBER = 2**63 - 1


class FilterError(ValueError):
    """Raised for an invalid condition; says how to write it."""


class Field(StrEnum):
    """Fields of an item, by their names in filters."""

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
    """Comparison of a field with a value."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, kw_only=True, slots=True)
class And:
    """Matches items that match every part; there are at least two."""

    parts: "tuple[Filter, ...]"

    def __post_init__(self) -> None:
        _check_parts(self, self.parts)

    def __str__(self) -> str:
        return " and ".join(_inside(part, And, Or) for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Or:
    """Matches items that match any part; there are at least two."""

    parts: "tuple[Filter, ...]"

    def __post_init__(self) -> None:
        _check_parts(self, self.parts)

    def __str__(self) -> str:
        return " or ".join(_inside(part, Or) for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """Matches items that do not match its part."""

    part: "Filter"

    def __post_init__(self) -> None:
        _check_nesting(self)

    def __str__(self) -> str:
        return f"not {_inside(self.part, And, Or)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compare:
    """Compares a field with a value.

    Domain, kind and folder can be equal or unequal; a folder equals every folder above a picture,
    and `''` is the root. A date may be a year, a month, a day or a time: it covers its whole
    period, and pictures without a date match no date.
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
    """Matches items whose field equals one of the values."""

    field: Field
    values: tuple[str | int, ...]

    def __post_init__(self) -> None:
        _check_values(self.field, self.values)

    def __str__(self) -> str:
        return f"{self.field} in ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Matches items whose number or date lies in a range, ends included."""

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
    """Matches items with one of the tags."""

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_values(None, self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"tags has {_literal(self.values[0])}"
        return f"tags has any ({', '.join(map(_literal, self.values))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contains:
    """Matches items whose caption contains a text, regardless of case."""

    text: str

    def __post_init__(self) -> None:
        check_text(self.text)

    def __str__(self) -> str:
        return f"caption contains {_literal(self.text)}"


Filter: TypeAlias = Union[And, Or, Not, Compare, In, Between, Has, Contains]  # noqa: UP007  forward


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """First and last second of a date, in the format of `Item.taken`."""

    first: str
    last: str


_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?)?", re.ASCII)


def span_of(date: str) -> Span:
    """Return the span of a year, a month, a day, a minute or a second.

    Raises:
        FilterError: The text is not a date.
    """
    spelled = date.replace(" ", "T")
    # Dates are compared as text only, so every month may end with a day 31.
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
    """Return the depth of nested `and`, `or` and `not`."""
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
        FilterError: The value does not suit the field.
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
        FilterError: It contains control characters or surrogates.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise FilterError(
                f"A text must consist of printable characters, got {character!r} in it."
            )


def _text(field: Field, value: str | int) -> str:
    if not isinstance(value, str):
        raise FilterError(f"`{field}` must be compared with a text, got {value}; write '{value}'.")
    return value


def _check_values(field: Field | None, values: Sequence[str | int]) -> None:
    if not values:
        raise FilterError(f"`{field or 'tags'}` must be compared with at least one value, got ().")
    for value in values:
        if field is None:
            check_text(_text(Field.TAGS, value))
        else:
            check_value(field, value)


def _check_parts(where: And | Or, parts: Sequence[Filter]) -> None:
    if len(parts) < 2:
        raise FilterError(f"`and` and `or` must join at least two conditions, got {len(parts)}.")
    _check_nesting(where)


def _check_nesting(where: Filter) -> None:
    if (depth := nesting(where)) > MAX_NESTING:
        raise FilterError(
            f"`and`, `or` and `not` may be nested {MAX_NESTING} levels deep, got {depth}."
        )


def _inside(part: Filter, *looser: type) -> str:
    return f"({part})" if isinstance(part, looser) else str(part)


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
