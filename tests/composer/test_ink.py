"""Drawings as people have them; each kind must read as its clean drawing does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from composer.images import open_drawing
from composer.sketch import Sketch, rasterise

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
SIDE = 600
CLEAR = [255 - level for level in range(256)]


def clean(name: str = "1-chair") -> Image.Image:
    sketch = Sketch.from_json((EXAMPLES / f"{name}.json").read_bytes())
    page = Image.new("L", (SIDE, SIDE), 255)
    page.paste(Image.fromarray(rasterise(sketch, 440, 6.0)), (80, 80))
    return page


def ink_of(picture: Image.Image) -> np.ndarray:
    return rasterise(Sketch.from_image(picture), 160) < 128


def agreement(picture: Image.Image) -> float:
    """Return the share of the ink that is within a pixel of the clean picture's, and back."""
    ink, expected = ink_of(picture), ink_of(clean())
    near, near_expected = (ndimage.binary_dilation(mask) for mask in (ink, expected))
    return float(
        min((ink & near_expected).sum() / ink.sum(), (expected & near).sum() / expected.sum())
    )


def photo(light: np.ndarray) -> Image.Image:
    """Photograph the clean drawing on yellowish paper."""
    noise = np.random.default_rng(0).normal(0, 2.5, (SIDE, SIDE, 3))
    cover = np.asarray(clean().filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    levels = 255 * light[..., None] * np.array([1, 0.97, 0.9]) * (0.25 + 0.75 * cover) + noise
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def coloured(ink: tuple[int, int, int], ground: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    picture.paste(ink, mask=clean().point(CLEAR))
    return picture


def white_on_transparent() -> Image.Image:
    picture = Image.new("RGBA", (SIDE, SIDE), (255, 255, 255, 0))
    picture.putalpha(clean().point(CLEAR))
    return picture


def hands_shadow() -> Image.Image:
    shadow = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(shadow)
    pen.ellipse((200, 220, 420, 400), fill=120)
    pen.line((310, 310, 700, 640), fill=120, width=130)
    return photo(0.9 * np.asarray(shadow.filter(ImageFilter.GaussianBlur(10)), np.float32) / 255)


def on_a_desk() -> Image.Image:
    desk = np.random.default_rng(0).normal(0, 3, (760, 820, 3)) + np.array([110, 75, 50])
    picture = Image.fromarray(np.clip(desk, 0, 255).astype(np.uint8))
    picture.paste(photo(np.full((SIDE, SIDE), 0.9)), (130, 70))
    return picture


def scanned() -> Image.Image:
    picture = photo(np.full((SIDE, SIDE), 0.95))
    pen = ImageDraw.Draw(picture)
    pen.polygon([(0, 0), (SIDE, 0), (SIDE, 8), (0, 25)], fill=(25, 25, 28))
    pen.polygon([(0, 0), (12, 0), (22, SIDE), (0, SIDE)], fill=(25, 25, 28))
    return picture


def framed() -> Image.Image:
    picture = clean()
    ImageDraw.Draw(picture).rectangle((12, 12, SIDE - 12, SIDE - 12), outline=0, width=3)
    return picture


def with_toolbar() -> Image.Image:
    picture = clean().convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, SIDE, 36), fill=(236, 236, 240))
    for left in range(10, 400, 40):
        pen.rectangle((left, 8, left + 20, 28), outline=(60, 60, 60), width=2)
    return picture


def with_specks() -> Image.Image:
    picture = clean()
    pen = ImageDraw.Draw(picture)
    for x, y in np.random.default_rng(0).integers(0, SIDE, (150, 2)):
        pen.ellipse((x, y, x + 2, y + 2), fill=30)
    return picture


