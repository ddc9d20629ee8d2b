"""Masks: what they mark, the window around it, and what stays byte for byte."""

import numpy as np
import pytest
from PIL import Image

from generation.masking import (
    MAX_CELLS,
    Mask,
    MaskError,
    Window,
    blend,
    cut_window,
    mask_of_box,
    mask_of_image,
    window_of,
)
from tests.pictures import noise


def picture(width, height):
    return noise((width, height), 80).convert("RGB")


def disc(width, height, *, x=0.4, y=0.6, radius=0.2):
    down, across = np.mgrid[:height, :width]
    reach = radius * min(width, height)
    return np.hypot(across - x * width, down - y * height) < reach


@pytest.mark.parametrize("size", [(64, 64), (97, 61), (1600, 1203), (2048, 700)])
def test_a_mask_never_marks_more_than_was_painted(size):
    painted = disc(*size)
    mask = Mask.of_pixels(painted)
    marked = mask.pixels(size[1], size[0])
    assert max(mask.cells.shape) <= MAX_CELLS
    assert not (marked & ~painted).any()
    assert marked.sum() > 0.97 * painted.sum() - 8
    if max(size) <= MAX_CELLS:
        assert (marked == painted).all()


def test_an_empty_or_too_thin_mask_is_refused():
    with pytest.raises(MaskError, match="mask is empty"):
        Mask.of_pixels(np.zeros((5, 5), bool))
    thin = np.zeros((4000, 4000), bool)
    thin[10] = True
    with pytest.raises(MaskError, match="too thin"):
        Mask.of_pixels(thin)
    with pytest.raises(MaskError, match="mask is empty"):
        Mask.of_pixels(np.ones((5, 5), bool)).inverted()
    with pytest.raises(MaskError, match="at most 1024"):
        Mask(cells=np.ones((2, 1025), bool))


def test_white_or_opaque_is_marked_and_sizes_of_one_aspect_fit():
    painted = disc(100, 60)
    grey = Image.fromarray((painted * 255).astype(np.uint8))
    assert (mask_of_image(grey.convert("RGB"), 100, 60, "m.png").cells == painted).all()
    clear = Image.new("RGBA", (100, 60), (0, 0, 0, 0))
    clear.putalpha(grey)
    assert (mask_of_image(clear, 100, 60, "m.png").cells == painted).all()
    small = grey.resize((33, 20), Image.Resampling.NEAREST)  # 33.3 rounded down
    resized = mask_of_image(small.convert("RGB"), 100, 60, "m.png").cells
    assert (resized == painted).mean() > 0.97
    for size in ((60, 100), (100, 63), (1, 4)):
        with pytest.raises(MaskError, match=r"m\.png must have the proportions of the picture"):
            mask_of_image(Image.new("RGB", size, "white"), 100, 60, "m.png")
    with pytest.raises(MaskError, match="mask is empty"):
        mask_of_image(Image.new("RGB", (100, 60)), 100, 60, "m.png")


def test_a_box_lies_in_the_picture():
    cells = mask_of_box((10, 20, 30, 5), 100, 60).cells
    assert (cells.sum(), cells[20:25, 10:40].sum()) == (150, 150)
    for box in ((-1, 0, 5, 5), (90, 0, 11, 5), (0, 58, 5, 3)):
        with pytest.raises(MaskError, match="must lie in the picture, which is 100 x 60 px"):
            mask_of_box(box, 100, 60)
    for box in ((0, 0, 0, 5), (5, 5, 5, -2)):
        with pytest.raises(MaskError, match="mask is empty"):
            mask_of_box(box, 100, 60)


@pytest.mark.parametrize("aspect", [1.0, 0.5, 1.5])
def test_the_window_holds_the_mask_its_margin_and_its_aspect(aspect):
    mask = mask_of_box((100, 50, 40, 20), 400, 300)
    window = window_of(mask, 400, 300, aspect=aspect)
    assert window.left <= 90
    assert window.left + window.width >= 150
    assert window.top <= 45
    assert window.top + window.height >= 75
    assert window.width / window.height == pytest.approx(aspect, rel=0.05)
    assert max(window.width, window.height) <= 60 / min(aspect, 1) + 1


def test_a_window_moves_into_the_picture_and_may_be_larger():
    corner = window_of(mask_of_box((0, 0, 40, 40), 400, 300), 400, 300)
    assert (corner.left, corner.top, corner.width) == (0, 0, 60)
    wide = window_of(mask_of_box((0, 10, 400, 20), 400, 60), 400, 60)
    assert wide == Window(left=0, top=-170, width=400, height=400)
    levels = np.asarray(picture(400, 60))
    cut = np.asarray(cut_window(Image.fromarray(levels), wide))
    assert cut.shape == (400, 400, 3)
    assert (cut[170:230] == levels).all()
    assert (cut[230:290] == levels[::-1]).all()
    assert (cut[110:170] == levels[::-1]).all()


@pytest.mark.parametrize("size", [(64, 64), (301, 200), (1500, 2100)])
@pytest.mark.parametrize("inverted", [False, True])
def test_every_pixel_outside_keeps_its_bytes_and_the_middle_is_new(size, inverted):
    old = picture(*size)
    mask = Mask.of_pixels(disc(*size))
    mask = mask.inverted() if inverted else mask
    window = window_of(mask, *size)
    new = Image.new("RGB", (64, 64), (7, 200, 13))
    result = np.asarray(blend(old, new, mask, window))
    marked = mask.pixels(size[1], size[0])
    assert (result[~marked] == np.asarray(old)[~marked]).all()
    assert result.shape == (size[1], size[0], 3)
    is_new = (result == (7, 200, 13)).all(axis=2)
    assert is_new[marked].mean() > (0.3 if size[0] == 64 else 0.6)
    assert not is_new[~marked].all()


def test_the_edge_fades_within_the_mask():
    old, new = Image.new("RGB", (400, 400)), Image.new("RGB", (64, 64), "white")
    mask = mask_of_box((100, 100, 200, 200), 400, 400)
    row = np.asarray(blend(old, new, mask, window_of(mask, 400, 400)))[200, :, 0].astype(int)
    assert (row[:100] == 0).all()
    assert (np.diff(row[99:108]) >= 0).all()
    assert 0 < row[100] < row[103] < 255
    assert (row[110:290] == 255).all()


def test_a_mask_of_everything_replaces_everything():
    mask = Mask(cells=np.ones((30, 40), bool))
    result = blend(picture(40, 30), Image.new("RGB", (8, 8), "red"), mask, window_of(mask, 40, 30))
    assert (np.asarray(result) == (255, 0, 0)).all()
