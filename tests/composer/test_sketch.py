import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.masks import line_width_px
from composer.sketch import (
    MAX_POINTS,
    MAX_STROKES,
    Sketch,
    _thicken,
    rasterise,
)

SQUARE = [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.2], [0.1, 0.1]]]


def ink_box(raster):
    rows, columns = np.nonzero(raster < 128)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def drawing(size=200, width=3, ground=255, ink=0):
    image = Image.new("L", (size, size), ground)
    ImageDraw.Draw(image).rectangle((20, 30, 90, 100), outline=ink, width=width)
    return image


def test_a_small_drawing_in_a_corner_fills_the_frame():
    small = rasterise(Sketch.from_strokes(SQUARE), 100)
    large = rasterise(Sketch.from_strokes([np.array(SQUARE[0]) * 4]), 100)
    np.testing.assert_array_equal(small, large)
    left, top, right, bottom = ink_box(small)
    assert right - left == pytest.approx(80, abs=3)
    assert left + right == pytest.approx(100, abs=2)
    assert top + bottom == pytest.approx(100, abs=2)


def test_proportions_are_kept():
    left, top, right, bottom = ink_box(rasterise(Sketch.from_strokes([[[0, 0], [1, 0.5]]]), 100))
    assert (bottom - top) / (right - left) == pytest.approx(0.5, abs=0.03)


def test_line_width_is_as_asked():
    line = Sketch.from_strokes([[[0.0, 0.5], [1.0, 0.5]]])
    for width in (1.0, 2.0, 4.0):
        column = 255.0 - rasterise(line, 128, width)[:, 64]
        assert column.sum() / 255 == pytest.approx(width, abs=0.3)


def test_pressure_changes_the_width():
    soft, hard = (Sketch.from_strokes([[[0, 0.5, p], [1, 0.5, p]]]) for p in (0.1, 0.9))
    assert (rasterise(hard, 128) < 128).sum() > 1.4 * (rasterise(soft, 128) < 128).sum()


def test_a_dot_is_drawn_as_a_disc_in_the_middle():
    dot = rasterise(Sketch.from_strokes([[[0.9, 0.9]]]), 100, 20.0)
    assert ink_box(dot) == pytest.approx((40, 40, 60, 60), abs=1)
    assert (255.0 - dot).sum() / 255 == pytest.approx(np.pi * 10**2, rel=0.05)


def test_both_polarities_read_the_same():
    black_on_white = Sketch.from_image(drawing())
    white_on_black = Sketch.from_image(drawing(ground=0, ink=255))
    np.testing.assert_array_equal(black_on_white.raster, white_on_black.raster)


def test_grey_paper_and_pale_ink_become_white_and_black():
    raster = Sketch.from_image(drawing(ground=190, ink=120)).raster
    assert set(np.unique(raster)) == {0, 255}


def test_rasters_are_framed_like_strokes():
    left, top, right, bottom = ink_box(rasterise(Sketch.from_image(drawing()), 100))
    assert right - left == pytest.approx(80, abs=2)
    assert abs(left + right - 100) <= 2
    assert abs(top + bottom - 100) <= 2


def test_thin_lines_of_a_large_drawing_survive():
    image = Image.new("L", (2000, 2000), 255)
    ImageDraw.Draw(image).rectangle((100, 100, 1900, 1900), outline=0, width=2)
    assert (rasterise(Sketch.from_image(image), 128) < 60).sum() > 300


def test_lines_are_thickened_evenly_within_a_larger_picture():
    raster = np.full((4, 6), 255, np.uint8)
    raster[1, 2], raster[3, 5] = 0, 100
    expected = np.full((14, 16), 255, np.uint8)
    expected[6:11, 8:13] = 100
    expected[4:9, 5:10] = 0
    np.testing.assert_array_equal(_thicken(Image.fromarray(raster), 5), expected)


def test_the_width_of_lines_is_twice_their_area_over_their_outline():
    raster = np.full((14, 14), 255, np.uint8)
    raster[2:12, 2:12] = 0
    assert line_width_px(raster < 160) == pytest.approx(2 * 100 / 36)
    raster[3:11, 3:11] = 255  # lines of one pixel
    assert line_width_px(raster < 160) == pytest.approx(2)


def test_a_line_of_a_scan_may_become_one_pixel_high():
    raster = np.full((40, 400), 255, np.uint8)
    raster[20, 10:390] = 0
    framed = rasterise(Sketch(raster=raster), 50, 0.1)
    assert (framed < 255).any(axis=1).sum() == 1
    upright = rasterise(Sketch(raster=raster.T.copy()), 50, 0.1)
    np.testing.assert_array_equal(upright, framed.T)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_pictures_are_refused(level):
    with pytest.raises(ValueError, match="looks blank"):
        Sketch.from_image(Image.new("RGB", (50, 50), (level,) * 3))


def test_json_of_the_canvas_and_of_the_pack_agree():
    canvas = Sketch.from_json(json.dumps({"strokes": SQUARE}))
    scaled = [[[round(x * 255), round(y * 255)] for x, y in SQUARE[0]]]
    pack = Sketch.from_json(json.dumps(scaled), extent=255.0)
    np.testing.assert_allclose(canvas.strokes[0], pack.strokes[0], atol=0.003)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "3", "[3]", '{"strokes": 5}', "[[[1]]]", '[[["a", "b"]]]',
     "[[[0, 0], [1]]]",
     "[[[0, NaN]]]", "[[[0, 1e999]]]", "[[[0, -0.1]]]", "[[[2, 0]]]", "[]", "[[]]", "[[{}]]"],
)  # fmt: skip
def test_abusive_json_gives_one_sentence(text):
    with pytest.raises(ValueError, match=r"(?i)(strokes?|sketch)"):
        Sketch.from_json(text)


def test_caps_on_strokes_points_and_bytes():
    with pytest.raises(ValueError, match=f"at most {MAX_STROKES} strokes"):
        Sketch.from_strokes([[[0, 0]]] * (MAX_STROKES + 1))
    with pytest.raises(ValueError, match=f"at most {MAX_POINTS} points"):
        Sketch.from_strokes([np.zeros((MAX_POINTS + 1, 2))])
    with pytest.raises(ValueError, match="more than 1 MiB"):
        Sketch.from_json(" " * (1 << 21))


def test_exactly_one_form():
    with pytest.raises(ValueError, match="exactly one"):
        Sketch()
