"""The language of filters at its limits, and every sentence that says what must come."""

import pytest

from retrieval.filters.language import MAX_LENGTH, parse
from retrieval.filters.tree import (
    And,
    Compare,
    Contains,
    Field,
    FilterError,
    Has,
    In,
    Not,
    Operator,
    Or,
    nesting,
)

LARGE = Compare(field=Field.SIZE, operator=Operator.GREATER, value=100)


@pytest.mark.parametrize(
    "text",
    [
        "size > 100" + " " * (MAX_LENGTH - 10),
        "\tsize\n>\r\n100 ",
        "(" * 17 + "size > 100" + ")" * 17,
    ],
)
def test_texts_at_the_limits_are_read(text):
    assert parse(text) == LARGE


def test_a_filter_may_be_as_long_as_the_limit_and_no_longer():
    with pytest.raises(FilterError, match="may have at most 4000 characters, got 4001"):
        parse("size > 100" + " " * (MAX_LENGTH - 9))


def test_conditions_may_lie_as_deep_as_the_limit():
    assert nesting(parse("not " * 8 + "size > 100")) == 8
    assert nesting(parse("not " * 8 + "(" * 9 + "size > 100" + ")" * 9)) == 8
    joined = "size > 1"
    for level in range(8):
        joined = f"({joined}) {('and', 'or')[level % 2]} size > 1"
    assert nesting(parse(joined)) == 8
    with pytest.raises(FilterError, match=r"may be nested 8 levels deep, got 9"):
        parse(f"({joined}) and size > 1")


def test_the_deepest_branch_counts():
    assert nesting(LARGE) == 0
    deep = Not(part=Or(parts=(LARGE, LARGE)))
    assert nesting(And(parts=(LARGE, deep, LARGE))) == 3
    assert nesting(Or(parts=(deep, LARGE))) == 3


@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
def test_numbers_reach_from_zero_to_the_largest(sign):
    for number in (0, 2**63 - 1):
        expected = Compare(field=Field.WIDTH, operator=Operator(sign), value=number)
        assert parse(f"width {sign} {number}") == expected
        assert str(expected) == f"width {sign} {number}"
    with pytest.raises(FilterError, match="from 0 to 2"):
        parse(f"width {sign} {2**63}")
    with pytest.raises(FilterError, match=r"whole number from 0 to 2\^63-1, got -1"):
        Compare(field=Field.HEIGHT, operator=Operator(sign), value=-1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("size 'x'", r"character 6: =, !=, <, <=, >, >=, `in` or `between` is expected here"),
        ("date has 'x'", r"character 6: =, !=, <, <=, >, >=, `in` or `between` is expected here"),
        ("tags 'x'", r"character 6: `has` or `has any` is expected here, got 'x'"),
        ("caption has 'x'", r"character 9: `contains` is expected here, got has"),
        (
            "folder contains 'x'",
            r"character 8: =, !=, `in` or `not in` is expected here, got contains",
        ),
        ("kind = “x”", r"character 8: a text must be in single quotes \(''\), got “"),
        ("kind = ”x”", r"character 8: a text must be in single quotes \(''\), got ”"),
        ("kind = ’x’", r"character 8: a text must be in single quotes \(''\), got ’"),
        (
            "and size > 1",
            r"character 1: a field, as in domain = 'photo', is expected here, got and",
        ),
        ("size > 1 or or", r"character 13: a field, .* is expected here, got or"),
        ("in ('a')", r"character 1: a field, .* is expected here, got in"),
        ("'size' > 1", r"character 1: a field, .* is expected here, got 'size'"),
        ("tags has any 'red'", r"character 14: `\(` is expected here, got 'red'"),
        ("tags has 3", r"character 10: a text in single quotes, .* is expected here, got 3"),
        ("size between 1 or 2", r"character 16: `and` with the second value .* got or"),
        ("kind in ('a',)", r"character 14: a text in single quotes, .* is expected here, got \)"),
        ("size > 1 and width < 'x'", r"Filter, character 14: `width` must be compared"),
        ("size > 1)", r"character 9: `and`, `or` or the end is expected here, got \)"),
        ("date = 3", r"character 1: `date` must be compared with a text, got 3; write '3'"),
        ("date between '2024' and 'soon'", r"character 1: A date must be like"),
        ("date between 'soon' and '2024'", r"character 1: A date must be like"),
        ("size between 1 and 'big'", r"character 1: `size` must be compared with a whole number"),
        ("size between 'big' and 1", r"character 1: `size` must be compared with a whole number"),
        ("folder >= 'a'", r"character 1: `folder` takes =, != or `in`, got >="),
        ("kind in ('a', 3)", r"character 1: `kind` must be compared with a text, got 3"),
        ("caption contains 'a\tb'", r"printable characters, got '\\t' in it"),
        ("tags has 'a\tb'", r"printable characters, got '\\t' in it"),
    ],
)
def test_what_is_expected_is_named_with_its_position(text, sentence):
    with pytest.raises(FilterError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Not(part=LARGE), "not size > 100"),
        (Not(part=And(parts=(LARGE, LARGE))), "not (size > 100 and size > 100)"),
        (Not(part=Not(part=LARGE)), "not not size > 100"),
        (
            And(parts=(Or(parts=(LARGE, LARGE)), Not(part=LARGE))),
            "(size > 100 or size > 100) and not size > 100",
        ),
        (Or(parts=(And(parts=(LARGE, LARGE)), LARGE)), "size > 100 and size > 100 or size > 100"),
        (In(field=Field.SIZE, values=(1, 2)), "size in (1, 2)"),
        (In(field=Field.KIND, values=("it's",)), "kind in ('it''s')"),
        (Has(values=("red",)), "tags has 'red'"),
        (Has(values=("red", "blue")), "tags has any ('red', 'blue')"),
        (Contains(text="it's"), "caption contains 'it''s'"),
    ],
)
def test_trees_are_printed_with_no_more_parentheses_than_they_need(tree, text):
    assert str(tree) == text
    assert parse(text) == tree


def test_a_tree_in_code_is_checked_part_by_part():
    with pytest.raises(FilterError, match="at least two conditions, got 1"):
        Or(parts=(LARGE,))
    with pytest.raises(FilterError, match=r"printable characters, got '\\x7f'"):
        Has(values=("red", "blue\x7f"))
    with pytest.raises(FilterError, match="`width` must be compared with a whole number"):
        In(field=Field.WIDTH, values=(1, "two"))
    with pytest.raises(FilterError, match="`tags` takes"):
        In(field=Field.TAGS, values=("red",))
