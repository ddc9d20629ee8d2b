"""The page's handlers, called as gradio calls them, over a tiny kit that draws."""

import json
import math
import resource
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from generation.provenance import read_png
from studio.ui.present import found_line
from studio.ui.security import PUBLIC_CAPS, Access
from studio.ui.setting import query_of
from tests.studio.page import HOUSE, chosen, make_desk, shared_world, visitor


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return shared_world(tmp_path_factory)


@pytest.fixture(scope="module")
def desk(world, tmp_path_factory):
    return make_desk(world, tmp_path_factory.mktemp("served"))


def silent(*_args, **_kwargs):
    """A progress bar that nobody watches."""


def draw(desk, strokes=HOUSE, words="red", kept=(), who="one", progress=silent, **changes):
    dials = {"balance": 0.5, "seed": 7, "num_steps": 2, "guidance": 3.0, "num_images": 2} | changes
    return desk.generate(
        strokes, words, *dials.values(), kept, request=visitor(who), progress=progress
    )


def move(desk, source, domain="night", own="", strength=0.6, uses_words=False, **changes):
    last = {"seed": 0, "uses_words": uses_words, "words": "oak wood"} | changes
    return desk.transfer(
        source, domain, own, strength, *last.values(), request=visitor(), progress=silent
    )


def test_an_empty_query_gives_a_look_into_the_gallery(desk):
    gallery, shown, _, line, strange, large, facts = desk.finder.retrieve("", "  ", 0.5)
    assert (len(gallery["value"]), len(shown), strange) == (12, 12, "")
    assert line.startswith("A look into the gallery: 12 pictures")
    assert Path(large).is_file()
    assert json.loads(facts)["title"]


def test_a_query_shows_the_engine_s_ranking(desk):
    _, shown, _, line, _, large, facts = desk.finder.retrieve(HOUSE, "red", 0.5)
    engine = desk.setting.engine
    composed = desk.setting.compose(query_of(HOUSE, "red"), 0.5)
    ranking = engine.search(composed, desk.setting.index, 12)
    assert [one.file for one in shown] == [hit.file for hit in ranking.hits]
    assert line == found_line(ranking, None)
    assert dict(json.loads(facts)["rows"])["Similarity"] == f"{ranking.hits[0].score:.3f}"
    assert Path(large).parent.parent == desk.setting.folder


def test_the_ends_of_the_balance_are_the_sides(desk):
    drawing = [one.file for one in desk.finder.retrieve(HOUSE, "", 0.5)[1]]
    words = [one.file for one in desk.finder.retrieve("", "red", 0.5)[1]]
    assert [one.file for one in desk.finder.retrieve(HOUSE, "red", 0)[1]] == drawing
    assert [one.file for one in desk.finder.retrieve(HOUSE, "red", 1)[1]] == words
    assert drawing != words


def test_strange_words_are_pointed_out(desk):
    strange = desk.finder.retrieve(HOUSE, "red zebra, chair", 0.5)[4]
    assert "zebra" in strange
    assert "red" not in strange.split("unknown")[0]
    assert "chair" not in strange
    assert desk.finder.retrieve(HOUSE, "red chair", 0.5)[4] == ""


def test_a_hit_is_shown_large_and_handed_over(desk):
    shown = desk.finder.retrieve(HOUSE, "", 0.5)[1]
    picked = desk.finder.pick(shown, chosen(3))
    assert picked == shown[3].id
    gallery, large, facts = desk.finder.settle(shown, picked, False, HOUSE, "", 0.5)
    assert gallery["selected_index"] == 3
    assert json.loads(facts) == json.loads(shown[3].facts.as_value())
    source, tabs = desk.hand_over(shown, picked)
    assert source == large
    assert tabs["selected"] == "transfer"
    assert desk.hand_over(shown, "")[0] == desk.thumbnails.large(shown[0].file)


