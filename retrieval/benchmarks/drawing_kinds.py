"""Drawings as people have them: photographed and exported pictures of clean drawings.

Each kind changes how a drawing looks and leaves what is drawn; a picture of a kind should find what
the clean drawing finds.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from composer.sketch import Sketch, rasterise

SIDE_PX = 1000
Maker = Callable[[Image.Image, np.random.Generator], Image.Image]


def clean_picture(sketch: Sketch) -> Image.Image:
    """Draw a sketch as an image editor would export it, mode "L", ink on white."""
    ink = Image.fromarray(rasterise(sketch, 720, 7.0))
    page = Image.new("L", (SIDE_PX, SIDE_PX), 255)
    page.paste(ink, (140, 140))
    return page


def _paper(ink: Image.Image, rng: np.random.Generator, light: np.ndarray, pen: float) -> np.ndarray:
    """Return paper with ink under light, with the grain and blur of a camera, as levels."""
    cover = np.asarray(ink.filter(ImageFilter.GaussianBlur(1.0)), np.float32)[..., None] / 255
    paper = np.array([1.0, 0.98, 0.93], np.float32)
    shade = light[..., None] * paper * (pen + (1 - pen) * cover)
    return shade * 255 + rng.normal(0, 3, (*light.shape, 1)) + rng.normal(0, 1.5, (*light.shape, 3))


def _picture(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))


def _gradient(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    angle = rng.uniform(0, 2 * np.pi)
    slope = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5
    return (low + (high - low) * np.clip(slope, 0, 1)).astype(np.float32)


def white_on_transparent(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """White or pale lines on a transparent ground."""
    picture = Image.new("RGBA", ink.size, (*(int(v) for v in rng.integers(235, 256, 3)), 0))
    opacity = float(rng.uniform(0.5, 1))
    picture.putalpha(ink.point([round(opacity * (255 - level)) for level in range(256)]))
    return picture


def dim_paper(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paper in a dark room."""
    low = rng.uniform(0.3, 0.5)
    return _picture(_paper(ink, rng, _gradient(rng, low, low + 0.06), 0.3))


