"""The part of a picture that a visitor paints: what is moved, what stays, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from composer.sketch import MAX_JSON_BYTES, MAX_STROKES
from generation.masking import Mask
from generation.painting import mask_of_strokes
from generation.provenance import read_png, rebuild_request
from studio.ui.canvas import StrokeCanvas
from studio.ui.handlers import PageHandlers
from tests.pictures import noise
from tests.studio.page import make_handlers, shared_world, visitor

ORIENTATION = 0x0112
LINE = [[[0.3, 0.4, 0.5], [0.6, 0.4, 0.5]], [[0.4, 0.7, 0.2]]]


@pytest.fixture(scope="module")
def handlers(tmp_path_factory):
    return make_handlers(shared_world(tmp_path_factory), tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def photo(handlers):
    file = handlers.context.folder / "photo.png"
    noise((120, 80), 80).convert("RGB").save(file)
    return file


def move(handlers, file, painting, *, part="", outside=False, best_of=1):
    return handlers.transfer(
        str(file), "night", "", 0.6, 5, False, "", (), part, outside, False, painting, best_of,
        request=visitor(), progress=lambda *_, **__: None,
    )  # fmt: skip


def painted(file, strokes=LINE, **more):
    return json.dumps({"picture": str(file), "strokes": strokes} | more)


def marks(width, height) -> Mask:
    return mask_of_strokes([np.asarray(line, np.float32) for line in LINE], width, height)


@pytest.mark.parametrize(
    ("size", "orientation"), [((64, 48), 1), ((150, 260), 6), ((900, 500), 3), ((1300, 410), 5)]
)
def test_what_is_painted_is_moved_and_outside_of_it_every_byte_stays(handlers, size, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = handlers.context.folder / f"{size[0]}.jpg"
    noise(size, 80).convert("RGB").save(file, exif=exif, quality=95)
    upright = np.asarray(open_image(file))
    height, width = upright.shape[:2]
    inside = marks(width, height).pixels(height, width)
    for outside in (False, True):
        sent = painted(file, size=[width, height])
        (_, after), line, _ = move(handlers, file, sent, outside=outside)
        assert line.startswith("night: strength 0.6, seed 5")
        made = np.asarray(open_image(Path(after)))
        stays = inside if outside else ~inside
        assert made.shape == upright.shape
        assert (made[stays] == upright[stays]).all()
        assert (made[~stays] != upright[~stays]).mean() > 0.5


def test_what_was_painted_is_in_the_picture_s_metadata_and_drawn_again_to_the_byte(handlers, photo):
    (_, after), *_ = move(handlers, photo, painted(photo))
    found, source = read_png(Path(after)), open_image(photo)
    request = rebuild_request(found, source)
    assert request.mask is not None
    assert (request.mask.cells == marks(120, 80).cells).all()
    again = handlers.context.engine.transfer(request)
    assert (np.asarray(again.images[0].image) == np.asarray(open_image(Path(after)))).all()


@pytest.mark.parametrize("nothing", ["", "  ", "[]", '{"picture": "x", "strokes": []}', "[[]]"])
def test_without_paint_all_of_the_picture_is_moved(handlers, photo, nothing):
    (_, after), *_ = move(handlers, photo, nothing)
    assert "mask" not in read_png(Path(after)).fields


def test_strokes_of_another_picture_never_apply(handlers, photo):
    other = handlers.context.folder / "other.png"
    noise((120, 80), 80).convert("RGB").save(other)
    with pytest.raises(gr.Error, match="painted on another picture"):
        move(handlers, photo, painted(other))
    for size in ([80, 120], [10**400, 80], [0, 0], [3], None, "120x80"):
        with pytest.raises(gr.Error, match="in other proportions than it has"):
            move(handlers, photo, painted(photo, size=size))
    assert move(handlers, photo, json.dumps(LINE))[1].startswith("night")  # a program's


def test_a_part_is_named_or_painted_and_there_is_one_to_leave_out(handlers, photo):
    with pytest.raises(gr.Error, match="in words or paint it, not both"):
        move(handlers, photo, painted(photo), part="the chair")
    with pytest.raises(gr.Error, match="needs a part: name it in words, or paint it"):
        move(handlers, photo, "", outside=True)
    covered = [[[x / 10, y / 10, 1] for x in range(11)] for y in range(11)]
    with pytest.raises(gr.Error, match="The mask is empty"):
        move(handlers, photo, painted(photo, covered), outside=True)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (3, "What is painted must be text"),
        ([], "What is painted must be text"),
        ("no JSON", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("7", "must be a list of lists"),
        ('{"strokes": 1}', "must be a list of lists"),
        ('{"strokes": [3]}', "must be a list of lists"),
        ("[[[0.5]]]", r"must be \[x, y\]"),
        ('[[["a", "b"]]]', r"must be \[x, y\]"),
        ("[[[0.5, NaN]]]", "inside the canvas"),
        ("[[[0.5, 7]]]", "inside the canvas"),
        ("[[[0.5, 0.5, 2]]]", "inside the canvas"),
        (json.dumps([[[0.5, 0.5]]] * (MAX_STROKES + 1)), "at most 2000 strokes"),
        (json.dumps([[[0.5, 0.5]] * 50_000]), "at most 40000 points"),
        ("[" + " " * MAX_JSON_BYTES + "]", "more than 1 MiB"),
        ('{"picture": {"path": "/etc/passwd"}, "strokes": [[[0.5, 0.5]]]}', "another picture"),
    ],
)
def test_strokes_that_are_none_are_one_sentence(handlers, photo, sent, sentence):
    with pytest.raises(gr.Error, match=sentence) as caught:
        move(handlers, photo, sent)
    assert str(caught.value).count(". ") <= 1


def test_the_canvas_takes_no_file():
    canvas = StrokeCanvas(template="paint.html", finest=0.1, broadest=0.2)
    for payload in ({"path": "/etc/passwd"}, [1], 3, "x" * (MAX_JSON_BYTES + 1)):
        with pytest.raises(gr.Error, match="JSON strokes of at most 1 MiB"):
            canvas.preprocess(payload)


def test_of_several_pictures_the_best_is_kept_with_its_agreement(handlers, photo):
    (_, after), line, _ = move(handlers, photo, painted(photo), best_of=3)
    fields = read_png(Path(after)).fields
    place = fields["best_of"]
    assert (place["rank"], place["num_drawn"], fields["num_images"]) == (1, 3, 3)
    assert f"seed {5 + fields['index']}," in line
    cosines = f"the picture {place['reference']:.3f} and the domain {place['words']:.3f}."
    assert line.endswith(f"Rank 1 of 3 by agreement: {cosines}")
    assert [file.name for file in Path(after).parent.iterdir() if "duet" in file.name] == [
        Path(after).name
    ]
    assert "best_of" not in read_png(Path(move(handlers, photo, "")[0][1])).fields


@pytest.mark.parametrize("best_of", [0, 5, -1, 1.5, None, "2", True])
def test_a_wrong_number_of_pictures_is_one_sentence(handlers, photo, best_of):
    with pytest.raises(gr.Error, match="The number of pictures must be"):
        move(handlers, photo, "", best_of=best_of)


def test_where_the_best_is_held_back_the_next_one_is_kept(handlers, photo):
    given = iter([False, True])
    checked = PageHandlers(replace(handlers.context, may_show=lambda _: next(given)))
    (_, after), line, _ = move(checked, photo, "", best_of=3)
    assert read_png(Path(after)).fields["best_of"]["rank"] == 2
    assert "Rank 2 of 3" in line
