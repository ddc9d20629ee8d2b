"""Narrowing, steering by hits and saying why: the handlers, called as gradio calls them."""

import json

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from composer.backbone import Backbone
from composer.query import Query
from composer.sketch import Sketch
from retrieval.evidence import explain
from retrieval.filters.tree import Field, In
from retrieval.indexing.encode import IndexOptions, index_folder
from retrieval.search import Refinement
from studio.ui.context import read_query
from studio.ui.explanation import MAX_LINES, NO_QUERY, marks_of
from studio.ui.feedback import MAX_MARKED, NO_FEEDBACK, Feedback
from studio.ui.filter_row import FilterChoice, FilterHandlers, selectable_values
from studio.ui.present import NOTHING_PASSES_FILTER
from studio.ui.retrieve_handlers import STEERING_PICTURE_GONE
from studio.ui.texts import Facts
from tests.studio.page import HOUSE, World, chosen, make_handlers, shared_world
from tests.studio.tiny_kit import PAYLOAD

MEDIA = ("photo", "pencil", "a <b>bold</b> one")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Twelve pictures in three media; the kinds are blob, and in one case an attack."""
    kit = shared_world(tmp_path_factory).kit
    folder = tmp_path_factory.mktemp("media") / "gallery"
    folder.mkdir()
    known = {}
    for number in range(12):
        Image.new("RGB", (64, 64), (20 * number, 90, 250 - 20 * number)).save(
            folder / f"{number:02}.png"
        )
        known[f"{number:02}.png"] = {
            "domain": MEDIA[number % 3], "kind": PAYLOAD if number == 11 else "blob",
            "caption": f"a {'red' if number > 8 else 'blue'} square",
        }  # fmt: skip
    options = IndexOptions(facts_by_path=known, near=1.0)
    index_folder(folder, folder / ".duet", Backbone.load(kit / "clip"), kit="tiny", options=options)
    return World(kit=kit, index=folder / ".duet")


@pytest.fixture(scope="module")
def handlers(world, tmp_path_factory):
    return make_handlers(world, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def retrieval(handlers):
    return handlers.retrieval


@pytest.fixture(scope="module")
def filters(handlers):
    return FilterHandlers(handlers.context.engine.gallery(handlers.context.index))


def media_of(pictures):
    return {dict(picture.facts.rows)["Medium"] for picture in pictures}


def test_the_gallery_s_own_media_and_kinds_are_to_choose_among(filters):
    assert filters.domains == tuple(sorted(MEDIA))
    assert filters.kinds == tuple(sorted(["blob", PAYLOAD]))


def test_one_value_alone_and_values_that_no_condition_can_hold_are_not_offered():
    assert selectable_values(["photo", "pencil"]) == ("photo", "pencil")
    assert selectable_values(["photo"]) == selectable_values([]) == ()
    assert selectable_values(["a", "b\nc", "d"]) == ("a", "d")


def test_choices_and_a_condition_join(filters):
    where, said, row = filters.set_filter(["photo", "pencil"], ["blob"], "caption contains 'red'")
    assert str(where) == (
        "domain in ('photo', 'pencil') and kind in ('blob') and caption contains 'red'"
    )
    assert (said, row["label"]) == (
        "", "Filter: photo, pencil; blob; caption contains 'red'",
    )  # fmt: skip
    assert filters.set_filter(["photo"], [], " ")[0] == In(field=Field.DOMAIN, values=("photo",))
    assert filters.set_filter([], None, None)[0] is None
    assert filters.clear_filter()[:4] == ([], [], "", None)


def test_a_long_condition_is_named_in_short():
    assert len(FilterChoice(written="x" * 500).label()) < 100


@pytest.mark.parametrize("written", ["domain =", "domain = photo", "(" * 3000, "size > 'x'"])
def test_a_malformed_condition_is_reported_and_the_previous_stays(filters, written):
    where, said, row = filters.set_filter(["photo"], [], written)
    assert said.endswith(".") or "xample" in said or "got" in said
    assert where == row == gr.skip()


def test_a_condition_that_is_too_deep_with_the_choices_is_reported(filters):
    deep = "not " * 8 + "kind = 'blob'"
    assert filters.set_filter([], [], deep)[1] == ""
    assert "8 levels deep" in filters.set_filter(["photo"], [], deep)[1]


@pytest.mark.parametrize("sent", [["oil"], "oil", [1], [["photo"]], {"a": 1}, [PAYLOAD], 7])
def test_a_choice_that_is_not_offered_is_refused(filters, sent):
    with pytest.raises(gr.Error, match="no such medium") as caught:
        filters.set_filter(sent, [], "")
    assert "<" not in caught.value.message


def test_only_text_is_a_condition(filters):
    with pytest.raises(gr.Error, match="must be text"):
        filters.set_filter([], [], 5)


def test_a_filtered_search_returns_only_what_matches(retrieval, filters):
    where = filters.set_filter(["pencil"], [], "")[0]
    _, pictures, _, line, *_ = retrieval.retrieve(HOUSE, "red", 0.5, where)
    assert (len(pictures), media_of(pictures)) == (4, {"pencil"})
    assert line == "The closest 4 of the filtered gallery, best first."


def test_a_spread_of_the_gallery_is_filtered_too(retrieval, filters):
    where = filters.set_filter(["photo"], [], "")[0]
    _, pictures, _, line, *_ = retrieval.retrieve("", "", 0.5, where)
    assert (len(pictures), media_of(pictures)) == (4, {"photo"})
    assert line.startswith("A selection of the filtered gallery.")


@pytest.mark.parametrize("strokes", ["", HOUSE])
def test_an_empty_filtered_gallery_is_reported(handlers, retrieval, filters, strokes):
    where = filters.set_filter([], [], "kind = 'nothing'")[0]
    gallery, pictures, _, line, _, large, facts = retrieval.retrieve(strokes, "", 0.5, where)
    assert (gallery["value"], pictures, line, large, facts) == (
        [],
        (),
        NOTHING_PASSES_FILTER,
        None,
        "",
    )
    assert retrieval.settle((), "", True, strokes, "", 0.5)[1:] == (None, "")
    for act in (
        lambda: retrieval.like((), "", NO_FEEDBACK),
        lambda: retrieval.unlike((), "", NO_FEEDBACK, strokes, ""),
        lambda: handlers.hand_over((), ""),
    ):
        with pytest.raises(gr.Error, match="no picture to choose"):
            act()


def test_liking_and_not_liking_move_the_search_as_the_engine_does(handlers, retrieval):
    pictures = retrieval.retrieve(HOUSE, "red", 0.5)[1]
    liked, line = retrieval.like(pictures, pictures[5].id, NO_FEEDBACK)
    assert (liked.liked, line) == ((pictures[5].id,), "More like 1")
    both, line = retrieval.unlike(pictures, "", liked, HOUSE, "red")
    assert (both.unliked, line) == ((pictures[0].id,), "More like 1, less like 1")
    answer = retrieval.retrieve(HOUSE, "red", 0.5, None, both)[1]
    engine = handlers.context.engine
    composed = handlers.context.compose(read_query(HOUSE, "red"), 0.5)
    moved = Refinement(liked=both.liked, unliked=both.unliked)
    expected = engine.search(composed, handlers.context.index, 12, None, moved)
    assert [picture.id for picture in answer] == [hit.id for hit in expected.hits]
    assert [picture.facts for picture in answer] != [picture.facts for picture in pictures]
    signs = {picture.id: picture.label[0] for picture in answer}
    assert (signs[pictures[5].id], signs[pictures[0].id]) == ("+", "−")
    assert retrieval.forget() == (NO_FEEDBACK, "")


def test_a_picture_is_liked_or_not_liked():
    said = NO_FEEDBACK.with_liked("a").with_liked("b").with_liked("a").with_unliked("b")
    assert said == Feedback(liked=("a",), unliked=("b",))
    assert said.with_liked("b") == Feedback(liked=("a", "b"))
    assert Feedback(unliked=("a",)).summary() == "Less like 1"
    full = Feedback(liked=tuple(map(str, range(MAX_MARKED))))
    assert full.with_liked("0") == full
    with pytest.raises(ValueError, match="clear the feedback first"):
        full.with_unliked("another")


def test_without_a_query_the_liked_picture_is_the_query(handlers, retrieval):
    pictures = retrieval.retrieve("", "", 0.5)[1]
    liked, _ = retrieval.like(pictures, pictures[7].id, NO_FEEDBACK)
    answer = retrieval.retrieve("", "", 0.5, None, liked)
    assert answer[3].startswith("The closest 12 of 12")
    with pytest.raises(gr.Error, match="choose “More like this” first"):
        retrieval.unlike(pictures, pictures[2].id, NO_FEEDBACK, "", " ")
    moved, line = retrieval.unlike(pictures, pictures[2].id, liked, "", "")
    assert line == "More like 1, less like 1"
    assert retrieval.retrieve("", "", 0.5, None, moved)[1]


def test_a_feedback_picture_that_left_the_gallery_is_reported(retrieval):
    gone = Feedback(liked=("0" * 32,))
    for strokes in ("", HOUSE):
        with pytest.raises(gr.Error) as caught:
            retrieval.retrieve(strokes, "", 0.5, None, gone)
        assert caught.value.message == STEERING_PICTURE_GONE


def test_a_pick_stays_while_its_picture_is_among_the_hits(retrieval):
    pictures = retrieval.retrieve(HOUSE, "", 0.5)[1]
    picked = retrieval.pick(pictures, chosen(4))
    gallery, again, _, _, _, large, facts = retrieval.retrieve(
        HOUSE, "red", 0.5, None, NO_FEEDBACK, picked
    )
    index = gallery["selected_index"]
    assert again[index].id == picked == pictures[4].id
    assert json.loads(facts)["title"] == again[index].facts.title
    assert retrieval.settle(again, picked, False, HOUSE, "red", 0.5)[1] == large
    gallery = retrieval.retrieve(HOUSE, "red", 0.5, None, NO_FEEDBACK, "somewhere else")[0]
    assert gallery["selected_index"] == 0


def test_a_click_on_earlier_hits_picks_the_displayed_picture(handlers, retrieval):
    before, after = (retrieval.retrieve("", words, 0.5)[1] for words in ("red", "blue"))
    index = next(n for n, picture in enumerate(before) if after[n].id != picture.id)
    event = chosen(index)
    event.value = {"image": {"path": f"/x/{handlers.thumbnails.tile_name(before[index].file)}"}}
    assert retrieval.pick(after, event) == before[index].id
    event.value["image"]["path"] = "/x/unknown.webp"
    with pytest.raises(gr.Error, match="no such picture"):
        retrieval.pick(after, event)


def test_why_marks_each_phrase_where_the_picture_answers_it(handlers, retrieval):
    pictures = retrieval.retrieve("", "red chair and oak legs", 0.5)[1]
    _, _, value = retrieval.settle(
        pictures, pictures[2].id, True, "", "red chair and oak legs", 0.5
    )
    facts = json.loads(value)
    assert facts["title"] == pictures[2].facts.title
    engine = handlers.context.engine
    composed = handlers.context.compose(read_query("", "red chair and oak legs"), 0.5)
    with Image.open(pictures[2].file) as picture:
        evidence = explain(engine.backbone, composed, picture.convert("RGB"))
    expected = {picture.phrase: list(evidence.box(picture.patch)) for picture in evidence.words}
    assert {mark["about"]: mark["box"] for mark in facts["marks"]} == expected
    assert len(expected) == 2
    assert len({mark["colour"] for mark in facts["marks"]}) == 2


def test_why_of_a_drawing_marks_its_longest_lines(retrieval):
    pictures = retrieval.retrieve(HOUSE, "", 0.5)[1]
    marks = json.loads(retrieval.settle(pictures, "", True, HOUSE, "", 0.5)[2])["marks"]
    assert 1 <= len(marks) <= MAX_LINES
    assert sorted(line for mark in marks for line in mark["lines"]) == [0, 1]
    assert [len(stroke) for stroke in marks[0]["drawing"]] == [5, 3]
    beside = json.loads(retrieval.settle(pictures, "", True, HOUSE, "red", 0.5)[2])["marks"]
    assert [mark["about"] for mark in beside] == ["red"]


def test_why_is_worked_out_only_when_asked_for(retrieval, monkeypatch):
    pictures = retrieval.retrieve(HOUSE, "red", 0.5)[1]
    monkeypatch.setattr(
        "studio.ui.explanation.explain", lambda *_: pytest.fail("It was not asked for.")
    )
    for answer in (False, None, "yes", 1):
        facts = json.loads(retrieval.settle(pictures, "", answer, HOUSE, "red", 0.5)[2])
        assert (facts["marks"], facts["note"]) == ([], "")


def test_why_without_a_query_or_a_file_is_a_sentence(retrieval, tmp_path):
    pictures = retrieval.retrieve("", "", 0.5)[1]
    assert json.loads(retrieval.settle(pictures, "", True, "", "", 0.5)[2])["note"] == NO_QUERY
    (gone,) = (type(pictures[0])(file=tmp_path / "x.png", label="", facts=Facts(), id="a"),)
    assert (
        "no longer exists"
        in json.loads(retrieval.settle((gone,), "", True, "", "red", 0.5)[2])["note"]
    )
    nothing = json.loads(retrieval.settle(pictures, "", True, "", "of the", 0.5)[2])
    assert "one region" in nothing["note"]


def test_marks_of_a_huge_drawing_stay_small(handlers):
    rng = np.random.default_rng(0)
    sketch = Sketch.from_strokes([rng.random((60, 2)) for _ in range(600)])
    composed = handlers.context.compose(Query(sketch=sketch), 0.5)
    evidence = explain(
        handlers.context.engine.backbone, composed, Image.new("RGB", (64, 64)), sketch
    )
    value = Facts(marks=marks_of(evidence, sketch)).as_value()
    assert len(value) < 100_000