KINDS = {
    "white on transparent": white_on_transparent,
    "dim paper": lambda: photo(np.full((SIDE, SIDE), 0.42)),
    "red on green": lambda: coloured((255, 0, 0), (0, 130, 0)),
    "light grey ink": lambda: coloured((236, 236, 236), (255, 255, 255)),
    "black on middle grey": lambda: coloured((0, 0, 0), (122, 122, 122)),
    "paper on a desk": on_a_desk,
    "uneven light": lambda: photo(np.tile(np.linspace(0.3, 0.98, SIDE), (SIDE, 1))),
    "shadow of a hand": hands_shadow,
    "dark scan edges": scanned,
    "frame": framed,
    "toolbar": with_toolbar,
    "specks": with_specks,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_reads_as_its_clean_drawing(kind):
    assert agreement(KINDS[kind]()) > 0.95


def test_a_small_drawing_on_a_large_sheet_is_found():
    sheet = Image.new("L", (4000, 3000), 255)
    sheet.paste(clean().resize((300, 300), Image.Resampling.LANCZOS), (3500, 2500))
    assert agreement(sheet) > 0.95


def test_thin_lines_of_a_large_canvas_are_read_at_a_bounded_size():
    canvas = Image.new("L", (4000, 4000), 255)
    ImageDraw.Draw(canvas).rectangle((400, 400, 3600, 3600), outline=0, width=1)
    sketch = Sketch.from_image(canvas)
    assert max(sketch.raster.shape) <= 1536
    assert (rasterise(sketch, 128) < 60).sum() > 300


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("is_inverted", [False, True])
def test_clean_drawings_are_only_stretched(path, is_inverted):
    page = clean(path.stem)
    grey = np.asarray(page, np.float32)
    ink = float(np.percentile(grey, 0.05))
    level = np.clip((grey - ink) / (0.92 * 255 - ink), 0, 1)
    shown = page.point(CLEAR) if is_inverted else page
    np.testing.assert_array_equal(
        Sketch.from_image(shown).raster, np.round(level * 255).astype(np.uint8)
    )


def test_outlines_of_filled_shapes_on_a_transparent_ground_are_the_ink():
    picture = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((80, 80, 220, 220), fill="white", outline="black", width=4)
    assert Sketch.from_image(picture).raster[150, 150] == 255


def test_two_eyes_are_no_specks():
    picture = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((50, 50, 250, 250), outline=0, width=4)
    for left in (110, 180):
        pen.ellipse((left, 120, left + 8, 128), fill=0)
    raster = Sketch.from_image(picture).raster
    assert raster[124, 114] == 0
    assert raster[124, 184] == 0


def test_a_drawn_box_near_the_border_is_no_frame():
    picture = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(picture).rectangle((20, 20, 280, 280), outline=0, width=4)
    assert Sketch.from_image(picture).raster[21, 150] == 0


def test_transparency_of_a_file_is_kept_for_drawings(tmp_path):
    white_on_transparent().save(tmp_path / "white.png")
    picture = open_drawing(tmp_path / "white.png")
    assert picture.mode == "RGBA"
    assert agreement(picture) > 0.95


def test_blank_paper_under_uneven_light_is_blank():
    noise = np.random.default_rng(0).normal(0, 3, (400, 400))
    levels = np.tile(np.linspace(90, 240, 400), (400, 1)) + noise
    with pytest.raises(ValueError, match="looks blank"):
        Sketch.from_image(Image.fromarray(levels.astype(np.uint8)))


def test_a_blank_sheet_on_a_desk_is_blank():
    desk = Image.new("RGB", (400, 400), (100, 70, 50))
    desk.paste((240, 238, 230), (60, 40, 330, 350))
    with pytest.raises(ValueError, match="looks blank"):
        Sketch.from_image(desk)


def test_a_photo_of_a_thing_keeps_its_tones():
    y, x = np.mgrid[0:300, 0:300]
    rng = np.random.default_rng(0)
    fur = ndimage.gaussian_filter(rng.normal(0, 1, (300, 300)), 3)
    is_thing = (x - 150) ** 2 + (y - 150) ** 2 < 100**2
    levels = 225 - 40 * y / 300 + rng.normal(0, 2, (300, 300)) - (130 + 400 * fur) * is_thing
    raster = Sketch.from_image(Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))).raster
    shown = raster[100:200, 100:200]
    assert len(np.unique(shown)) > 50
    assert np.median(shown) < np.median(raster[:40]) - 60


def test_a_rounding_error_outside_the_canvas_is_clipped():
    sketch = Sketch.from_strokes([[[0, 1.0000001], [-1e-7, 0.5]]])
    assert sketch.strokes[0].min() == 0
    assert sketch.strokes[0].max() == 1