@pytest.mark.parametrize("index", [-1, 99, 1.5, "0", None, [0, 0], True])
def test_a_choice_that_is_not_there_is_refused(desk, index):
    shown = desk.finder.retrieve(HOUSE, "", 0.5)[1]
    with pytest.raises(gr.Error, match="no such picture"):
        desk.finder.pick(shown, chosen(index))


@pytest.mark.parametrize(
    ("strokes", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "list of lists"),
        ("[[[0,0],[2,0]]]", "inside the canvas"),
        ("[[[0,NaN]]]", "inside the canvas"),
        ("[[[0,Infinity]]]", "inside the canvas"),
        ('[[["a","b"]]]', r"\[x, y\]"),
        (json.dumps([[[0, 0]]] * 2001), "at most 2000 strokes"),
        (json.dumps([[[0, 0]] * 40_001]), "at most 40000 points"),
        ('"' + "x" * 1_100_000 + '"', "more than 1 MiB"),
        (5, "must be text"),
    ],
)
def test_abusive_strokes_give_one_sentence(desk, strokes, sentence):
    with pytest.raises(gr.Error, match=sentence) as caught:
        desk.finder.retrieve(strokes, "", 0.5)
    assert not caught.value.print_exception


def test_a_thousand_abusive_drawings_leave_no_memory_behind():
    many = json.dumps([[[0.1, 0.2]] * 200] * 10)
    abuse = [many[:-1], many.replace("0.1", "7"), "[" * 5_000, json.dumps([[[0, 0]]] * 2001)]
    peaks: list[int] = []
    for number in range(1_000):
        with pytest.raises(ValueError, match=r"\."):
            query_of(abuse[number % len(abuse)], "")
        if number in (99, 999):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 50 * 1024


@pytest.mark.parametrize("balance", [math.nan, math.inf, -0.1, 1.1, 1e300, "0.5", None, True, []])
def test_a_wrong_balance_gives_one_sentence(desk, balance):
    with pytest.raises(gr.Error, match="balance"):
        desk.finder.retrieve(HOUSE, "red", balance)


def test_a_long_text_is_refused(desk):
    with pytest.raises(gr.Error, match="at most 1000 characters"):
        desk.finder.retrieve("", "x" * 1001, 0.5)


def test_messages_are_escaped(desk):
    with pytest.raises(gr.Error) as caught:
        draw(desk, seed="<img src=x onerror=1>")
    assert "&lt;img" in caught.value.message
    assert "<img" not in caught.value.message


def test_an_example_fills_the_query_and_finds_something(desk):
    examples = desk.setting.examples
    assert len(examples) >= 6
    for number, example in enumerate(examples):
        strokes, words, balance, _ = desk.take_example(chosen(number))
        assert (strokes, words, balance) == (example.strokes, example.words, 0.5)
        assert query_of(strokes, words).sketch is not None
    assert desk.finder.retrieve(examples[0].strokes, examples[0].words, 0.5)[1]


def test_generated_images_are_kept_with_seed_and_provenance(desk):
    gallery, kept, line, number, large, facts, download = draw(desk)
    assert [one.label for one in kept] == ["seed 7", "seed 8"]
    assert (number, large, download["value"]) == (0, kept[0].file, kept[0].file)
    assert line.startswith("2 drawn in")
    assert len(gallery["value"]) == 2
    fields = read_png(kept[1].file).fields
    assert (fields["kind"], fields["seed"], fields["index"]) == ("generate", 7, 1)
    assert dict(json.loads(facts)["rows"])["Seed"] == "7"
    again = draw(desk, seed=9, num_images=1, kept=kept)[1]
    assert [one.label for one in again] == ["seed 9", "seed 7", "seed 8"]
    assert desk.pick_result(again, chosen(2))[1] == kept[1].file


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1e300}, "seed"),
        ({"seed": math.nan}, "seed"),
        ({"seed": None}, "seed"),
        ({"num_steps": 51}, "between 1 and 50"),
        ({"num_steps": 2.5}, "whole number"),
        ({"num_images": 5}, "between 1 and 4"),
        ({"num_images": 0}, "between 1 and 4"),
        ({"guidance": math.inf}, "guidance"),
        ({"guidance": 1e9}, "guidance"),
    ],
)
def test_generation_is_capped_on_the_server(desk, change, sentence):
    with pytest.raises(gr.Error, match=sentence):
        draw(desk, **change)


