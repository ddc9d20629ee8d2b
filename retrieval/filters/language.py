"""Reads a filter from text, the language of the command line: `domain = 'photo' and size > 1000`.

    condition: FIELD = != < <= > >= VALUE | FIELD in (VALUE, ...) | FIELD between VALUE and VALUE
               | tags has 'red' | tags has any ('red', 'blue') | caption contains 'red'
    joined by: and, or, not, ( )

Texts stand in single quotes, a quote inside them is doubled. `not` may also precede `in`,
`between`, `has` and `contains`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from retrieval.filters.tree import (
    MAX_NESTING,
    And,
    Between,
    Compare,
    Contains,
    Field,
    Filter,
    FilterError,
    Has,
    In,
    Not,
    Operator,
    Or,
)

MAX_LENGTH = 4000
_EXAMPLE = "domain = 'photo' and size > 100000"
_Result = TypeVar("_Result")


class _Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    WORD = "word"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    """A piece of a filter; `place` counts characters from 1."""

    kind: _Kind
    spelled: str
    place: int

    def __str__(self) -> str:
        return "the end" if self.kind is _Kind.END else self.spelled

    def is_word(self, word: str) -> bool:
        return self.kind is _Kind.WORD and self.spelled.lower() == word


_PIECES = re.compile(
    r"(?P<text>'(?:[^']|'')*')|(?P<number>[0-9]+)|(?P<word>[A-Za-z_]+)"
    r"|(?P<sign><=|>=|!=|<>|==|[=<>(),])"
)
_SAME = {"==": "=", "<>": "!="}


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        FilterError: It is no filter; the sentence says at which character, counted from 1, and
            what must stand there. Also for more than 4,000 characters, or 8 levels of nesting.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"A filter may have {MAX_LENGTH} characters, got {len(text)}.")
    if not text.strip():
        raise FilterError(f"The filter is empty. Write one such as: {_EXAMPLE}")
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        piece = _PIECES.match(text, place)
        if piece is None or piece.lastgroup is None:
            raise _error(place + 1, _what_is_wrong(text[place]))
        found.append(_Token(kind=_Kind(piece.lastgroup), spelled=piece[0], place=place + 1))
        place = piece.end()
    return [*found, _Token(kind=_Kind.END, spelled="", place=len(text) + 1)]


def _what_is_wrong(character: str) -> str:
    match character:
        case "'":
            return "this quote is never closed; double a quote inside a text, as in 'it''s'."
        case '"' | "’" | "“" | "”":
            return f"a text must stand in single quotes (''), got {character}."
        case "-":
            return "a number must be whole and not negative, got -."
        case _:
            return f"{character!r} has no meaning here; put texts in single quotes."


def _error(place: int, what: str) -> FilterError:
    return FilterError(f"Filter, character {place}: {what}")


class _Parser:
    """Descends through one filter's tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at = tokens, 0

    def parse(self) -> Filter:
        where = self._either(0)
        if self._next.kind is not _Kind.END:
            raise self._expected("`and`, `or` or the end")
        return where

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _takes_word(self, word: str) -> bool:
        takes = self._next.is_word(word)
        self._at += takes
        return takes

    def _sign(self, sign: str) -> None:
        if self._next.spelled != sign:
            raise self._expected(f"`{sign}`")
        self._at += 1

    def _expected(self, what: str) -> FilterError:
        return _error(self._next.place, f"{what} must come here, got {self._next}.")

    def _told(self, token: _Token, make: Callable[[], _Result]) -> _Result:
        """Say where a condition stands that cannot be asked."""
        try:
            return make()
        except FilterError as error:
            raise _error(token.place, str(error)) from None

    def _either(self, depth: int) -> Filter:
        start, parts = self._next, [self._all(depth)]
        while self._takes_word("or"):
            parts.append(self._all(depth))
        if len(parts) == 1:
            return parts[0]
        return self._told(start, lambda: Or(parts=tuple(parts)))

    def _all(self, depth: int) -> Filter:
        start, parts = self._next, [self._one(depth)]
        while self._takes_word("and"):
            parts.append(self._one(depth))
        if len(parts) == 1:
            return parts[0]
        return self._told(start, lambda: And(parts=tuple(parts)))

    def _one(self, depth: int) -> Filter:
        start = self._next
        if start.spelled != "(" and not start.is_word("not"):
            return self._condition()
        # Not left to the nodes: parentheses make none, and Python's stack ends somewhere.
        if depth > 2 * MAX_NESTING:
            raise _error(start.place, "conditions are nested too deep here; write it flatter.")
        self._at += 1
        if start.spelled == "(":
            where = self._either(depth + 1)
            self._sign(")")
            return where
        part = self._one(depth + 1)
        return self._told(start, lambda: Not(part=part))

    def _condition(self) -> Filter:
        token, field = self._next, self._field()
        if self._next.kind is _Kind.SIGN and self._next.spelled not in "(),":
            return self._comparison(token, field)
        negated = self._takes_word("not")
        where = self._words(token, field)
        return Not(part=where) if negated else where

    def _field(self) -> Field:
        token = self._next
        if token.kind is not _Kind.WORD or token.spelled.lower() in ("and", "or", "in"):
            raise self._expected("a field, as in domain = 'photo',")
        try:
            field = Field(token.spelled.lower())
        except ValueError:
            names = ", ".join(Field)
            raise _error(
                token.place, f"there is no field {token.spelled!r}; the fields are {names}."
            ) from None
        self._at += 1
        return field

    def _comparison(self, token: _Token, field: Field) -> Filter:
        sign = self._take().spelled
        operator = Operator(_SAME.get(sign, sign))
        value = self._value()
        return self._told(token, lambda: Compare(field=field, operator=operator, value=value))

    def _words(self, token: _Token, field: Field) -> Filter:
        if self._takes_word("in"):
            values = self._list(self._value)
            return self._told(token, lambda: In(field=field, values=values))
        if self._takes_word("between"):
            low = self._value()
            if not self._takes_word("and"):
                raise self._expected("`and` with the second value of `between`")
            high = self._value()
            return self._told(token, lambda: Between(field=field, low=low, high=high))
        if field is Field.TAGS and self._takes_word("has"):
            tags = self._list(self._text) if self._takes_word("any") else (self._text(),)
            return self._told(token, lambda: Has(values=tags))
        if field is Field.CAPTION and self._takes_word("contains"):
            text = self._text()
            return self._told(token, lambda: Contains(text=text))
        raise self._expected(_after(field))

    def _list(self, read: Callable[[], _Result]) -> tuple[_Result, ...]:
        self._sign("(")
        values = [read()]
        while self._next.spelled == ",":
            self._at += 1
            values.append(read())
        if self._next.spelled != ")":
            raise self._expected("`,` or `)`")
        self._at += 1
        return tuple(values)

    def _value(self) -> str | int:
        if self._next.kind is _Kind.NUMBER:
            return int(self._take().spelled)
        return self._text()

    def _text(self) -> str:
        if self._next.kind is not _Kind.TEXT:
            raise self._expected("a text in single quotes, or a whole number,")
        return self._take().spelled[1:-1].replace("''", "'")


def _after(field: Field) -> str:
    match field:
        case Field.DOMAIN | Field.KIND | Field.FOLDER:
            return "=, !=, `in` or `not in`"
        case Field.SIZE | Field.WIDTH | Field.HEIGHT | Field.DATE:
            return "=, !=, <, <=, >, >=, `in` or `between`"
        case Field.TAGS:
            return "`has` or `has any`"
        case Field.CAPTION:
            return "`contains`"
