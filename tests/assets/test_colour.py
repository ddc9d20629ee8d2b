"""CIELAB by known values, and the words of reference and rendered colours."""

import numpy as np
import pytest

from assets.catalogue import colour, words


def test_lab_of_known_colours() -> None:
    known = {
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }
    for srgb, lab in known.items():
        assert colour.lab_of(np.array(srgb, np.uint8)) == pytest.approx(lab, abs=0.05)


def test_every_word_but_clear_has_references() -> None:
    said = {*words.COLOURS, *words.WOOD_TONES, *words.METAL_TONES}
    assert set(colour.REFERENCES) == said


@pytest.mark.parametrize(
    ("pixel", "word"),
    [
        ((170, 30, 30), "red"),
        ((220, 110, 30), "orange"),
        ((230, 190, 50), "yellow"),
        ((40, 110, 50), "green"),
        ((30, 130, 130), "teal"),
        ((40, 90, 190), "blue"),
        ((30, 35, 75), "navy"),
        ((100, 50, 140), "purple"),
        ((225, 130, 160), "pink"),
        ((110, 65, 35), "brown"),
        ((190, 165, 130), "beige"),
        ((225, 224, 220), "white"),
        ((110, 110, 112), "grey"),
        ((20, 20, 22), "black"),
    ],
)
def test_plain_pixels_get_their_word(pixel: tuple[int, int, int], word: str) -> None:
    pixels = np.full((9, 3), pixel, np.uint8)
    assert colour.measure_colour(pixels, words.COLOURS) == word


def test_most_pixels_decide() -> None:
    pixels = np.array([[170, 30, 30]] * 6 + [[238, 232, 216]] * 4, np.uint8)
    assert colour.measure_colour(pixels, words.COLOURS) == "red"


def test_tones_belong_to_their_materials() -> None:
    assert "oak" in colour.words_for("wood")
    assert "oak" not in colour.words_for("metal")
    assert "gold" in colour.words_for("metal")
    assert set(colour.words_for("fabric")) == set(words.COLOURS)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        colour.measure_colour(np.zeros((0, 3), np.uint8))
