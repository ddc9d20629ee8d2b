"""What a filter becomes: an answer in Python, SQL for LanceDB, an expression for Milvus.

`matches` is what the other two must agree with.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

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
class Described(Protocol):
    """What a filter asks of an item; the names are those of `retrieval.store.schema.Item`."""

    @property
    def path(self) -> str: ...  # noqa: D102
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


def matches(where: Filter, item: Described) -> bool:
    """Tell whether a condition holds for an item."""
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
            return not set(values).isdisjoint(item.tags)
        case Contains(text=text):
            return text.lower() in item.caption.lower()


def _compares(item: Described, field: Field, operator: Operator, value: str | int) -> bool:
    if operator is Operator.UNEQUAL:
        return not _compares(item, field, Operator.EQUAL, value)
    match field:
        case Field.DOMAIN:
            return item.domain == value
        case Field.KIND:
            return item.kind == value
        case Field.FOLDER:
            return item.path.startswith(_beginning(str(value)))
        case Field.SIZE:
            return _lies(item.size_bytes, operator, int(value), int(value))
        case Field.WIDTH:
            return _lies(item.width_px, operator, int(value), int(value))
        case Field.HEIGHT:
            return _lies(item.height_px, operator, int(value), int(value))
        case Field.DATE:
            span = span_of(str(value))
            return item.taken != "" and _lies(item.taken, operator, span.first, span.last)
        case Field.TAGS | Field.CAPTION:
            raise AssertionError(field)  # no condition compares them with a value


def _lies(known: _Ordered, operator: Operator, first: _Ordered, last: _Ordered) -> bool:
    """Compare with what lies between two; a number spans itself alone."""
    match operator:
        case Operator.EQUAL:
            return first <= known <= last
        case Operator.UNEQUAL:
            return not first <= known <= last
        case Operator.LESS:
            return known < first
        case Operator.AT_MOST:
            return known <= last
        case Operator.GREATER:
            return known > last
        case Operator.AT_LEAST:
            return known >= first


def _beginning(folder: str) -> str:
    """How the path of every picture in a folder begins: any way for the root."""
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    return "".join(f"{part}/" for part in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Language:
    """What differs between the languages.

    Attributes:
        column: Name of a column, or what stands for one that is absent.
        quote: Literal of a text.
        equal: Sign of equality.
        listed: A list of literals, to be looked up in.
        carries: Whether the tags hold one of some literals.
        captioned: Whether the caption, in small letters, contains a text.
        always: Holds for every item.
    """

    column: Callable[[str], str]
    quote: Callable[[str], str]
    equal: str
    listed: Callable[[str], str]
    carries: Callable[[str], str]
    captioned: Callable[[str], str]
    always: str


def to_sql(where: Filter, *, absent: Collection[str] = ()) -> str:
    """Compile for LanceDB, whose SQL is DataFusion's.

    Args:
        where: The condition.
        absent: Columns of text that the table lacks; they read as empty.
    """

    def column(name: str) -> str:
        return "''" if name in absent else name

    language = _Language(
        column=column,
        quote=_quote_sql,
        equal="=",
        listed=lambda values: f"({values})",
        carries=lambda values: f"array_has_any(tags, make_array({values}))",
        captioned=lambda text: f"contains(lower({column('caption')}), {_quote_sql(text)})",
        always="true",
    )
    return _compile(where, language)


def to_milvus(where: Filter) -> str:
    """Compile for Milvus, whose column `caption_plain` holds what `plain` makes of captions."""
    language = _Language(
        column=lambda name: name,
        quote=_quote_milvus,
        equal="==",
        listed=lambda values: f"[{values}]",
        carries=lambda values: f"array_contains_any(tags, [{values}])",
        captioned=lambda text: f"caption_plain like {_quote_milvus(f'%{plain(text)}%')}",
        always='(id != "")',
    )
    return _compile(where, language)


_WILD = str.maketrans("\\%_", "\ue000\ue001\ue002")  # nobody's letters


def plain(text: str) -> str:
    """Return a text in small letters and without what a pattern could read as a sign.

    Servers differ in how they read an escaped backslash, so that none is left to escape.
    """
    return text.lower().translate(_WILD)


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
            return language.carries(_literals(values, language))
        case Contains(text=text):
            return language.captioned(text.lower()) if text else language.always


def _membership(field: Field, values: Iterable[str | int], language: _Language) -> str:
    if field in (Field.FOLDER, Field.DATE):
        equal = [_comparison(field, Operator.EQUAL, value, language) for value in values]
        return "(" + " or ".join(equal) + ")"
    return f"({_column(field, language)} in {language.listed(_literals(values, language))})"


def _comparison(field: Field, operator: Operator, value: str | int, language: _Language) -> str:
    if operator is Operator.UNEQUAL:
        return f"(not {_comparison(field, Operator.EQUAL, value, language)})"
    match field:
        case Field.FOLDER:
            return _within(_beginning(str(value)), language)
        case Field.DATE:
            return _dated(operator, str(value), language)
        case _:
            sign = language.equal if operator is Operator.EQUAL else operator.value
            return f"({_column(field, language)} {sign} {_literals([value], language)})"


def _within(beginning: str, language: _Language) -> str:
    """Ask how a path begins by its order: "a/" to "a0", the sign after the slash being "0".

    No engine's wildcards play a part in it, and an index on the column serves.
    """
    if not beginning:
        return language.always
    low, high = language.quote(beginning), language.quote(beginning[:-1] + "0")
    column = language.column("path")
    return f"({column} >= {low} and {column} < {high})"


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
            raise AssertionError(operator)  # compiled as what is not equal


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
