"""The page's handlers, called as gradio calls them, over a tiny kit that draws."""

import json
import math
import resource
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from generation.controls import ControlKind
from generation.provenance import read_png
from retrieval.confidence import Calibration, QueryMode, save_calibrations
from studio.kits import ControlFiles
from studio.mask_words import mask_of_words
from studio.ui.app import _generate_sliders
from studio.ui.context import read_query
from studio.ui.feedback import Feedback
from studio.ui.handlers import BACK_AGAIN
from studio.ui.present import ranking_line
from studio.ui.security import PUBLIC_CAPS, Access
from tests.pictures import noise
from tests.studio.page import HOUSE, World, chosen, make_handlers, shared_world, visitor
from tests.studio.tiny_kit import write_gallery, write_kit

NOTHING = (gr.skip(),) * 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return shared_world(tmp_path_factory)


@pytest.fixture(scope="module")
def handlers(world, tmp_path_factory):
    return make_handlers(world, tmp_path_factory.mktemp("served"))


def silent(*_args, **_kwargs):
    """A progress bar that nobody watches."""


def draw(handlers, strokes=HOUSE, words="red", kept=(), who="one", progress=silent, **changes):
    dials = {
        "balance": 0.5, "seed": 7, "num_steps": 2, "guidance": 3.0, "num_images": 2,
        "control": None, "best_first": False,
    } | changes  # fmt: skip
    return handlers.generate(
        strokes, words, *dials.values(), kept, (), request=visitor(who), progress=progress
    )


def move(
    handlers, source, domain="night", own="", strength=0.6, uses_words=False, who="one", part="",
    outside=False, keeps_colours=False, painting="", best_of=1, **changes
):  # fmt: skip
    last = {"seed": 0, "uses_words": uses_words, "words": "oak wood"} | changes
    return handlers.transfer(
        source, domain, own, strength, *last.values(), (), part, outside, keeps_colours, painting,
        best_of,
        request=visitor(who), progress=silent,
    )  # fmt: skip


def test_the_page_draws_as_the_kit_finishes(handlers, monkeypatch):
    engine, asked = handlers.context.engine, []
    drawing, generate = engine.kit.drawing, engine.generate

    def listening(request, options):
        asked.append(request.settings.finish_noise)
        settings = replace(request.settings, finish_noise=0.0)  # this kit has no finisher
        return generate(replace(request, settings=settings), options)

    monkeypatch.setattr(engine, "generate", listening)
    for share in (0.4, 0.0):
        kit = replace(engine.kit, drawing=replace(drawing, finish_noise=share))
        monkeypatch.setattr(engine, "kit", kit)
        draw(handlers)
    assert asked == [0.4, 0.0]


def test_an_empty_query_gives_a_look_into_the_gallery(handlers):
    gallery, pictures, _, line, strange, large, facts = handlers.retrieval.retrieve("", "  ", 0.5)
    assert (len(gallery["value"]), len(pictures), strange) == (12, 12, "")
    assert line.startswith("A selection of the gallery: 12 pictures")
    assert Path(large).is_file()
    assert json.loads(facts)["title"]


def test_a_query_shows_the_engine_s_ranking(handlers):
    _, pictures, _, line, _, large, facts = handlers.retrieval.retrieve(HOUSE, "red", 0.5)
    engine = handlers.context.engine
    composed = handlers.context.compose(read_query(HOUSE, "red"), 0.5)
    ranking = engine.search(composed, handlers.context.index, 12)
    assert [picture.file for picture in pictures] == [hit.file for hit in ranking.hits]
    assert line == ranking_line(ranking, None)
    assert dict(json.loads(facts)["rows"])["Similarity"] == f"{ranking.hits[0].score:.3f}"
    assert Path(large).parent.parent == handlers.context.folder


