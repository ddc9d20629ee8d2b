"""Evaluation of filters in Python, and compilation to SQL for LanceDB and to Milvus expressions.

`matches` is the reference; the compiled conditions must agree with it.
"""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from retrieval.filters.folders import composed, folder_name, folders_of
from retrieval.filters.tree import (
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
    span_of,
)

_Ordered = TypeVar("_Ordered", str, int)


@runtime_checkable
class Filterable(Protocol):
    """Fields of an item that filters use, named as in `retrieval.store.schema.Item`."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def copies(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def domain(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def caption(self) -> str: ...  # noqa: D102
    @property
    def tags(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def taken(self) -> str: ...  # noqa: D102
    @property
    def size_bytes(self) -> int: ...  # noqa: D102
    @property
    def width_px(self) -> int: ...  # noqa: D102
    @property
    def height_px(self) -> int: ...  # noqa: D102


def matches(where: Filter, item: Filterable) -> bool:
    """Tell whether an item matches a condition."""
    match where:
        case And(parts=parts):
            return all(matches(part, item) for part in parts)
        case Or(parts=parts):
            return any(matches(part, item) for part in parts)
        case Not(part=part):
            return not matches(part, item)
        case Compare(field=field, operator=operator, value=value):
            return _compares(item, field, operator, value)
        case In(field=field, values=values):
            return any(_compares(item, field, Operator.EQUAL, value) for value in values)
        case Between(field=field, low=low, high=high):
            not_below = _compares(item, field, Operator.AT_LEAST, low)
            return not_below and _compares(item, field, Operator.AT_MOST, high)
        case Has(values=values):
            return not set(map(composed, values)).isdisjoint(map(composed, item.tags))
        case Contains(text=text):
            return composed(text).lower() in composed(item.caption).lower()


def _compares(item: Filterable, field: Field, operator: Operator, value: str | int) -> bool:
    if operator is Operator.UNEQUAL:
        return not _compares(item, field, Operator.EQUAL, value)
    match field:
        case Field.DOMAIN:
            return composed(item.domain) == composed(str(value))
        case Field.KIND:
            return composed(item.kind) == composed(str(value))
        case Field.FOLDER:
            folder = folder_name(str(value))
            return not folder or folder in folders_of((item.path, *item.copies))
        case Field.SIZE:
            return _compare_span(item.size_bytes, operator, int(value), int(value))
        case Field.WIDTH:
            return _compare_span(item.width_px, operator, int(value), int(value))
        case Field.HEIGHT:
            return _compare_span(item.height_px, operator, int(value), int(value))
        case Field.DATE:
            span = span_of(str(value))
            return item.taken != "" and _compare_span(item.taken, operator, span.first, span.last)
        case Field.TAGS | Field.CAPTION:
            raise AssertionError(field)  # never compared with a value


def _compare_span(actual: _Ordered, operator: Operator, first: _Ordered, last: _Ordered) -> bool:
    """Compare a value with a span; a number is its own first and last value."""
    match operator:
        case Operator.EQUAL:
            return first <= actual <= last
        case Operator.UNEQUAL:
            return not first <= actual <= last
        case Operator.LESS:
            return actual < first
        case Operator.AT_MOST:
            return actual <= last
        case Operator.GREATER:
            return actual > last
        case Operator.AT_LEAST:
            return actual >= first


@dataclass(frozen=True, kw_only=True, slots=True)
class _Language:
    """Syntax of a target language.

    Attributes:
        column: Expression of a column; a substitute if the column is absent.
        quote: Literal of a text.
        equal: Equality operator.
        value_list: List of literals, for membership tests.
        in_folder: Condition that an item or a copy of it is in a folder, which is not the root.
        has_any_tag: Condition that the tags contain one of the literals.
        caption_contains: Condition that the caption, in lower case, contains a text.
        always: Condition that every item matches.
    """

    column: Callable[[str], str]
    quote: Callable[[str], str]
    equal: str
    value_list: Callable[[str], str]
    in_folder: Callable[[str], str]
    has_any_tag: Callable[[str], str]
    caption_contains: Callable[[str], str]
    always: str


def to_sql(where: Filter, *, absent: Collection[str] = ()) -> str:
    """Compile a filter to SQL for LanceDB, in DataFusion's dialect.

    Args:
        where: The condition.
        absent: Columns that the table lacks; texts read as empty.
    """

    def column(name: str) -> str:
        return "''" if name in absent else name

    def in_folder(folder: str) -> str:
        if "folders" not in absent:
            return f"array_has_any(folders, make_array({_quote_sql(folder)}))"
        # An earlier layout knows one path, in the spelling of the system.
        spellings = sorted({folder, unicodedata.normalize("NFD", folder)})
        return _any(_below(column("path"), spelling, _quote_sql) for spelling in spellings)

    language = _Language(
        column=column,
        quote=lambda text: _quote_sql(composed(text)),
        equal="=",
        value_list=lambda values: f"({values})",
        in_folder=in_folder,
        has_any_tag=lambda values: f"array_has_any(tags, make_array({values}))",
        caption_contains=lambda text: f"contains(lower({column('caption')}), {_quote_sql(text)})",
        always="true",
    )
    return _compile(where, language)


def to_milvus(where: Filter) -> str:
    """Compile a filter to a Milvus expression.

    Column `path` is composed, `caption_plain` holds `plain` captions, and the tags include a
    `copy_tag` for every folder of a copy.
    """

    def in_folder(folder: str) -> str:
        copies = f"array_contains_any(tags, [{_quote_milvus(copy_tag(folder))}])"
        return f"({_below('path', folder, _quote_milvus)} or {copies})"

    language = _Language(
        column=lambda name: name,
        quote=lambda text: _quote_milvus(composed(text)),
        equal="==",
        value_list=lambda values: f"[{values}]",
        in_folder=in_folder,
        has_any_tag=lambda values: f"array_contains_any(tags, [{values}])",
        caption_contains=lambda text: f"caption_plain like {_quote_milvus(f'%{plain(text)}%')}",
        always='(id != "")',
    )
    return _compile(where, language)


_WILD = str.maketrans("\\%_", "\ue000\ue001\ue002")  # private-use characters


def plain(text: str) -> str:
    """Return a text in lower case, with the special characters of patterns replaced.

    Servers differ in how they read an escaped backslash, so none may remain.
    """
    return text.lower().translate(_WILD)


def copy_tag(folder: str) -> str:
    """Return the tag of items with a copy in a folder; no user's tag has its first character."""
    return f"\ue003{folder}"


