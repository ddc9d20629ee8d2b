"""Filters: read, printed, asked in Python and asked of a real table."""

from dataclasses import replace
from random import Random

import lancedb
import pyarrow as pa
import pytest

from retrieval.filters.folders import folders_of
from retrieval.filters.language import parse
from retrieval.filters.targets import matches, to_milvus, to_sql
from retrieval.filters.tree import (
    And,
    Between,
    Compare,
    Contains,
    Field,
    FilterError,
    Has,
    In,
    Not,
    Operator,
    Or,
)
from retrieval.store.schema import Item
from tests.retrieval.filters.filter_world import CHAIR, Thing, random_filter, random_things


def compare(field, operator, value):
    return Compare(field=Field(field), operator=Operator(operator), value=value)


PHOTO, LARGE = compare("domain", "=", "photo"), compare("size", ">", 100)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("domain = 'photo'", PHOTO),
        ("DOMAIN == 'photo' AND Size>100", And(parts=(PHOTO, LARGE))),
        ("size > 100 and not (domain = 'photo')", And(parts=(LARGE, Not(part=PHOTO)))),
        (
            "size > 100 or domain = 'photo' and size > 100",
            Or(parts=(LARGE, And(parts=(PHOTO, LARGE)))),
        ),
        (
            "(size > 100 or domain = 'photo') and size > 100",
            And(parts=(Or(parts=(LARGE, PHOTO)), LARGE)),
        ),
        ("kind in ('chair','it''s')", In(field=Field.KIND, values=("chair", "it's"))),
        ("kind not in ('a')", Not(part=In(field=Field.KIND, values=("a",)))),
        ("width <> 3", compare("width", "!=", 3)),
        (
            "date between '2024-01-01' and '2024-12-31' and size > 100",
            And(parts=(Between(field=Field.DATE, low="2024-01-01", high="2024-12-31"), LARGE)),
        ),
        ("not tags has 'red'", Not(part=Has(values=("red",)))),
        ("tags has any ('red', '')", Has(values=("red", ""))),
        ("caption not contains 'and (or) not'", Not(part=Contains(text="and (or) not"))),
    ],
)
def test_text_is_read_into_the_tree_it_says(text, tree):
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("  ", r"The filter is empty. Write one such as: domain = 'photo'"),
        ("colour = 'red'", r"character 1: there is no field 'colour'; the fields are domain, kind"),
        ("domain = 'photo", r"character 10: this quote is never closed"),
        (
            "domain = photo",
            r"character 10: a text in single quotes, .* is expected here, got photo",
        ),
        ('domain = "photo"', r"character 10: a text must be in single quotes"),
        ("domain 'photo'", r"character 8: =, !=, `in` or `not in` is expected here, got 'photo'"),
        ("domain =", r"character 9: a text .* is expected here, got the end"),
        (
            "domain = 'a' size > 3",
            r"character 14: `and`, `or` or the end is expected here, got size",
        ),
        ("(domain = 'a'", r"character 14: `\)` is expected here, got the end"),
        ("domain = 'a' and", r"character 17: a field, .* is expected here, got the end"),
        ("kind in 'a'", r"character 9: `\(` is expected here, got 'a'"),
        ("kind in ('a' 'b')", r"character 14: `,` or `\)` is expected here, got 'b'"),
        ("kind in ()", r"character 10: a text .* is expected here, got \)"),
        ("size between 3", r"character 15: `and` with the second value of `between`"),
        ("size > -3", r"character 8: a number must be whole and not negative"),
        ("size > 1.5", r"character 9: '.' has no meaning here"),
        ("width = 1 and size > 'big'", r"character 15: `size` .* whole number .* got 'big'"),
        (f"size > {2**63}", r"character 1: `size` must be compared with a whole number from 0"),
        ("domain < 'a'", r"character 1: `domain` takes =, != or `in`, got <"),
        ("kind between 'a' and 'b'", r"character 1: `kind` takes =, != or `in`, got `between`"),
        ("domain = 3", r"character 1: `domain` must be compared with a text, got 3; write '3'"),
        ("tags = 'red'", r"character 1: `tags` takes `has 'red'`"),
        ("tags in ('red')", r"character 1: `tags` takes `has 'red'`"),
        ("caption = 'red'", r"character 1: `caption` takes `contains 'red'`"),
        ("kind has 'red'", r"character 6: =, !=, `in` or `not in` is expected here, got has"),
        ("date = '2024-02-30'", r"character 1: A date must be like '2024'.*, got '2024-02-30'"),
        ("date > '24'", r"A date must be like"),
        ("kind = 'a\x00b'", r"printable characters, got '\\x00' in it"),
        ("kind = '\udcff'", r"printable characters"),
        ("kind = 'a'; drop", r"character 11: ';' has no meaning here"),
        ("x" * 4001, r"may have at most 4000 characters, got 4001"),
        ("(" * 3000, r"character 18: conditions are nested too deep"),
        ("not " * 900 + "size > 1", r"nested too deep"),
        ("not " * 9 + "size > 1", r"character 1: .* may be nested 8 levels deep, got 9"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_position(text, sentence):
    with pytest.raises(FilterError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("domain = 'photo'", True),
        ("domain = 'Photo'", False),
        ("domain != 'photo'", False),
        ("kind in ('stool', 'chair')", True),
        ("folder = 'holiday'", True),
        ("folder = './holiday/2024/'", True),
        ("folder = 'holiday/20'", False),
        ("folder in ('', 'work')", True),
        ("folder != 'holiday'", False),
        ("tags has 'red'", True),
        ("tags has 're'", False),
        ("tags has any ('blue', 'it''s')", True),
        ("caption contains 'red CHAIR'", True),
        ("caption contains ''", True),
        ("caption contains 'rad'", False),
        ("size > 100 or size < 100", False),
        ("size >= 100 and size <= 100", True),
        ("width between 640 and 641", True),
        ("height in (480, 3)", True),
        ("date = '2024'", True),
        ("date = '2024-03'", True),
        ("date > '2024-03'", False),
        ("date >= '2024-04'", False),
        ("date > '2024-03-31 18:29'", True),
        ("date < '2024-03-31 18:30:05'", False),
        ("date <= '2024-03-31'", True),
        ("date between '2024-01-01' and '2024-03-31'", True),
        ("date != '2023'", True),
        ("not not kind = 'chair'", True),
    ],
)
def test_conditions_hold_as_their_words_say(text, expected):
    assert matches(parse(text), CHAIR) is expected


