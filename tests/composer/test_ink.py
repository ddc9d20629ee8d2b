"""Drawings as people have them; each kind must read as its clean drawing does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from composer.images import open_drawing
from composer.ink_frame import frame_of
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


def hands_shadow(num_fingers: int = 0, blur: float = 10) -> Image.Image:
    shadow = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(shadow)
    pen.ellipse((200, 220, 420, 400), fill=120)
    pen.line((310, 310, 700, 640), fill=120, width=130)
    for number in range(num_fingers):
        pen.line((310, 310, 120 + 30 * number, 150 + 40 * number), fill=120, width=38)
    return photo(0.9 * np.asarray(shadow.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255)


def desk_of(size: tuple[int, int]) -> Image.Image:
    """A wooden desk, on which every tenth row is lighter."""
    wood = np.random.default_rng(0).normal(0, 3, (size[1], size[0], 3)) + np.array([110, 75, 50])
    wood[::10] += 20
    return Image.fromarray(np.clip(wood, 0, 255).astype(np.uint8))


def on_a_desk() -> Image.Image:
    picture = desk_of((820, 760))
    picture.paste(photo(np.full((SIDE, SIDE), 0.9)), (130, 70))
    return picture


def turned_on_a_desk(degrees: float, *, is_cut: bool = False) -> Image.Image:
    picture = desk_of((900, 820))
    sheet = photo(np.full((SIDE, SIDE), 0.9)).convert("RGBA")
    sheet = sheet.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    picture.paste(sheet, (100, 60), sheet)
    return picture.crop((140, 0, 900, 640)) if is_cut else picture


def seen_from_the_front() -> Image.Image:
    """A sheet whose far side looks shorter than its near side, by a third."""
    near, scale = 0.0006, 1 - 400 * 0.0006
    # Of a point (x, y) of the photo: x0 + (x - 420) / w on the sheet, w = 1 + near * (y - 400).
    row_x = (1, 300 * near, 300 * scale - 420)
    row_y = (0, 1 + 300 * near, 300 * scale - 400)
    coefficients = [value / scale for value in (*row_x, *row_y, 0, near)]
    picture = desk_of((840, 800))
    sheet = photo(np.full((SIDE, SIDE), 0.9)).convert("RGBA")
    sheet = sheet.transform(
        picture.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC
    )
    picture.paste(sheet, mask=sheet.getchannel("A"))
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


def dashed() -> Image.Image:
    picture = clean()
    pen = ImageDraw.Draw(picture)
    for start in range(18, SIDE - 20, 24):
        for side in (18, SIDE - 18):
            pen.line((start, side, start + 12, side), fill=0, width=3)
            pen.line((side, start, side, start + 12), fill=0, width=3)
    return picture


def with_hair() -> Image.Image:
    picture = clean()
    steps = np.arange(60)
    curve = zip(540 + 12 * np.sin(steps / 7), 12 + steps, strict=True)
    ImageDraw.Draw(picture).line([(float(x), float(y)) for x, y in curve], fill=60)
    return picture


def shadow_of_an_edge() -> Image.Image:
    """The sharp shadow of a book or a phone across half of the drawing."""
    shadow = Image.new("L", (SIDE, SIDE), 230)
    ImageDraw.Draw(shadow).polygon([(0, 0), (SIDE, 0), (SIDE, 180), (0, 310)], fill=130)
    return photo(np.asarray(shadow.filter(ImageFilter.GaussianBlur(4)), np.float32) / 255)


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
    "shadow of an edge": shadow_of_an_edge,
    "frame": framed,
    "frame of dashes": dashed,
    "toolbar": with_toolbar,
    "specks": with_specks,
    "hair": with_hair,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_reads_as_its_clean_drawing(kind):
    assert agreement(KINDS[kind]()) > 0.95


@pytest.mark.parametrize("degrees", [-4.0, 9.0])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_turned_sheet_on_a_desk_is_read_upright(degrees, is_cut):
    assert agreement(turned_on_a_desk(degrees, is_cut=is_cut)) > 0.95


def test_a_sheet_seen_from_the_front_is_read_without_perspective():
    assert agreement(seen_from_the_front()) > 0.95


@pytest.mark.parametrize(
    "corners",
    [
        [(30, 20), (100, 28), (110, 100), (15, 90)],
        [(40, 15), (90, 15), (115, 110), (12, 105)],
        [(20, 30), (105, 12), (112, 95), (35, 118)],
    ],
)
def test_the_corners_of_a_sheet_are_found(corners):
    sheet = Image.new("1", (128, 128))
    ImageDraw.Draw(sheet).polygon(corners, fill=1)
    frame = frame_of(np.asarray(sheet))
    assert frame is not None
    assert np.abs(frame.corners * 128 - corners).max() < 2.0


def test_what_is_upright_or_reaches_the_corners_is_left_as_it_is():
    sheet = np.zeros((128, 128), bool)
    sheet[20:100, 30:110] = True
    assert frame_of(sheet) is None
    scan = Image.new("1", (128, 128), 1)
    ImageDraw.Draw(scan).polygon([(0, 0), (128, 0), (128, 1), (0, 5)], fill=0)
    assert frame_of(np.asarray(scan)) is None


@pytest.mark.parametrize("num_fingers", [1, 3])
@pytest.mark.parametrize("blur", [2.0, 6.0])
def test_the_shadow_of_fingers_is_no_ink(num_fingers, blur):
    assert agreement(hands_shadow(num_fingers, blur)) > 0.95


def test_broad_strokes_under_uneven_light_are_ink():
    page = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(page)
    pen.rectangle((150, 150, 450, 450), outline=0, width=6)
    pen.line((170, 300, 270, 300), fill=0, width=36)
    light = np.tile(np.linspace(0.4, 0.95, SIDE), (SIDE, 1))[..., None] * np.array([1, 0.97, 0.9])
    cover = np.asarray(page.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    levels = 255 * light * (0.25 + 0.75 * cover)
    ink = ink_of(Image.fromarray(levels.astype(np.uint8)))
    assert ink[80, 30:60].all()  # the middle of the broad stroke, not its outline alone
    assert not ink[60, 30:120].any()
    assert not ink[80, 80:120].any()


@pytest.mark.parametrize("side_px", [1200, 4000])
def test_a_small_drawing_on_a_large_sheet_is_found(side_px):
    sheet = Image.new("L", (side_px, 3 * side_px // 4), 255)
    small = clean().resize((240, 240), Image.Resampling.LANCZOS)
    sheet.paste(small, (7 * side_px // 8 - 120, 5 * side_px // 8 - 120))
    assert agreement(sheet) > 0.95
    ink, expected = ink_of(sheet).sum(), ink_of(clean()).sum()
    assert abs(ink - expected) < 0.16 * expected  # lines about as wide as those of a large one


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


def test_a_bright_thing_on_a_dark_ground_keeps_its_surroundings():
    """A turned box with many tones is no sheet of paper."""
    rng = np.random.default_rng(0)
    tones = ndimage.gaussian_filter(rng.uniform(60, 255, (300, 300)), 3)
    tones = 150 + 100 * (tones - tones.min()) / np.ptp(tones)
    thing = Image.fromarray(tones.astype(np.uint8)).convert("RGBA")
    thing = thing.rotate(8, Image.Resampling.BICUBIC, expand=True)
    picture = desk_of((640, 640))
    picture.paste(thing, (150, 150), thing)
    raster = Sketch.from_image(picture).raster
    assert raster.shape == (640, 640)