def _quote_sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quote_milvus(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compile(where: Filter, language: _Language) -> str:
    match where:
        case And(parts=parts):
            return "(" + " and ".join(_compile(part, language) for part in parts) + ")"
        case Or(parts=parts):
            return "(" + " or ".join(_compile(part, language) for part in parts) + ")"
        case Not(part=part):
            return f"(not {_compile(part, language)})"
        case Compare(field=field, operator=operator, value=value):
            return _comparison(field, operator, value, language)
        case In(field=field, values=values):
            return _membership(field, values, language)
        case Between(field=field, low=low, high=high):
            not_below = _comparison(field, Operator.AT_LEAST, low, language)
            return f"({not_below} and {_comparison(field, Operator.AT_MOST, high, language)})"
        case Has(values=values):
            return language.has_any_tag(_literals(values, language))
        case Contains(text=text):
            lower = composed(text).lower()
            return language.caption_contains(lower) if text else language.always


def _membership(field: Field, values: Iterable[str | int], language: _Language) -> str:
    if field in (Field.FOLDER, Field.DATE):
        equal = [_comparison(field, Operator.EQUAL, value, language) for value in values]
        return _any(equal)
    return f"({_column(field, language)} in {language.value_list(_literals(values, language))})"


def _comparison(field: Field, operator: Operator, value: str | int, language: _Language) -> str:
    if operator is Operator.UNEQUAL:
        return f"(not {_comparison(field, Operator.EQUAL, value, language)})"
    match field:
        case Field.FOLDER:
            folder = folder_name(str(value))
            return language.in_folder(folder) if folder else language.always
        case Field.DATE:
            return _dated(operator, str(value), language)
        case _:
            sign = language.equal if operator is Operator.EQUAL else operator.value
            return f"({_column(field, language)} {sign} {_literals([value], language)})"


def _below(column: str, folder: str, quote: Callable[[str], str]) -> str:
    """Test the prefix of a path by order: from "a/" to "a0", as "0" is the character after "/".

    This needs no wildcards, which differ between engines.
    """
    return f"({column} >= {quote(folder + '/')} and {column} < {quote(folder + '0')})"


def _any(conditions: Iterable[str]) -> str:
    return "(" + " or ".join(conditions) + ")"


def _dated(operator: Operator, date: str, language: _Language) -> str:
    span, column = span_of(date), language.column("taken")
    first, last = language.quote(span.first), language.quote(span.last)
    match operator:
        case Operator.EQUAL:
            return f"({column} >= {first} and {column} <= {last})"
        case Operator.LESS:
            return f"({column} > {language.quote('')} and {column} < {first})"
        case Operator.AT_MOST:
            return f"({column} > {language.quote('')} and {column} <= {last})"
        case Operator.GREATER:
            return f"({column} > {last})"
        case Operator.AT_LEAST:
            return f"({column} >= {first})"
        case Operator.UNEQUAL:
            raise AssertionError(operator)  # compiled as a negated equality


_COLUMNS = {
    Field.DOMAIN: "domain",
    Field.KIND: "kind",
    Field.SIZE: "size_bytes",
    Field.WIDTH: "width_px",
    Field.HEIGHT: "height_px",
}


def _column(field: Field, language: _Language) -> str:
    return language.column(_COLUMNS[field])


def _literals(values: Iterable[str | int], language: _Language) -> str:
    return ", ".join(str(v) if isinstance(v, int) else language.quote(v) for v in values)