def red_on_green(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Red ink on green of the same brightness."""
    red = int(rng.integers(200, 256))
    ground = (int(rng.integers(0, 30)), round(0.51 * red), 0)
    picture = Image.new("RGB", ink.size, ground)
    picture.paste((red, 0, 0), mask=ink.point([255 - level for level in range(256)]))
    return picture


def light_grey_ink(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light grey lines on white."""
    strength = int(rng.integers(14, 24))
    return ink.point([255 - (255 - level) * strength // 255 for level in range(256)]).convert("RGB")


def small_on_large_sheet(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A drawing of 300 pixels somewhere on a sheet of 4000 x 3000."""
    sheet = Image.new("RGB", (4000, 3000), "white")
    small = ink.crop((140, 140, 860, 860)).resize((300, 300), Image.Resampling.LANCZOS)
    sheet.paste(small, (int(rng.integers(50, 3600)), int(rng.integers(50, 2600))))
    return sheet


def paper_on_a_desk(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A sheet, slightly turned, on a darker wooden desk, sometimes beyond the picture's edge."""
    light = _gradient(rng, 0.75, 0.92)
    sheet = _picture(_paper(ink, rng, light, 0.2))
    y, x = np.mgrid[0:1300, 0:1300].astype(np.float32)
    wave = np.sin(y / rng.uniform(4, 9) + 3 * np.sin(x / 220)) + np.sin(y / 31)
    wood = np.array(rng.choice([[120, 80, 50], [70, 55, 45], [95, 95, 100]]), np.float32)
    desk = wood * (1 + 0.06 * wave[..., None]) + rng.normal(0, 3, (1300, 1300, 1))
    picture = _picture(desk)
    turned = sheet.convert("RGBA").rotate(
        float(rng.uniform(-5, 5)), Image.Resampling.BICUBIC, expand=True
    )
    left, top = (int(v) for v in rng.integers(20, 1280 - max(turned.size), 2))
    picture.paste(turned, (left, top), turned)
    if rng.integers(2):  # nearer: the desk shows on two sides
        return picture.crop((left + 70, 0, 1300, top + turned.height - 70))
    return picture


def uneven_light(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paper beside a window: bright on one side, dark on the other."""
    return _picture(_paper(ink, rng, _gradient(rng, 0.3, 0.98), 0.25))


def shadow_of_a_hand(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The shadow of a hand and an arm across the paper, soft or sharp, often with fingers."""
    shadow = Image.new("L", ink.size, 255)
    pen = ImageDraw.Draw(shadow)
    x, y = (int(v) for v in rng.integers(350, 700, 2))
    depth = int(rng.integers(100, 190))
    pen.ellipse((x - 170, y - 130, x + 170, y + 130), fill=depth)
    pen.line((x, y, SIDE_PX + 100, SIDE_PX + 50), fill=depth, width=200)
    for number in range(int(rng.integers(0, 4))):
        tip = (x - 260 + 30 * number, y - 180 + 60 * number)
        pen.line((x, y, *tip), fill=depth, width=60)
    blur = ImageFilter.GaussianBlur(float(rng.uniform(3, 18)))
    light = np.asarray(shadow.filter(blur), np.float32) / 255
    return _picture(_paper(ink, rng, 0.9 * light, 0.2))


def dark_scan_edges(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The dark edges of a scanner's lid on two or three sides."""
    picture = _picture(_paper(ink, rng, np.full(ink.size, 0.95, np.float32), 0.2))
    pen = ImageDraw.Draw(picture)
    for side in rng.permutation(4)[: int(rng.integers(2, 4))]:
        near, far = (int(v) for v in rng.integers(8, 45, 2))
        band = [(0, 0), (SIDE_PX, 0), (SIDE_PX, near), (0, far)]
        turns = int(side)
        for _ in range(turns):
            band = [(SIDE_PX - py, px) for px, py in band]
        pen.polygon(band, fill=(25, 25, 28))
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def frame(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A ruled frame around the page, black or grey, often double or rounded."""
    picture = ink.convert("RGB")
    pen = ImageDraw.Draw(picture)
    inset, width = int(rng.integers(4, 60)), int(rng.integers(2, 9))
    outline = (int(rng.integers(0, 150)),) * 3
    radius = float(rng.choice([0, 0, 25]))
    for step in range(int(rng.integers(1, 3))):
        near = inset + step * (width + 10)
        box = (near, near, SIDE_PX - near, SIDE_PX - near)
        pen.rounded_rectangle(box, radius, outline=outline, width=width)
    return picture


def toolbar(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A screenshot with the toolbar of a drawing program on any side, dark or light."""
    turns = int(rng.integers(4))
    picture = ink.convert("RGB").rotate(-90 * turns)
    pen = ImageDraw.Draw(picture)
    height = int(rng.integers(40, 80))
    is_dark = bool(rng.integers(2))
    pen.rectangle((0, 0, SIDE_PX, height), fill=(30, 30, 34) if is_dark else (236, 236, 240))
    for left in range(20, int(rng.integers(300, 900)), 60):
        box = (left, height // 4, left + 30, 3 * height // 4)
        pen.rectangle(box, outline=(220, 220, 220) if is_dark else (60, 60, 60), width=3)
    return picture.rotate(90 * turns)


def specks(ink: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Dust on the glass of a scanner."""
    picture = ink.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for x, y in rng.integers(0, SIDE_PX, (int(rng.integers(60, 400)), 2)):
        size = float(rng.uniform(0.5, 5))
        pen.ellipse((x, y, x + size, y + size), fill=(int(rng.integers(0, 120)),) * 3)
    return picture


KINDS: Final[Mapping[str, Maker]] = {
    "white on transparent": white_on_transparent,
    "dim paper": dim_paper,
    "red on green": red_on_green,
    "light grey ink": light_grey_ink,
    "small on a large sheet": small_on_large_sheet,
    "paper on a desk": paper_on_a_desk,
    "uneven light": uneven_light,
    "shadow of a hand": shadow_of_a_hand,
    "dark scan edges": dark_scan_edges,
    "frame": frame,
    "toolbar": toolbar,
    "specks": specks,
}