def test_the_ends_of_the_balance_are_the_sides(handlers):
    drawing = [picture.file for picture in handlers.retrieval.retrieve(HOUSE, "", 0.5)[1]]
    words = [picture.file for picture in handlers.retrieval.retrieve("", "red", 0.5)[1]]
    assert [picture.file for picture in handlers.retrieval.retrieve(HOUSE, "red", 0)[1]] == drawing
    assert [picture.file for picture in handlers.retrieval.retrieve(HOUSE, "red", 1)[1]] == words
    assert drawing != words


def test_unknown_words_are_pointed_out(handlers):
    strange = handlers.retrieval.retrieve(HOUSE, "red zebra, chair", 0.5)[4]
    assert "zebra" in strange
    assert "red" not in strange.split("unknown")[0]
    assert "chair" not in strange
    assert handlers.retrieval.retrieve(HOUSE, "red chair", 0.5)[4] == ""


def test_a_hit_is_displayed_large_and_passed_to_the_transfer(handlers):
    pictures = handlers.retrieval.retrieve(HOUSE, "", 0.5)[1]
    picked = handlers.retrieval.pick(pictures, chosen(3))
    assert picked == pictures[3].id
    gallery, large, facts = handlers.retrieval.settle(pictures, picked, False, HOUSE, "", 0.5)
    assert gallery["selected_index"] == 3
    assert json.loads(facts) == json.loads(pictures[3].facts.as_value())
    source, tabs = handlers.hand_over(pictures, picked)
    assert source == large
    assert tabs["selected"] == "transfer"
    assert handlers.hand_over(pictures, "")[0] == handlers.thumbnails.large(pictures[0].file)


@pytest.mark.parametrize("index", [-1, 99, 1.5, "0", None, [0, 0], True])
def test_a_choice_that_is_not_there_is_refused(handlers, index):
    pictures = handlers.retrieval.retrieve(HOUSE, "", 0.5)[1]
    with pytest.raises(gr.Error, match="no such picture"):
        handlers.retrieval.pick(pictures, chosen(index))


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
def test_abusive_strokes_give_a_sentence(handlers, strokes, sentence):
    with pytest.raises(gr.Error, match=sentence) as caught:
        handlers.retrieval.retrieve(strokes, "", 0.5)
    assert not caught.value.print_exception


def test_a_thousand_abusive_drawings_leave_no_memory_behind():
    many = json.dumps([[[0.1, 0.2]] * 200] * 10)
    abuse = [many[:-1], many.replace("0.1", "7"), "[" * 5_000, json.dumps([[[0, 0]]] * 2001)]
    peaks: list[int] = []
    for number in range(1_000):
        with pytest.raises(ValueError, match=r"\."):
            read_query(abuse[number % len(abuse)], "")
        if number in (99, 999):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 50 * 1024


@pytest.mark.parametrize("balance", [math.nan, math.inf, -0.1, 1.1, 1e300, "0.5", None, True, []])
def test_a_wrong_balance_gives_a_sentence(handlers, balance):
    with pytest.raises(gr.Error, match="balance"):
        handlers.retrieval.retrieve(HOUSE, "red", balance)


def test_a_long_text_is_refused(handlers):
    with pytest.raises(gr.Error, match="at most 1000 characters"):
        handlers.retrieval.retrieve("", "x" * 1001, 0.5)


def test_messages_are_escaped(handlers):
    with pytest.raises(gr.Error) as caught:
        draw(handlers, seed="<img src=x onerror=1>")
    assert "&lt;img" in caught.value.message
    assert "<img" not in caught.value.message


def test_an_example_fills_the_query_and_finds_something(handlers):
    examples = handlers.context.examples
    assert len(examples) >= 6
    for number, example in enumerate(examples):
        strokes, words, balance, _ = handlers.take_example(chosen(number))
        assert (strokes, words, balance) == (example.strokes, example.words, 0.5)
        assert read_query(strokes, words).sketch is not None
    assert handlers.retrieval.retrieve(examples[0].strokes, examples[0].words, 0.5)[1]


