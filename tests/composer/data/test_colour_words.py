"""Colours of things on a plain ground, in words."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.data.colour_words import COLOURS, colour_words, oklab


def thing(*colours, ground="white", width=60):
    """Return a picture with a block that is divided among colours, in equal parts."""
    image = Image.new("RGB", (100, 100), ground)
    pen = ImageDraw.Draw(image)
    for number, colour in enumerate(colours):
        left = 20 + number * width // len(colours)
        pen.rectangle((left, 20, left + width // len(colours) - 1, 79), fill=colour)
    return image


@pytest.mark.parametrize("name", [name for name in COLOURS if name != "white"])
def test_each_colour_has_its_name(name):
    assert {colour_words(thing(levels)) for levels in COLOURS[name]} == {f"in {name}"}


def test_a_second_colour_is_named_where_it_covers_a_quarter():
    assert colour_words(thing("black", "red")) in ("in black and red", "in red and black")
    assert colour_words(thing(*["black"] * 9, "red")) == "in black"


def test_white_things_are_seen_by_their_shading():
    assert colour_words(thing((225, 225, 225))) == "in white"
    assert colour_words(thing("white")) == ""


def test_the_ground_seen_through_thin_parts_is_no_colour_of_the_thing():
    image = Image.new("RGB", (400, 400), "white")
    pen = ImageDraw.Draw(image)
    for left in range(60, 340, 20):
        pen.line((left, 60, left, 340), fill="black", width=5)
    assert colour_words(image).startswith("in black")
    assert "white" not in colour_words(image)


def test_the_size_of_the_picture_changes_nothing():
    image = thing("orange", "orange", "orange", "blue", "blue")
    assert colour_words(image.resize((1000, 1000))) == colour_words(image)


def test_oklab_of_known_colours():
    found = oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], dtype=np.uint8))
    expected = [[1.0, 0.0, 0.0], [0.628, 0.225, 0.126], [0.452, -0.032, -0.312]]
    np.testing.assert_allclose(found, expected, atol=1e-3)
