"""Conditions at the very value, and what each engine is asked."""

from dataclasses import replace

import pytest

from retrieval.filters.language import parse
from retrieval.filters.targets import matches, plain, to_milvus, to_sql
from tests.retrieval.filters.filter_world import CHAIR


@pytest.mark.parametrize(
    ("sign", "below", "equal", "above"),
    [
        ("=", False, True, False),
        ("!=", True, False, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ],
)
def test_numbers_and_dates_are_compared_below_at_and_above_a_value(sign, below, equal, above):
    expected = [below, equal, above]
    for field, attribute in (
        ("size", "size_bytes"),
        ("width", "width_px"),
        ("height", "height_px"),
    ):
        things = [replace(CHAIR, **{attribute: number}) for number in (49, 50, 51)]
        assert [matches(parse(f"{field} {sign} 50"), one) for one in things] == expected
    seconds = ("2024-03-31T18:29:59", "2024-03-31T18:30:00", "2024-03-31T18:31:00")
    for date in ("2024-03-31 18:30", "2024-03-31T18:30"):
        things = [replace(CHAIR, taken=taken) for taken in seconds]
        assert [matches(parse(f"date {sign} '{date}'"), one) for one in things] == expected
    days = ("2023-12-31T23:59:59", "2024-01-01T00:00:00", "2025-01-01T00:00:00")
    things = [replace(CHAIR, taken=taken) for taken in days]
    assert [matches(parse(f"date {sign} '2024'"), one) for one in things] == expected


@pytest.mark.parametrize(
    ("date", "first", "last"),
    [
        ("2024", "2024-01-01T00:00:00", "2024-12-31T23:59:59"),
        ("2024-02", "2024-02-01T00:00:00", "2024-02-29T23:59:59"),
        ("2024-02-29", "2024-02-29T00:00:00", "2024-02-29T23:59:59"),
        ("2024-02-29 06:07", "2024-02-29T06:07:00", "2024-02-29T06:07:59"),
        ("2024-02-29 06:07:08", "2024-02-29T06:07:08", "2024-02-29T06:07:08"),
    ],
)
def test_a_date_stands_for_all_of_its_time(date, first, last):
    for taken in (first, last):
        one = replace(CHAIR, taken=taken)
        assert matches(parse(f"date = '{date}'"), one)
        assert not matches(parse(f"date < '{date}'"), one)
        assert not matches(parse(f"date > '{date}'"), one)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width between 640 and 640", True),
        ("width between 600 and 640", True),
        ("width between 641 and 700", False),
        ("width between 600 and 639", False),
        ("size in (99, 101)", False),
        ("folder = 'holi'", False),
        ("folder = 'holiday//2024'", True),
        ("folder = 'holiday/2024/chair.png'", False),
        ("folder = '.'", True),
        ("kind = 'Chair'", False),
        ("caption contains 'a red'", True),
        ("tags has any ('blue', 'green')", False),
    ],
)
def test_conditions_hold_at_their_edges(text, expected):
    assert matches(parse(text), CHAIR) is expected


@pytest.mark.parametrize(
    ("text", "sql", "milvus"),
    [
        ("domain = 'photo'", "(domain = 'photo')", '(domain == "photo")'),
        ("kind != 'a'", "(not (kind = 'a'))", '(not (kind == "a"))'),
        ("size >= 3", "(size_bytes >= 3)", "(size_bytes >= 3)"),
        ("width = 3", "(width_px = 3)", "(width_px == 3)"),
        ("height in (1, 2)", "(height_px in (1, 2))", "(height_px in [1, 2])"),
        ("kind in ('a', 'b')", "(kind in ('a', 'b'))", '(kind in ["a", "b"])'),
        ("folder = ''", "true", '(id != "")'),
        (
            "folder = 'a/b'",
            "array_has_any(folders, make_array('a/b'))",
            '((path >= "a/b/" and path < "a/b0") or array_contains_any(tags, ["\ue003a/b"]))',
        ),
        (
            "folder in ('a', 'b')",
            "(array_has_any(folders, make_array('a')) or array_has_any(folders, make_array('b')))",
            '(((path >= "a/" and path < "a0") or array_contains_any(tags, ["\ue003a"])) '
            'or ((path >= "b/" and path < "b0") or array_contains_any(tags, ["\ue003b"])))',
        ),
        (
            "date = '2024'",
            "(taken >= '2024-01-01T00:00:00' and taken <= '2024-12-31T23:59:59')",
            '(taken >= "2024-01-01T00:00:00" and taken <= "2024-12-31T23:59:59")',
        ),
        (
            "date < '2024'",
            "(taken > '' and taken < '2024-01-01T00:00:00')",
            '(taken > "" and taken < "2024-01-01T00:00:00")',
        ),
        (
            "date <= '2024'",
            "(taken > '' and taken <= '2024-12-31T23:59:59')",
            '(taken > "" and taken <= "2024-12-31T23:59:59")',
        ),
        (
            "date > '2024'",
            "(taken > '2024-12-31T23:59:59')",
            '(taken > "2024-12-31T23:59:59")',
        ),
        (
            "size between 1 and 2",
            "((size_bytes >= 1) and (size_bytes <= 2))",
            "((size_bytes >= 1) and (size_bytes <= 2))",
        ),
        (
            "tags has 'red'",
            "array_has_any(tags, make_array('red'))",
            'array_contains_any(tags, ["red"])',
        ),
        (
            "caption contains 'Red_'",
            "contains(lower(caption), 'red_')",
            'caption_plain like "%red\ue002%"',
        ),
        ("caption contains ''", "true", '(id != "")'),
        (
            "size > 1 and not (width < 2 or width > 3)",
            "((size_bytes > 1) and (not ((width_px < 2) or (width_px > 3))))",
            "((size_bytes > 1) and (not ((width_px < 2) or (width_px > 3))))",
        ),
    ],
)
def test_each_engine_is_asked_in_its_language(text, sql, milvus):
    assert to_sql(parse(text)) == sql
    assert to_milvus(parse(text)) == milvus


def test_an_absent_column_reads_as_empty():
    assert to_sql(parse("kind = 'a'"), absent=("kind",)) == "('' = 'a')"
    assert to_sql(parse("caption contains 'a'"), absent=("caption",)) == "contains(lower(''), 'a')"


def test_an_earlier_layout_is_asked_for_the_path_in_both_spellings():
    asked = to_sql(parse("folder = 'Küche'"), absent=("folders",))
    composed, apart = ("Ku\u0308che", "K\u00fcche")
    assert (
        asked
        == "("
        + " or ".join(f"(path >= '{name}/' and path < '{name}0')" for name in (composed, apart))
        + ")"
    )
    assert to_sql(parse("folder = 'a'"), absent=("folders",)) == "((path >= 'a/' and path < 'a0'))"


def test_plain_texts_hold_no_signs_of_patterns():
    assert plain("A\\b%c_D") == "a\ue000b\ue001c\ue002d"