def test_generated_images_are_kept_with_seed_and_provenance(handlers):
    gallery, kept, line, number, large, facts, download = draw(handlers)
    assert [picture.label for picture in kept] == ["seed 7", "seed 8"]
    assert (number, large, download["value"]) == (0, kept[0].file, kept[0].file)
    assert line.startswith("2 drawn in")
    assert len(gallery["value"]) == 2
    fields = read_png(kept[1].file).fields
    assert (fields["kind"], fields["seed"], fields["index"]) == ("generate", 7, 1)
    assert dict(json.loads(facts)["rows"])["Seed"] == "7"
    again = draw(handlers, seed=9, num_images=1, kept=kept)[1]
    assert [picture.label for picture in again] == ["seed 9", "seed 7", "seed 8"]
    assert handlers.pick_result(again, chosen(2))[1] == kept[1].file


def test_the_best_of_several_images_comes_first_with_its_agreement(handlers):
    _, kept, _, _, large, facts, _ = draw(handlers, best_first=True)
    assert [picture.label[:3] for picture in kept] == ["1  ", "2  "]
    assert large == kept[0].file
    first, second = (read_png(picture.file).fields for picture in kept)
    assert (first["best_of"]["rank"], second["best_of"]["rank"]) == (1, 2)
    assert first["best_of"]["score"] > second["best_of"]["score"]
    assert kept[0].label == f"1  seed {first['seed'] + first['index']}"
    rows = dict(json.loads(facts)["rows"])
    assert rows["Rank"] == "1 of 2"
    assert rows["Drawing"] == f"{first['best_of']['reference']:.3f}"
    assert rows["Words"] == f"{first['best_of']['words']:.3f}"
    assert "best_of" not in read_png(draw(handlers)[1][0].file).fields


def test_a_match_of_the_gallery_is_named_before_the_images_come(handlers, tmp_path, monkeypatch):
    engine = handlers.context.engine
    assert handlers.known_match(HOUSE, "red", 0.5, ()) == ""
    path = tmp_path / "confidence.json"
    certain = Calibration(weights=(0.0, 0.0, 0.0, 0.0), bias=2.0, threshold=0.5)
    save_calibrations(path, dict.fromkeys(QueryMode, certain))
    monkeypatch.setattr(engine, "kit", replace(engine.kit, confidence={"duet": path}))
    said = handlers.known_match(HOUSE, "red", 0.5, ())
    hits = handlers.retrieval.retrieve(HOUSE, "red", 0.5)[1]
    assert said.endswith(f"{hits[0].file.name} (confidence 0.88).")
    assert handlers.known_match("", " ", 0.5, ()) == ""


def test_the_page_offers_the_control_networks_that_follow_lines(handlers, monkeypatch):
    engine = handlers.context.engine
    assert engine.kit.controlnet is not None
    others = {
        kind: ControlFiles(folder=engine.kit.controlnet, kind=ControlKind(kind))
        for kind in ("lineart", "depth")
    }
    others["canny"] = ControlFiles(folder=None, kind=ControlKind.CANNY)
    with gr.Blocks(analytics_enabled=False):
        alone = _generate_sliders(handlers.context.caps.drawing, engine.kit)[-1]
        monkeypatch.setattr(engine, "kit", replace(engine.kit, controls=others))
        several = _generate_sliders(handlers.context.caps.drawing, engine.kit)[-1]
    assert not alone.visible
    assert several.visible
    assert [choice[0] for choice in several.choices] == ["scribble", "lineart"]
    kept = draw(handlers, control="lineart", num_images=1)[1]
    assert read_png(kept[0].file).fields["control_name"] == "lineart"
    kept = draw(handlers, strokes="", control="lineart", num_images=1)[1]
    assert read_png(kept[0].file).fields["control_name"] == ""
    with pytest.raises(gr.Error, match="no control network 'pose'"):
        draw(handlers, control="pose")
    with pytest.raises(gr.Error, match="control must be text"):
        draw(handlers, control=3)


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
def test_generation_is_capped_on_the_server(handlers, change, sentence):
    with pytest.raises(gr.Error, match=sentence):
        draw(handlers, **change)


