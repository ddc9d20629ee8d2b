"""Parser of the filter language of the command line: `domain = 'photo' and size > 1000`.

    condition: FIELD = != < <= > >= VALUE | FIELD in (VALUE, ...) | FIELD between VALUE and VALUE
               | tags has 'red' | tags has any ('red', 'blue') | caption contains 'red'
    joined by: and, or, not, ( )

Texts are in single quotes; a quote inside a text is doubled. `not` may also precede `in`,
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
    """A token of a filter; `position` counts characters from 1."""

    kind: _Kind
    spelled: str
    position: int

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
    """Parse a filter.

    Raises:
        FilterError: The syntax is wrong; the message names the character, counted from 1, and what
            is expected there. Also for more than 4,000 characters, or 8 levels of nesting.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"A filter may have at most {MAX_LENGTH} characters, got {len(text)}.")
    if not text.strip():
        raise FilterError(f"The filter is empty. Write one such as: {_EXAMPLE}")
    return _Parser(_tokens(text)).parse()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        piece = _PIECES.match(text, start)
        if piece is None or piece.lastgroup is None:
            raise _error(start + 1, _what_is_wrong(text[start]))
        tokens.append(_Token(kind=_Kind(piece.lastgroup), spelled=piece[0], position=start + 1))
        start = piece.end()
    return [*tokens, _Token(kind=_Kind.END, spelled="", position=len(text) + 1)]


def _what_is_wrong(character: str) -> str:
    match character:
        case "'":
            return "this quote is never closed; double a quote inside a text, as in 'it''s'."
        case '"' | "’" | "“" | "”":
            return f"a text must be in single quotes (''), got {character}."
        case "-":
            return "a number must be whole and not negative, got -."
        case _:
            return f"{character!r} has no meaning here; put texts in single quotes."


def _error(position: int, what: str) -> FilterError:
    return FilterError(f"Filter, character {position}: {what}")


class _Parser:
    """Recursive-descent parser of the tokens of a filter."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at = tokens, 0

    def parse(self) -> Filter:
        where = self._disjunction(0)
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
        return _error(self._next.position, f"{what} is expected here, got {self._next}.")

    def _locate_errors(self, token: _Token, make: Callable[[], _Result]) -> _Result:
        """Make a condition; add the position of its first token to an error."""
        try:
            return make()
        except FilterError as error:
            raise _error(token.position, str(error)) from None

    def _disjunction(self, depth: int) -> Filter:
        start, parts = self._next, [self._conjunction(depth)]
        while self._takes_word("or"):
            parts.append(self._conjunction(depth))
        if len(parts) == 1:
            return parts[0]
        return self._locate_errors(start, lambda: Or(parts=tuple(parts)))

    def _conjunction(self, depth: int) -> Filter:
        start, parts = self._next, [self._factor(depth)]
        while self._takes_word("and"):
            parts.append(self._factor(depth))
        if len(parts) == 1:
            return parts[0]
        return self._locate_errors(start, lambda: And(parts=tuple(parts)))

    def _factor(self, depth: int) -> Filter:
        start = self._next
        if start.spelled != "(" and not start.is_word("not"):
            return self._condition()
        # Parentheses make no nodes, which check their nesting, but do deepen Python's stack.
        if depth > 2 * MAX_NESTING:
            raise _error(
                start.position, "conditions are nested too deeply here; simplify the filter."
            )
        self._at += 1
        if start.spelled == "(":
            where = self._disjunction(depth + 1)
            self._sign(")")
            return where
        part = self._factor(depth + 1)
        return self._locate_errors(start, lambda: Not(part=part))

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
                token.position, f"there is no field {token.spelled!r}; the fields are {names}."
            ) from None
        self._at += 1
        return field

    def _comparison(self, token: _Token, field: Field) -> Filter:
        sign = self._take().spelled
        operator = Operator(_SAME.get(sign, sign))
        value = self._value()
        return self._locate_errors(
            token, lambda: Compare(field=field, operator=operator, value=value)
        )

    def _words(self, token: _Token, field: Field) -> Filter:
        if self._takes_word("in"):
            values = self._list(self._value)
            return self._locate_errors(token, lambda: In(field=field, values=values))
        if self._takes_word("between"):
            low = self._value()
            if not self._takes_word("and"):
                raise self._expected("`and` with the second value of `between`")
            high = self._value()
            return self._locate_errors(token, lambda: Between(field=field, low=low, high=high))
        if field is Field.TAGS and self._takes_word("has"):
            tags = self._list(self._text) if self._takes_word("any") else (self._text(),)
            return self._locate_errors(token, lambda: Has(values=tags))
        if field is Field.CAPTION and self._takes_word("contains"):
            text = self._text()
            return self._locate_errors(token, lambda: Contains(text=text))
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
