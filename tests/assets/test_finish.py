"""Every finish of the lexicon has a seamless tile of its colour, and coordinates fit parts."""

import numpy as np
import pytest

from assets.catalogue import finish, palette, textures, words
from assets.catalogue import mesh as m
from assets.catalogue.model import Finish


@pytest.mark.parametrize("material", [m for m in words.MATERIALS if m != "glass"])
@pytest.mark.parametrize("colour", ["red", "white", "navy"])
def test_a_tile_keeps_the_colour_of_its_finish(material: str, colour: str) -> None:
    tile = finish.look(Finish(colour=colour, material=material)).tile
    expected = palette.reflectance(colour)
    mean = np.median(tile, axis=(0, 1))  # a marble's veins have another colour
    assert tile.shape == (textures.SIZE, textures.SIZE, 3)
    assert 0 <= tile.min() <= tile.max() <= 0.95
    assert np.argmax(mean) == np.argmax(expected) or np.ptp(expected) < 0.05
    assert 0.5 < mean.sum() / expected.sum() < 1.9


@pytest.mark.parametrize("pattern", words.PATTERNS)
def test_patterns_leave_most_of_the_surface_to_the_own_colour(pattern: str) -> None:
    mask = textures.pattern_mask(pattern)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert mask.mean() < 0.45
    assert (mask.mean() > 0.1) == (pattern != "plain")


@pytest.mark.parametrize("material", ["wood", "fabric", "leather", "marble", "wicker"])
def test_tiles_repeat_without_a_seam(material: str) -> None:
    albedo = finish.look(Finish(colour="blue", material=material)).tile
    for axis in (0, 1):
        steps = np.abs(albedo - np.roll(albedo, 1, axis)).mean(axis=(1 - axis, 2))
        assert steps[0] <= 1.2 * steps[1:].max()


def test_materials_look_different_from_one_another() -> None:
    tiles = {
        material: finish.look(Finish(colour="red", material=material)).tile
        for material in ("wood", "fabric", "leather", "marble", "wicker", "ceramic")
    }
    names = list(tiles)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(tiles[a] - tiles[b]).mean() > 0.002, (a, b)


def test_every_colour_word_has_a_reflectance() -> None:
    for colour in (*words.COLOURS, *words.WOOD_TONES, *words.METAL_TONES, *words.GLASS_TONES):
        assert palette.reflectance(colour).shape == (3,)


def test_srgb_and_linear_are_inverse() -> None:
    values = np.linspace(0, 1, 33)
    assert np.allclose(palette.encoded(palette.linear(values)), values, atol=1e-6)
    assert palette.linear(0.5) == pytest.approx(0.2140, abs=1e-4)


def test_grain_runs_along_the_longest_side_of_each_piece() -> None:
    shelf = m.rounded_box((2, 0.1, 0.3))
    leg = m.rounded_box((0.1, 3, 0.1), centre=(5, 0, 0))
    both = m.merge([shelf, leg])
    uv = finish.box_coordinates(both, follows_grain=True)
    is_leg = np.arange(len(both.faces)) >= len(shelf.faces)
    assert np.ptp(uv[~is_leg][..., 1]) > 1.9
    assert np.ptp(uv[is_leg][..., 1]) > 2.9


def test_upright_stripes_stand_on_upright_faces() -> None:
    box = m.rounded_box((1, 1, 1), 0.01)
    uv = finish.box_coordinates(box, follows_grain=False)
    upright = np.abs(box.face_normals[:, 1]) < 0.1
    assert np.allclose(uv[upright][..., 1], box.vertices[box.faces][upright][..., 1])


def test_a_wrapped_texture_closes_around_the_axis() -> None:
    tube = m.revolve([(0.5, 0), (0.5, 1)])
    uv = finish.cylinder_coordinates(tube, 0.3) / 0.3
    wall = np.abs(tube.face_normals[:, 1]) < 0.1
    around = uv[wall][..., 0]
    assert np.ptp(around, axis=1).max() < 1
    assert np.ptp(around) == pytest.approx(np.round(2 * np.pi * 0.5 / 0.3), abs=0.3)


@pytest.mark.parametrize("side", [0.2, 0.7])
def test_no_face_loses_its_texture_area(side: float) -> None:
    handle = m.sweep([(0.5, 0, 0), (0.8, 0.2, 0), (0.8, 0.6, 0), (0.5, 0.8, 0)], 0.05)
    uv = finish.cylinder_coordinates(handle, side)
    edges = uv[:, 1:] - uv[:, :1]
    area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
    assert (area > 0.05 * handle.area_faces).all()


def test_clear_glass_lets_most_light_through_and_red_glass_is_red() -> None:
    assert finish.transmittance("clear").min() > 0.9
    red = finish.transmittance("red")
    assert red[0] > 2 * red[1]
