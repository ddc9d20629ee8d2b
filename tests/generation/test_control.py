import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.sketch import Sketch
from generation.control import binarise, control_image, edge_image, find_edges, sketch_agreement
from tests.generation import tiny


def draw_disc(centre, radius, size=128, colour=(200, 60, 40), ground=(90, 100, 110)):
    image = Image.new("RGB", (size, size), ground)
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, fill=colour)
    return image


def circle_sketch() -> Sketch:
    angle = np.linspace(0, 2 * np.pi, 60)
    points = 0.5 + 0.4 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return Sketch.from_strokes([points.astype(np.float32)])


def test_control_is_white_on_black_and_binary():
    control = control_image(tiny.make_sketch(), 128, 128)
    assert control.shape == (128, 128)
    assert set(np.unique(control)) == {0, 255}
    assert control[0, 0] == 0
    assert 0.02 < (control > 0).mean() < 0.25


def test_control_fills_eighty_percent_of_the_middle_square():
    control = control_image(circle_sketch(), 128, 192) > 0
    rows, columns = np.flatnonzero(control.any(1)), np.flatnonzero(control.any(0))
    assert control.shape == (128, 192)
    assert rows[-1] - rows[0] + 1 == pytest.approx(0.8 * 128 + 3, abs=3)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(95.5, abs=1.5)


def test_a_scan_and_its_strokes_give_nearly_the_same_control():
    from composer.sketch import rasterise

    sketch = tiny.make_sketch()
    scan = Sketch.from_image(Image.fromarray(rasterise(sketch, 400, 5.0)))
    drawn, scanned = control_image(sketch, 128, 128) > 0, control_image(scan, 128, 128) > 0
    assert (drawn & scanned).sum() / (drawn | scanned).sum() > 0.6


def test_binarise_keeps_faint_pencil_and_not_the_paper():
    raster = np.full((20, 20), 235, np.uint8)
    raster[10] = 120
    ink = binarise(raster)
    assert ink[10].all()
    assert ink.sum() == 20


def test_edges_follow_an_outline_of_equal_brightness():
    grey = np.asarray(draw_disc((64, 64), 40, colour=(180, 60, 60), ground=(60, 121, 60)))
    edges = find_edges(grey)
    y, x = np.nonzero(edges)
    radius = np.hypot(y - 64, x - 64)
    assert len(radius) > 200
    assert np.abs(radius - 40).max() < 2


def test_flat_images_have_no_edges():
    assert not find_edges(np.full((64, 64, 3), 90, np.uint8)).any()
    assert edge_image(Image.new("RGB", (64, 64)), 64, 64).max() == 0


def test_edge_image_requires_the_output_size():
    with pytest.raises(ValueError, match="must be 64 x 32 px"):
        edge_image(Image.new("RGB", (64, 64)), 32, 64)


def test_agreement_falls_as_the_object_moves_away():
    control = control_image(circle_sketch(), 128, 128)
    scores = [
        float(sketch_agreement(np.asarray(draw_disc((64 + shift, 64), 51)), control))
        for shift in (0, 6, 20)
    ]
    assert scores[0] > 0.9
    assert scores[0] > scores[1] + 0.1 > scores[2] + 0.1
    blank = np.full((128, 128, 3), 90, np.uint8)
    assert sketch_agreement(blank, control) == 0