@pytest.mark.parametrize("text", ["date < '2030'", "date <= '2030'", "date > '0001'",
                                  "date between '0001' and '9999'"])  # fmt: skip
def test_a_picture_without_a_date_matches_no_date(text):
    undated = replace(CHAIR, taken="")
    assert matches(parse(text), CHAIR)
    assert not matches(parse(text), undated)
    assert matches(parse(f"not ({text})"), undated)


@pytest.mark.parametrize("num_trees", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_what_is_printed_is_read_back(num_trees):
    rng = Random(num_trees)
    for _ in range(num_trees):
        tree = random_filter(rng)
        assert parse(str(tree)) == tree


def rows_of(things):
    columns = {name: [getattr(thing, name) for thing in things] for name in Thing.__slots__}
    columns["folders"] = [folders_of((thing.path, *thing.copies)) for thing in things]
    for name in ("tags", "copies", "folders"):
        columns[name] = pa.array([list(values) for values in columns[name]], pa.list_(pa.string()))
    return pa.table(columns | {"number": list(range(len(things)))})


def selected(table, condition):
    rows = table.search().where(condition).select(["number"]).limit(10_000).to_arrow()
    return sorted(rows["number"].to_pylist())


@pytest.mark.parametrize("num_filters", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_a_real_table_selects_what_python_does(tmp_path, num_filters):
    things = random_things(seed=1, num=300)
    table = lancedb.connect(tmp_path).create_table("things", rows_of(things))
    rng, num_selected = Random(num_filters), 0
    for _ in range(num_filters):
        where = random_filter(rng)
        expected = [number for number, thing in enumerate(things) if matches(where, thing)]
        assert selected(table, to_sql(where)) == expected, str(where)
        num_selected += 0 < len(expected) < len(things)
    assert num_selected > num_filters / 2  # most conditions part the items


def test_every_engine_reads_the_deepest_tree(tmp_path):
    things = random_things(seed=3, num=20)
    table = lancedb.connect(tmp_path).create_table("things", rows_of(things))
    where = LARGE
    for level in range(8):
        where = Not(part=where) if level % 2 else And(parts=(compare("folder", "!=", "a"), where))
    assert selected(table, to_sql(where)) == [
        number for number, thing in enumerate(things) if matches(where, thing)
    ]
    with pytest.raises(FilterError, match="may be nested 8 levels deep"):
        Not(part=where)


def test_an_index_made_before_dates_were_kept_has_none(tmp_path):
    rows = rows_of([CHAIR]).drop_columns(["taken"])
    table = lancedb.connect(tmp_path).create_table("things", rows)
    for text in ("date > '1900'", "date < '2100'", "date = '2024'"):
        assert selected(table, to_sql(parse(text), absent=("taken",))) == []
        assert selected(table, to_sql(parse(f"not {text}"), absent=("taken",))) == [0]


def test_quotes_end_no_text():
    attack = "' or '1' = '1"
    assert to_sql(compare("kind", "=", attack)) == "(kind = ''' or ''1'' = ''1')"
    assert to_milvus(compare("kind", "=", '" or "')) == '(kind == "\\" or \\"")'
    assert to_milvus(compare("kind", "=", "\\")) == '(kind == "\\\\")'
    assert to_milvus(Contains(text="50%_\\ OR")) == 'caption_plain like "%50\ue001\ue002\ue000 or%"'


def test_a_tree_in_code_is_checked_as_text_is():
    with pytest.raises(FilterError, match="at least two conditions, got 1"):
        And(parts=(PHOTO,))
    with pytest.raises(FilterError, match=r"`kind` must be compared with at least one value"):
        In(field=Field.KIND, values=())
    with pytest.raises(FilterError, match=r"`tags` must be compared with at least one value"):
        Has(values=())


def test_an_item_of_a_store_can_be_filtered():
    item = Item(id="0" * 32, path="a/b.png", taken="2024-03-31T18:30:00")
    assert matches(parse("folder = 'a' and date = '2024'"), item)