def test_public_caps_are_stricter(world, tmp_path):
    public = make_desk(world, tmp_path, Access(host="0.0.0.0", is_public=True))
    assert public.setting.caps is PUBLIC_CAPS
    with pytest.raises(gr.Error, match="between 1 and 2"):
        draw(public, num_images=3)


def test_nothing_to_draw_from_is_said(desk):
    with pytest.raises(gr.Error, match="Draw something or write"):
        draw(desk, strokes="", words=" ")


def test_stop_ends_the_work_within_a_step(desk):
    steps: list[int] = []

    def stop_at_two(now, **_):
        if isinstance(now, tuple):
            steps.append(now[0])
            if now[0] == 2:
                desk.stop(visitor("two"))

    answer = draw(desk, num_steps=40, who="two", progress=stop_at_two)
    assert answer[2] == "Stopped."
    assert max(steps) <= 3
    assert draw(desk, who="two")[2].startswith("2 drawn")


def test_another_visitor_s_stop_changes_nothing(desk):
    def stop_other(now, **_):
        desk.stop(visitor("somebody else"))

    assert draw(desk, progress=stop_other)[2].startswith("2 drawn")


def test_leaving_removes_what_was_made(desk):
    kept = draw(desk, who="leaver", num_images=1)[1]
    others = draw(desk, who="stayer", num_images=1)[1]
    desk.leave(visitor("leaver"))
    assert not kept[0].file.exists()
    assert others[0].file.exists()


def test_transfer_gives_before_and_after(desk):
    source = str(desk.hand_over(desk.finder.retrieve("", "", 0.5)[1], "")[0])
    (before, after), line, download = move(desk, source, uses_words=True)
    assert line.startswith("night, oak wood: strength 0.6")
    with Image.open(before) as old, Image.open(after) as made:
        assert old.size == made.size
    fields = read_png(after).fields
    assert (fields["kind"], fields["strength"]) == ("transfer", 0.6)
    assert download["value"] == after
    assert move(desk, source, own="a faded poster")[1].startswith("a faded poster: ")


def test_only_uploads_of_the_page_are_read(desk, tmp_path, monkeypatch):
    foreign = tmp_path / "foreign.png"
    Image.new("RGB", (8, 8)).save(foreign)
    with pytest.raises(gr.Error, match="no upload of this page"):
        move(desk, str(foreign))
    with pytest.raises(gr.Error, match="no upload of this page"):
        move(desk, str(desk.setting.folder / ".." / ".." / "etc" / "passwd"))
    with pytest.raises(gr.Error, match="Choose a picture first"):
        move(desk, None)


def test_an_upload_that_is_no_picture_gives_one_sentence(desk):
    bad = desk.setting.folder / "<b>.png"
    bad.write_text("not a picture")
    with pytest.raises(gr.Error, match="The picture is not a PNG, JPEG or WebP image"):
        move(desk, str(bad))


def test_a_kit_without_a_pipeline_says_so_and_retrieves(world, tmp_path):
    kit = tmp_path / "kit"
    kit.mkdir()
    for name in ("clip", "composers"):
        (kit / name).symlink_to(world.kit / name)
    lines = (world.kit / "kit.toml").read_text()
    (kit / "kit.toml").write_text(lines.split("[pipeline]")[0])
    served = tmp_path / "served"
    served.mkdir()
    plain = make_desk(type(world)(kit=kit, index=world.index), served)
    assert not plain.draws
    assert plain.finder.retrieve(HOUSE, "red", 0.5)[1]
    with pytest.raises(gr.Error, match="searches but does not draw"):
        draw(plain)
    with pytest.raises(gr.Error, match="searches but does not draw"):
        move(plain, None)
