import numpy as np
import pytest
from PIL import Image

from generation.colour import keep_colours


def shaded(colour, side=128):
    """A plane of one hue, brighter to the right."""
    share = np.linspace(0.4, 1, side)[None, :, None]
    levels = np.broadcast_to(np.array(colour) * share, (side, side, 3))
    return Image.fromarray(levels.astype(np.uint8))


def planes(image):
    return np.asarray(image.convert("YCbCr")).astype(float)


def test_the_colours_are_those_of_the_source_and_lights_and_darks_those_of_the_drawing():
    drawn, source = shaded((60, 110, 200)), Image.new("RGB", (128, 128), (170, 90, 60))
    kept = planes(keep_colours(drawn, source))
    middle = kept[8:-8, 8:-8]
    np.testing.assert_allclose(middle[..., 0], planes(drawn)[8:-8, 8:-8, 0], atol=2)
    np.testing.assert_allclose(middle[..., 1:], planes(source)[8:-8, 8:-8, 1:], atol=3)


def test_each_part_keeps_its_own_colour():
    left_and_right = np.zeros((128, 128, 3), np.uint8)
    left_and_right[:, :64], left_and_right[:, 64:] = (190, 60, 60), (60, 60, 190)
    kept = np.asarray(keep_colours(Image.new("RGB", (128, 128), "grey"), _image(left_and_right)))
    assert (kept[:, 20, 0].astype(int) - kept[:, 20, 2]).min() > 60
    assert (kept[:, 108, 2].astype(int) - kept[:, 108, 0]).min() > 60


def test_fine_colours_of_the_drawing_stay():
    """Threads, pencil marks: what is finer than outlines may have moved is the drawing's."""
    threads = np.zeros((128, 128, 3), np.uint8)
    threads[:, ::2], threads[:, 1::2] = (150, 100, 100), (100, 100, 150)
    kept = planes(keep_colours(_image(threads), Image.new("RGB", (128, 128), (60, 120, 60))))
    before = planes(_image(threads))
    np.testing.assert_allclose(
        kept[40, 40:60, 1:] - kept[40, 41:61, 1:],
        before[40, 40:60, 1:] - before[40, 41:61, 1:],
        atol=6,
    )


def test_a_picture_keeps_its_own_colours_as_they_are():
    drawn = shaded((60, 110, 200))
    np.testing.assert_allclose(planes(keep_colours(drawn, drawn)), planes(drawn), atol=2)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        keep_colours(shaded((60, 110, 200)), shaded((60, 110, 200), side=64))


def _image(levels):
    return Image.fromarray(levels)
