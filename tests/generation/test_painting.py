"""Masks painted as strokes, at any size and proportions of the picture."""

import numpy as np
import pytest

from composer.sketch import Sketch
from generation.masking import MAX_CELLS, MaskError
from generation.painting import BROADEST, FINEST, mask_of_strokes


def strokes(*lists):
    return Sketch.from_strokes(lists).strokes


@pytest.mark.parametrize("size", [(200, 200), (300, 120), (90, 240), (3000, 2000)])
@pytest.mark.parametrize("breadth", [0.0, 0.5, 1.0])
def test_a_stroke_is_as_broad_on_every_picture_as_its_longer_side_says(size, breadth):
    width, height = size
    line = strokes([[0.2, 0.5, breadth], [0.8, 0.5, breadth]])
    marked = mask_of_strokes(line, width, height).pixels(height, width)
    assert marked.shape == (height, width)
    expected = max(size) * FINEST * (BROADEST / FINEST) ** breadth
    rounding = 2 * max(1, max(size) / MAX_CELLS)
    assert marked[:, width // 2].sum() == pytest.approx(expected, abs=rounding)
    length = min(width, 0.6 * width + expected)
    assert marked[height // 2].sum() == pytest.approx(length, abs=2 * rounding)
    assert marked[height // 2, width // 2]


def test_places_are_shares_of_both_sides():
    marked = mask_of_strokes(strokes([[0.75, 0.25, 0.0]]), 400, 100).pixels(100, 400)
    rows, columns = np.nonzero(marked)
    assert rows.mean() == pytest.approx(25, abs=1)
    assert columns.mean() == pytest.approx(300, abs=1)
    assert len(rows) < 40


def test_a_stroke_without_breadth_has_the_middle_one():
    line = [[0.2, 0.3], [0.6, 0.9]]
    plain = mask_of_strokes(strokes(line), 150, 100)
    middle = mask_of_strokes(strokes([[*point, 0.5] for point in line]), 150, 100)
    assert (plain.cells == middle.cells).all()


def test_strokes_add_up_and_paint_over_a_sharp_turn():
    first, second = [[0.1, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.9]]
    both = mask_of_strokes(strokes(first, second), 100, 100).cells
    each = [mask_of_strokes(strokes(line), 100, 100).cells for line in (first, second)]
    assert (both == (each[0] | each[1])).all()
    turn = mask_of_strokes(strokes([[0.2, 0.8, 1], [0.5, 0.2, 1], [0.8, 0.8, 1]]), 100, 100)
    assert turn.cells[20, 50]
    with pytest.raises(MaskError, match="mask is empty"):
        mask_of_strokes((), 100, 100)