def test_public_caps_are_stricter(world, tmp_path):
    public = make_handlers(world, tmp_path, Access(host="0.0.0.0", is_public=True))
    assert public.context.caps is PUBLIC_CAPS
    with pytest.raises(gr.Error, match="between 1 and 2"):
        draw(public, num_images=3)


def test_an_empty_query_cannot_be_drawn(handlers):
    with pytest.raises(gr.Error, match="Draw something or write"):
        draw(handlers, strokes="", words=" ")


def test_stop_ends_the_work_within_a_step(handlers):
    steps: list[int] = []

    def stop_at_two(now, **_):
        if isinstance(now, tuple):
            steps.append(now[0])
            if now[0] == 2:
                handlers.stop(visitor("two"))

    answer = draw(handlers, num_steps=40, who="two", progress=stop_at_two)
    assert answer[2] == "Stopped."
    assert max(steps) <= 3
    assert draw(handlers, who="two")[2].startswith("2 drawn")


def test_stop_reaches_the_reading_of_the_picture(handlers, monkeypatch):
    """A picture can take seconds to decode, in which there is no step to wait for."""
    source = handlers.context.folder / "slow.png"
    Image.new("RGB", (64, 64)).save(source)

    def stop_while_reading(file, limits, check):
        handlers.stop(visitor())
        return open_image(file, limits, check=check)

    monkeypatch.setattr("studio.ui.handlers.open_image", stop_while_reading)
    assert move(handlers, str(source))[1] == "Stopped."
    monkeypatch.undo()
    assert move(handlers, str(source))[1].startswith("night")


def test_another_visitor_s_stop_changes_nothing(handlers):
    def stop_other(now, **_):
        handlers.stop(visitor("somebody else"))

    assert draw(handlers, progress=stop_other)[2].startswith("2 drawn")


def test_leaving_removes_what_was_made(handlers):
    kept = draw(handlers, who="leaver", num_images=1)[1]
    others = draw(handlers, who="stayer", num_images=1)[1]
    handlers.leave(visitor("leaver"))
    assert not kept[0].file.exists()
    assert others[0].file.exists()


def test_a_page_that_loads_again_has_its_results(handlers, monkeypatch):
    key, stranger = "0a" * 16, "0b" * 16
    assert handlers.enter(key, visitor("cut")) == NOTHING
    source = str(handlers.hand_over(handlers.retrieval.retrieve("", "", 0.5)[1], "")[0])
    pair, line, _ = move(handlers, source, who="cut")
    kept = draw(handlers, who="cut", num_images=1)[1]
    handlers.leave(visitor("cut"))
    outputs = handlers.enter(key, visitor("again"))
    assert outputs[:2] == (pair, line)
    assert outputs[4:7] == (kept, BACK_AGAIN, 0)
    assert all(file.exists() for file in (*pair, kept[0].file))
    for other in (stranger, "", None, key.upper(), [key]):
        assert handlers.enter(other, visitor("stranger")) == NOTHING
    monkeypatch.setattr(handlers.sessions, "grace_s", 0.0)
    handlers.leave(visitor("again"))
    assert kept[0].file.exists()  # until what waits for the first page ends
    handlers.sessions._remove("cut")
    assert not kept[0].file.exists()
    assert handlers.enter(key, visitor("late")) == NOTHING


def test_transfer_gives_before_and_after(handlers):
    source = str(handlers.hand_over(handlers.retrieval.retrieve("", "", 0.5)[1], "")[0])
    (before, after), line, download = move(handlers, source, uses_words=True)
    assert line.startswith("night, oak wood: strength 0.6")
    with Image.open(before) as old, Image.open(after) as made:
        assert old.size == made.size
    fields = read_png(after).fields
    assert (fields["kind"], fields["strength"]) == ("transfer", 0.6)
    assert download["value"] == after
    assert move(handlers, source, own="a faded poster")[1].startswith("a faded poster: ")
    (_, kept), *_ = move(handlers, source, keeps_colours=True)
    assert read_png(kept).fields["keeps_colours"] is True


