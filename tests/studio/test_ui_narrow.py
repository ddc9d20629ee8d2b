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
from studio.ui.feedback import MAX_MARKED, NO_FEEDBACK, Feedback
from studio.ui.finder import LEFT
from studio.ui.narrow import Narrowing, Sieve, offered
from studio.ui.present import NOTHING_MEETS
from studio.ui.setting import query_of
from studio.ui.texts import Facts
from studio.ui.why import MAX_LINES, NO_QUERY, marks_of
from tests.studio.page import HOUSE, World, chosen, make_desk, shared_world
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
    options = IndexOptions(known=known, near=1.0)
    index_folder(folder, folder / ".duet", Backbone.load(kit / "clip"), kit="tiny", options=options)
    return World(kit=kit, index=folder / ".duet")


@pytest.fixture(scope="module")
def desk(world, tmp_path_factory):
    return make_desk(world, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def finder(desk):
    return desk.finder


@pytest.fixture(scope="module")
def sieve(desk):
    return Sieve(desk.setting.engine.gallery(desk.setting.index))


def media_of(shown):
    return {dict(one.facts.rows)["Medium"] for one in shown}


def test_the_gallery_s_own_media_and_kinds_are_to_choose_among(sieve):
    assert sieve.domains == tuple(sorted(MEDIA))
    assert sieve.kinds == tuple(sorted(["blob", PAYLOAD]))


def test_one_value_alone_and_values_that_no_condition_can_hold_are_not_offered():
    assert offered(["photo", "pencil"]) == ("photo", "pencil")
    assert offered(["photo"]) == offered([]) == ()
    assert offered(["a", "b\nc", "d"]) == ("a", "d")


def test_choices_and_a_condition_join(sieve):
    where, said, row = sieve.narrow(["photo", "pencil"], ["blob"], "caption contains 'red'")
    assert str(where) == (
        "domain in ('photo', 'pencil') and kind in ('blob') and caption contains 'red'"
    )
    assert (said, row["label"]) == (
        "", "Narrow: photo, pencil; blob; caption contains 'red'",
    )  # fmt: skip
    assert sieve.narrow(["photo"], [], " ")[0] == In(field=Field.DOMAIN, values=("photo",))
    assert sieve.narrow([], None, None)[0] is None
    assert sieve.widen()[:4] == ([], [], "", None)


def test_a_long_condition_is_named_in_short():
    assert len(Narrowing(written="x" * 500).label()) < 100


@pytest.mark.parametrize("written", ["domain =", "domain = photo", "(" * 3000, "size > 'x'"])
def test_a_malformed_condition_is_told_and_the_one_before_stays(sieve, written):
    where, said, row = sieve.narrow(["photo"], [], written)
    assert said.endswith(".") or "xample" in said or "got" in said
    assert where == row == gr.skip()


def test_a_condition_that_is_too_deep_with_the_choices_is_told(sieve):
    deep = "not " * 8 + "kind = 'blob'"
    assert sieve.narrow([], [], deep)[1] == ""
    assert "8 deep" in sieve.narrow(["photo"], [], deep)[1]


@pytest.mark.parametrize("sent", [["oil"], "oil", [1], [["photo"]], {"a": 1}, [PAYLOAD], 7])
def test_a_choice_that_is_not_offered_is_refused(sieve, sent):
    with pytest.raises(gr.Error, match="no such medium") as caught:
        sieve.narrow(sent, [], "")
    assert "<" not in caught.value.message


def test_only_text_is_a_condition(sieve):
    with pytest.raises(gr.Error, match="must be text"):
        sieve.narrow([], [], 5)


def test_a_narrowed_search_finds_what_meets_the_condition_alone(finder, sieve):
    where = sieve.narrow(["pencil"], [], "")[0]
    _, shown, _, line, *_ = finder.retrieve(HOUSE, "red", 0.5, where)
    assert (len(shown), media_of(shown)) == (4, {"pencil"})
    assert line == "The closest 4 of the narrowed gallery, best first."


def test_a_look_into_the_gallery_is_narrowed_too(finder, sieve):
    where = sieve.narrow(["photo"], [], "")[0]
    _, shown, _, line, *_ = finder.retrieve("", "", 0.5, where)
    assert (len(shown), media_of(shown)) == (4, {"photo"})
    assert line.startswith("A look into the narrowed gallery, of 12 pictures.")


@pytest.mark.parametrize("strokes", ["", HOUSE])
def test_that_nothing_meets_the_condition_is_said(desk, finder, sieve, strokes):
    where = sieve.narrow([], [], "kind = 'nothing'")[0]
    gallery, shown, _, line, _, large, facts = finder.retrieve(strokes, "", 0.5, where)
    assert (gallery["value"], shown, line, large, facts) == ([], (), NOTHING_MEETS, None, "")
    assert finder.settle((), "", True, strokes, "", 0.5)[1:] == (None, "")
    for act in (
        lambda: finder.like((), "", NO_FEEDBACK),
        lambda: finder.unlike((), "", NO_FEEDBACK, strokes, ""),
        lambda: desk.hand_over((), ""),
    ):
        with pytest.raises(gr.Error, match="no picture to choose"):
            act()


def test_liking_and_not_liking_move_the_search_as_the_engine_does(desk, finder):
    shown = finder.retrieve(HOUSE, "red", 0.5)[1]
    liked, line = finder.like(shown, shown[5].id, NO_FEEDBACK)
    assert (liked.liked, line) == ((shown[5].id,), "More like 1")
    both, line = finder.unlike(shown, "", liked, HOUSE, "red")
    assert (both.unliked, line) == ((shown[0].id,), "More like 1, less like 1")
    found = finder.retrieve(HOUSE, "red", 0.5, None, both)[1]
    engine = desk.setting.engine
    composed = desk.setting.compose(query_of(HOUSE, "red"), 0.5)
    moved = Refinement(liked=both.liked, unliked=both.unliked)
    expected = engine.search(composed, desk.setting.index, 12, None, moved)
    assert [one.id for one in found] == [hit.id for hit in expected.hits]
    assert [one.facts for one in found] != [one.facts for one in shown]
    signs = {one.id: one.label[0] for one in found}
    assert (signs[shown[5].id], signs[shown[0].id]) == ("+", "−")
    assert finder.forget() == (NO_FEEDBACK, "")


def test_a_picture_is_liked_or_not_liked():
    said = NO_FEEDBACK.liking("a").liking("b").liking("a").unliking("b")
    assert said == Feedback(liked=("a",), unliked=("b",))
    assert said.liking("b") == Feedback(liked=("a", "b"))
    assert Feedback(unliked=("a",)).line() == "Less like 1"
    full = Feedback(liked=tuple(map(str, range(MAX_MARKED))))
    assert full.liking("0") == full
    with pytest.raises(ValueError, match="forget them first"):
        full.unliking("another")


def test_without_a_query_the_liked_picture_is_the_query(desk, finder):
    shown = finder.retrieve("", "", 0.5)[1]
    liked, _ = finder.like(shown, shown[7].id, NO_FEEDBACK)
    found = finder.retrieve("", "", 0.5, None, liked)
    assert found[3].startswith("The closest 12 of 12")
    with pytest.raises(gr.Error, match="ask for more like a picture first"):
        finder.unlike(shown, shown[2].id, NO_FEEDBACK, "", " ")
    moved, line = finder.unlike(shown, shown[2].id, liked, "", "")
    assert line == "More like 1, less like 1"
    assert finder.retrieve("", "", 0.5, None, moved)[1]


def test_a_steering_picture_that_left_the_gallery_is_said(finder):
    gone = Feedback(liked=("0" * 32,))
    for strokes in ("", HOUSE):
        with pytest.raises(gr.Error) as caught:
            finder.retrieve(strokes, "", 0.5, None, gone)
        assert caught.value.message == LEFT


def test_a_pick_stays_while_its_picture_is_among_the_hits(finder):
    shown = finder.retrieve(HOUSE, "", 0.5)[1]
    picked = finder.pick(shown, chosen(4))
    gallery, again, _, _, _, large, facts = finder.retrieve(
        HOUSE, "red", 0.5, None, NO_FEEDBACK, picked
    )
    place = gallery["selected_index"]
    assert again[place].id == picked == shown[4].id
    assert json.loads(facts)["title"] == again[place].facts.title
    assert finder.settle(again, picked, False, HOUSE, "red", 0.5)[1] == large
    gallery = finder.retrieve(HOUSE, "red", 0.5, None, NO_FEEDBACK, "somewhere else")[0]
    assert gallery["selected_index"] == 0


def test_a_click_on_hits_of_before_picks_what_was_seen(desk, finder):
    before, after = (finder.retrieve("", words, 0.5)[1] for words in ("red", "blue"))
    place = next(n for n, one in enumerate(before) if after[n].id != one.id)
    event = chosen(place)
    event.value = {"image": {"path": f"/x/{desk.thumbnails.tile_name(before[place].file)}"}}
    assert finder.pick(after, event) == before[place].id
    event.value["image"]["path"] = "/x/unknown.webp"
    with pytest.raises(gr.Error, match="no such picture"):
        finder.pick(after, event)


def test_why_marks_each_phrase_where_the_picture_answers_it(desk, finder):
    shown = finder.retrieve("", "red chair and oak legs", 0.5)[1]
    _, _, value = finder.settle(shown, shown[2].id, True, "", "red chair and oak legs", 0.5)
    facts = json.loads(value)
    assert facts["title"] == shown[2].facts.title
    engine = desk.setting.engine
    composed = desk.setting.compose(query_of("", "red chair and oak legs"), 0.5)
    with Image.open(shown[2].file) as picture:
        evidence = explain(engine.backbone, composed, picture.convert("RGB"))
    expected = {one.phrase: list(evidence.box(one.patch)) for one in evidence.words}
    assert {mark["about"]: mark["box"] for mark in facts["marks"]} == expected
    assert len(expected) == 2
    assert len({mark["colour"] for mark in facts["marks"]}) == 2


def test_why_of_a_drawing_marks_its_longest_lines(finder):
    shown = finder.retrieve(HOUSE, "", 0.5)[1]
    marks = json.loads(finder.settle(shown, "", True, HOUSE, "", 0.5)[2])["marks"]
    assert 1 <= len(marks) <= MAX_LINES
    assert sorted(line for mark in marks for line in mark["lines"]) == [0, 1]
    assert [len(stroke) for stroke in marks[0]["drawing"]] == [5, 3]
    beside = json.loads(finder.settle(shown, "", True, HOUSE, "red", 0.5)[2])["marks"]
    assert [mark["about"] for mark in beside] == ["red"]


def test_why_is_worked_out_only_when_asked_for(finder, monkeypatch):
    shown = finder.retrieve(HOUSE, "red", 0.5)[1]
    monkeypatch.setattr("studio.ui.why.explain", lambda *_: pytest.fail("It was not asked for."))
    for answer in (False, None, "yes", 1):
        facts = json.loads(finder.settle(shown, "", answer, HOUSE, "red", 0.5)[2])
        assert (facts["marks"], facts["note"]) == ([], "")


def test_why_without_a_query_or_a_file_is_a_sentence(finder, tmp_path):
    shown = finder.retrieve("", "", 0.5)[1]
    assert json.loads(finder.settle(shown, "", True, "", "", 0.5)[2])["note"] == NO_QUERY
    (gone,) = (type(shown[0])(file=tmp_path / "x.png", label="", facts=Facts(), id="a"),)
    assert "gone" in json.loads(finder.settle((gone,), "", True, "", "red", 0.5)[2])["note"]
    nothing = json.loads(finder.settle(shown, "", True, "", "of the", 0.5)[2])
    assert "at one place" in nothing["note"]


def test_marks_of_a_huge_drawing_stay_small(desk):
    rng = np.random.default_rng(0)
    sketch = Sketch.from_strokes([rng.random((60, 2)) for _ in range(600)])
    composed = desk.setting.compose(Query(sketch=sketch), 0.5)
    evidence = explain(desk.setting.engine.backbone, composed, Image.new("RGB", (64, 64)), sketch)
    value = Facts(marks=marks_of(evidence, sketch)).as_value()
    assert len(value) < 100_000
