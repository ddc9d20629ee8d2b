import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.sketch import Sketch
from generation.control import (
    _on_ridge,
    binarise,
    control_image,
    dilate,
    edge_image,
    find_edges,
    sketch_agreement,
)
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


def test_control_is_centred_either_way():
    wide = control_image(circle_sketch(), 64, 128)
    tall = control_image(circle_sketch(), 128, 64)
    square = control_image(circle_sketch(), 64, 64)
    np.testing.assert_array_equal(wide[:, 32:96], square)
    np.testing.assert_array_equal(tall[32:96], square)
    assert wide[:, :32].max() == wide[:, 96:].max() == 0
    assert tall[:32].max() == tall[96:].max() == 0


def test_control_lines_are_three_of_128_pixels_wide():
    upright = Sketch.from_strokes([np.array([[0.5, 0.0], [0.5, 1.0]], np.float32)])
    for size in (128, 256):
        widths = (control_image(upright, size, size) > 0).sum(1)
        assert np.median(widths[widths > 0]) == pytest.approx(3 * size / 128, abs=1)


def otsu(ink):
    """The threshold of the largest variance between two classes, by trying each."""
    spreads = []
    for level in range(256):
        below, above = ink[ink <= level], ink[ink > level]
        if len(below) and len(above):
            spread = len(below) * len(above) * (below.mean() - above.mean()) ** 2
        else:
            spread = 0.0
        spreads.append(spread)
    return int(np.argmax(spreads))


def test_binarise_is_otsus_method_between_limits():
    rng = np.random.default_rng(0)
    for dark, light in ((110, 220), (60, 230), (10, 40), (230, 250)):
        levels = np.where(rng.random((40, 40)) < 0.3, dark, light) + rng.integers(-8, 9, (40, 40))
        raster = levels.clip(0, 255).astype(np.uint8)
        expected = raster <= min(max(otsu(raster), 96), 208)
        np.testing.assert_array_equal(binarise(raster), expected)


def test_dilation_gives_lines_their_width():
    lines = np.zeros((9, 9), bool)
    lines[4, 4] = True
    assert (dilate(lines, 1.0) > 0).sum() == 1
    three = dilate(lines, 2.0)
    assert three.dtype == np.uint8
    assert [tuple(p) for p in np.argwhere(three == 255)] == [(3, 4), (4, 3), (4, 4), (4, 5), (5, 4)]
    assert dilate(np.zeros((4, 5), bool), 3.0).shape == (4, 5)
    assert not dilate(np.zeros((4, 5), bool), 3.0).any()


def test_an_edge_is_one_pixel_wide_wherever_it_leads():
    ground = np.full((64, 64, 3), 90, np.uint8)
    for rows, columns in ((slice(None), slice(32, None)), (slice(32, None), slice(None))):
        halves = ground.copy()
        halves[rows, columns] = (230, 60, 40)
        edges = find_edges(halves)
        along = edges.any(0) if columns == slice(None) else edges.any(1)
        assert along.all()
        assert 64 <= edges.sum() <= 66
        across = np.flatnonzero(edges.any(1) if columns == slice(None) else edges.any(0))
        assert set(across.tolist()) <= {31, 32}


def test_weak_edges_stay_only_where_they_touch_a_strong_one():
    def step(contrast):
        picture = np.full((64, 64, 3), 100, np.float64)
        picture[:, 32:] += contrast * 255
        return picture.round().clip(0, 255).astype(np.uint8)

    # A step of c, smoothed by a sigma of 1, rises by about 0.31 c a pixel.
    assert not find_edges(step(0.10)).any()
    assert not find_edges(step(0.30)).any()  # above the lower threshold, below the higher
    assert find_edges(step(0.5)).any()
    fading = np.full((64, 64, 3), 100.0)
    fading[:, 32:] += np.linspace(0.2, 0.6, 64)[:, None, None] * 255
    edges = find_edges(fading.round().clip(0, 255).astype(np.uint8))
    assert edges[5:].any(1).mean() > 0.95  # its weak end hangs on the strong one


def test_edges_are_those_of_any_one_channel():
    for channel in range(3):
        picture = np.full((64, 64, 3), 90, np.uint8)
        picture[:, 32:, channel] = 250
        assert find_edges(picture)[10:-10].any(1).all()


def test_agreement_by_hand():
    """A bar whose left edge lies 3 pixels beside the only line; the box holds no other edge."""
    picture = np.full((100, 100, 3), 90, np.uint8)
    picture[:, 50:] = (230, 60, 40)
    edges = find_edges(picture)
    (column,) = set(np.flatnonzero(edges.any(0)).tolist())
    line = np.zeros((100, 100), np.uint8)
    line[:, column] = 255
    assert sketch_agreement(picture, line) == pytest.approx(1.0)
    beside = np.roll(line, 3, axis=1)
    # Forward 3 of at most 8 pixels, counted twice; backward nothing lies inside: the whole reach.
    assert sketch_agreement(picture, beside) == pytest.approx(1 - (2 * 3 + 8) / 24)
    # The same where the edge is the very next pixel outside the box, on either side.
    for shift in (-1, 1):
        next_to_it = np.roll(line, shift, axis=1)
        assert sketch_agreement(picture, next_to_it) == pytest.approx(1 - (2 * 1 + 8) / 24)
    framed = np.maximum(beside, np.roll(line, -1, axis=1))
    forward, back = (3 + 1) / 2, 1.0
    assert sketch_agreement(picture, framed) == pytest.approx(1 - (2 * forward + back) / 24)
    assert sketch_agreement(picture, np.zeros((100, 100), np.uint8)) == 0
    assert sketch_agreement(picture, np.full((100, 100), 127, np.uint8)) == 0


@pytest.mark.parametrize("eighth", range(8))
def test_edges_are_thin_in_every_direction(eighth):
    angle = eighth * np.pi / 4
    y, x = np.mgrid[-10:11, -10:11]
    across = x * np.cos(angle) + y * np.sin(angle)
    strength = np.exp(-((across / 2) ** 2))
    marked = _on_ridge(strength * np.sin(angle), strength * np.cos(angle))
    assert marked[np.abs(across) < 0.1].all()
    assert not marked[np.abs(across) > 1].any()
