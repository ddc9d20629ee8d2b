import numpy as np
import pytest
from PIL import Image

from generation.request import DrawingSettings, RequestError
from generation.sizes import enlarge, fit_source, settings_for, settings_of_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 400), (64, 64)),
        ((403, 400), (64, 64)),
        ((400, 300), (72, 56)),
        ((300, 400), (56, 72)),
        ((1000, 100), (88, 48)),  # cut to two to one
    ],
)
def test_sizes_have_the_picture_s_proportions_and_the_kit_s_area(pipeline, size, expected):
    assert pipeline.native_size_px == 64
    settings = settings_for(pipeline, DrawingSettings(seed=7), Image.new("RGB", size))
    assert (settings.width, settings.height) == expected
    assert settings.seed == 7


def test_a_size_that_is_named_stays(pipeline):
    settings = DrawingSettings(height=48, width=80)
    assert settings_for(pipeline, settings, Image.new("RGB", (400, 300))) is settings


def test_a_picture_is_cut_about_its_centre_where_its_proportions_differ():
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, :32] = stripes[:, 96:] = (255, 0, 0)
    stripes[:, 32:96] = (0, 0, 255)
    fitted = np.asarray(fit_source(Image.fromarray(stripes), 64, 64))
    assert fitted.shape == (64, 64, 3)
    assert fitted[..., 0].mean() < 5
    assert fitted[..., 2].mean() > 250
    assert fit_source(Image.fromarray(stripes), 16, 24).size == (24, 16)


def test_nearly_equal_proportions_are_stretched_and_nothing_is_cut():
    edges = np.zeros((100, 103, 3), np.uint8)
    edges[:, :2] = edges[:, -2:] = 255
    fitted = np.asarray(fit_source(Image.fromarray(edges), 64, 64))
    assert fitted[:, 0].min() > 150
    assert fitted[:, -1].min() > 150


def checked(side=256):
    """A board of single pixels: detail that no smaller picture can show."""
    board = np.indices((side, side)).sum(0) % 2 * 80 + 80
    return Image.fromarray(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))


def test_detail_is_put_back_by_its_share():
    drawn, source = Image.new("RGB", (64, 64), (200, 80, 80)), checked()
    contrasts = []
    for detail in (0.0, 0.5, 1.0):
        large = enlarge(drawn, source, detail=detail)
        assert large.size == source.size
        levels = np.asarray(large.convert("L")).astype(float)
        contrasts.append(levels.std())
        assert abs(levels.mean() - np.asarray(drawn.convert("L")).mean()) < 2
        assert np.asarray(large)[..., 0].mean() > np.asarray(large)[..., 2].mean() + 80
    assert contrasts[0] < 1
    assert contrasts[1] == pytest.approx(20, abs=3)
    assert contrasts[2] == pytest.approx(40, abs=4)


def test_what_the_drawn_picture_can_show_is_its_own():
    """The source's large forms do not shine through."""
    half = np.zeros((256, 256, 3), np.uint8)
    half[:, 128:] = 255
    drawn = Image.new("RGB", (64, 64), (128, 128, 128))
    large = np.asarray(enlarge(drawn, Image.fromarray(half), detail=1.0).convert("L")).astype(int)
    np.testing.assert_allclose(large[:, :110], 128, atol=2)
    np.testing.assert_allclose(large[:, 146:], 128, atol=2)


def test_a_smaller_source_gives_a_smaller_picture():
    assert enlarge(Image.new("RGB", (64, 64)), Image.new("RGB", (32, 32)), detail=0.5).size == (
        32,
        32,
    )


def test_what_was_cut_off_stays_off():
    large = enlarge(Image.new("RGB", (64, 32)), Image.new("RGB", (1000, 100)), detail=0.2)
    assert large.size == (200, 100)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((64, 64), (64, 64)),
        ((96, 64), (96, 64)),  # one and a half times the kit's pixels
        ((100, 64), (80, 48)),  # no multiple of what the kit draws
        ((256, 256), (64, 64)),
        ((1024, 768), (72, 56)),
        ((16, 16), (64, 64)),
    ],
)
def test_a_size_is_drawn_where_the_kit_can_draw_it(pipeline, size, drawn):
    settings = settings_of_size(pipeline, DrawingSettings(seed=7), size)
    assert (settings.width, settings.height, settings.seed) == (*drawn, 7)


@pytest.mark.parametrize("size", [(300, 100), (100, 201)])
def test_a_strip_is_refused(pipeline, size):
    with pytest.raises(RequestError, match="at most 2 times the other"):
        settings_of_size(pipeline, DrawingSettings(), size)