def test_a_part_that_words_name_is_moved_and_the_rest_stays(handlers):
    source = handlers.context.folder / "part.png"
    noise((120, 80), 80).convert("RGB").save(source)
    inside = mask_of_words(handlers.context.engine, open_image(source), "the chair").cells
    for outside, stays in ((False, ~inside), (True, inside)):
        (before, after), line, _ = move(handlers, str(source), part="the chair", outside=outside)
        assert line.startswith("night: ")
        old, new = (np.asarray(open_image(Path(file))) for file in (before, after))
        assert (old == np.asarray(open_image(source))).all()
        assert (old[stays] == new[stays]).all()
        assert (old[~stays] != new[~stays]).any()
    with pytest.raises(gr.Error, match="names no part of a picture"):
        move(handlers, str(source), part="the")
    with pytest.raises(gr.Error, match="The part must be text"):
        move(handlers, str(source), part=3)


def test_a_hit_that_became_a_link_is_neither_displayed_nor_moved(tmp_path):
    """What an earlier search or thumbnail knew of the file does not help."""
    kit = write_kit(tmp_path / "kit")
    index = write_gallery(tmp_path / "gallery", kit)
    (tmp_path / "served").mkdir()
    page = make_handlers(World(kit=kit, index=index), tmp_path / "served")
    pictures = page.retrieval.retrieve(HOUSE, "red", 0.5)[1]
    secret, victim = tmp_path / "secret.png", pictures[0].file
    Image.new("RGB", (96, 96), (0, 0, 255)).save(secret)
    victim.unlink()
    victim.symlink_to(secret)
    again = page.retrieval.retrieve(HOUSE, "red", 0.5)[1]
    for picture in (pictures[0], again[0]):
        copy = page.thumbnails.large(picture.file)
        with Image.open(copy) as opened:
            red, green, blue = np.asarray(opened.convert("RGB")).mean(axis=(0, 1)).tolist()
        assert min(red, green) > blue  # the blank is beige
    with pytest.raises(gr.Error, match="is not read"):
        page.retrieval.retrieve("", "", 0.5, feedback=Feedback(liked=(pictures[0].id,)))


def test_only_uploads_of_the_page_are_read(handlers, tmp_path, monkeypatch):
    foreign = tmp_path / "foreign.png"
    Image.new("RGB", (8, 8)).save(foreign)
    with pytest.raises(gr.Error, match="not uploaded to this page"):
        move(handlers, str(foreign))
    with pytest.raises(gr.Error, match="not uploaded to this page"):
        move(handlers, str(handlers.context.folder / ".." / ".." / "etc" / "passwd"))
    with pytest.raises(gr.Error, match="Choose a picture first"):
        move(handlers, None)


def test_an_upload_that_is_no_picture_gives_a_sentence(handlers):
    bad = handlers.context.folder / "<b>.png"
    bad.write_text("not a picture")
    with pytest.raises(gr.Error, match="The picture is not a PNG, JPEG, WebP, AVIF or HEIC image"):
        move(handlers, str(bad))


def test_a_kit_without_a_pipeline_says_so_and_retrieves(world, tmp_path):
    kit = tmp_path / "kit"
    kit.mkdir()
    for name in ("clip", "composers"):
        (kit / name).symlink_to(world.kit / name)
    lines = (world.kit / "kit.toml").read_text()
    (kit / "kit.toml").write_text(lines.split("[pipeline]")[0])
    served = tmp_path / "served"
    served.mkdir()
    plain = make_handlers(type(world)(kit=kit, index=world.index), served)
    assert not plain.draws
    assert plain.retrieval.retrieve(HOUSE, "red", 0.5)[1]
    with pytest.raises(gr.Error, match="searches but does not draw"):
        draw(plain)
    with pytest.raises(gr.Error, match="searches but does not draw"):
        move(plain, None)
