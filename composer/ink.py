"""Ink of a drawing in a picture, without the ground, the light, borders, frames and specks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from composer.ink_clear import clear_ground, lay_on
from composer.ink_even import even_contrast, whole_levels
from composer.ink_frame import frame_of
from composer.ink_light import local_contrast, noise_of
from composer.ink_shapes import drop_borders, drop_specks, is_drawing
from composer.ink_sheet import find_sheet, inner_part, resized
from composer.ink_size import reduced
from composer.masks import Mask, dilated, label, opened

COARSE_PX = 1024  # at which a large sheet is searched for its drawing
FINE_PX = 1536  # at which the drawing is read
SHEET_PX = 3072  # at which a sheet is turned upright
_SMALL, _LEAST_PX = 0.5, 1024  # a drawing below this share of its sheet is read at that size
_MOST_GROWTH = 4.0
_LEAST = 10.0  # levels that differ from the ground
_NOISES = 5.0  # standard deviations that noise hardly exceeds
_FAINT, _STRONG = 0.25, 0.5  # of the contrast of the ink
_BUSY = 45.0  # least level that is no noise: paper is smoother
_SHADES = 0.03  # of a picture lie between paper and ink: paper has fewer
_WIDE_PX = 0.03  # of a side: most lines are thinner


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Contrast:
    """Contrast of each pixel with its ground.

    Attributes:
        levels: Difference from the ground, from 0.
        least: Least level that is no noise.
        dead: Most level that still counts as ground, if the ink is strong.
        is_even: Whether the ground has one colour.
        is_plain: Whether the ground is even and the levels are those of grey, from the border's.
    """

    levels: Float[np.ndarray, "h w"]
    least: float
    dead: float
    is_even: bool
    is_plain: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Ink:
    """What was read.

    Attributes:
        levels: Grey levels in 0..255, `ink_on_white`.
        mask: Where the ink is; None for a picture that is no line drawing.
        is_clean: Whether there is nothing but ink on an even ground.
    """

    levels: UInt8[np.ndarray, "h w"]
    mask: Mask | None = None
    is_clean: bool = False


def read_ink(image: Image.Image) -> UInt8[np.ndarray, "h w"] | None:
    """Return the ink of a drawing as grey levels in 0..255, `ink_on_white`; None if there is none.

    A sheet on a darker ground is turned upright. A picture above `FINE_PX` is searched at
    `COARSE_PX`, and only its drawing is read, reduced to `FINE_PX` if need be: the cost does not
    grow with the sheet. A drawing that is small beside its sheet is enlarged first, so that its
    lines are read as those of a large one.

    Args:
        image: The picture; of mode "RGBA" where it has transparent parts.
    """
    small = _searched(image)
    ground = clear_ground(small)
    picture = page = lay_on(small, ground)
    sheet = find_sheet(page)
    if sheet is not None and (frame := frame_of(sheet)) is not None:
        image = frame.upright(lay_on(reduced(image, SHEET_PX), ground))
        page = _searched(image)
        sheet = np.asarray(frame.upright(Image.fromarray(sheet), is_mask=True))
    ink = _read(page, None if sheet is None else resized(inner_part(sheet), page.size))
    if ink is None:
        return None
    if ink.mask is None:
        return whole_levels(picture)
    box = _box(ink.mask, image.size)
    extent = max(box[2] - box[0], box[3] - box[1])
    is_small = extent < _SMALL * max(image.size) and max(image.size) > COARSE_PX
    if page.size == image.size and not is_small:
        return ink.levels
    part = lay_on(reduced(image.crop(box), FINE_PX), ground)
    return _read_part(part, ink, _part_of(ink.mask, box, image.size, part.size))


def _read_part(part: Image.Image, ink: _Ink, near: np.ndarray) -> np.ndarray | None:
    """Read the part of a picture that has the ink, enlarged if it is small."""
    growth = min(max(1.0, _LEAST_PX / max(part.size)), _MOST_GROWTH)
    size = (round(part.width * growth), round(part.height * growth))
    part, near = part.resize(size, Image.Resampling.BICUBIC), resized(near, size)
    levels = whole_levels(part) if ink.is_clean else _read_near(part, near)
    return None if levels is None else _sharpened(levels, growth)


def _searched(image: Image.Image) -> Image.Image:
    """Return a picture at the size at which it is searched for its drawing."""
    return image if max(image.size) <= FINE_PX else reduced(image, COARSE_PX)


def _sharpened(levels: UInt8[np.ndarray, "h w"], growth: float) -> UInt8[np.ndarray, "h w"]:
    """Return levels whose edges are as steep as before they were enlarged."""
    if growth == 1:
        return levels
    steep = (levels.astype(np.float32) - 128) * growth + 128
    return np.clip(np.round(steep), 0, 255).astype(np.uint8)


def _box(mask: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of a picture that has the ink of its reduced copy, and a margin."""
    rows, columns = np.nonzero(mask)
    scale = max(size) / max(mask.shape)
    low = np.array([columns.min(), rows.min()]) * scale
    high = np.array([columns.max() + 1, rows.max() + 1]) * scale
    margin = 0.12 * float((high - low).max()) + 2 * scale
    left, top = np.maximum(low - margin, 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + margin), size).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _part_of(
    mask: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int], part: tuple[int, int]
) -> np.ndarray:
    """Return what lies near the mask of a picture, in a part of it that has its own scale."""
    near = Image.fromarray(dilated(mask, 2))
    scale_x, scale_y = near.width / size[0], near.height / size[1]
    source = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
    return np.asarray(near.resize(part, Image.Resampling.NEAREST, box=source))


def _read(page: Image.Image, sheet: Mask | None) -> _Ink | None:
    contrast = _contrast(page if sheet is None else _painted(page, sheet))
    if contrast.least > _BUSY:
        return _toned(page)
    differing = contrast.levels > contrast.least
    if sheet is not None:
        differing &= sheet
    kept = drop_borders(differing)
    if not kept.any():
        return None
    strength = float(np.percentile(contrast.levels[kept], 95))
    if not contrast.is_even and strength < 2 * contrast.least:
        return None
    candidates = _candidates(contrast, strength, kept)
    inked = drop_specks(drop_borders(candidates))
    if not contrast.is_even and _has_tones(contrast, strength, candidates):
        return _toned(page)
    if not is_drawing(inked):
        return None
    is_whole = sheet is None and bool((kept == differing).all() and (inked == candidates).all())
    if contrast.is_plain and is_whole and (levels := whole_levels(page)) is not None:
        return _Ink(levels=levels, mask=inked, is_clean=True)
    levels = _stretched(contrast, strength)
    levels[~dilated(inked, 2)] = 255
    return _Ink(levels=levels, mask=inked)


def _read_near(part: Image.Image, near: np.ndarray) -> np.ndarray:
    contrast = _contrast(part)
    strength = float(np.percentile(contrast.levels[near & (contrast.levels > contrast.least)], 95))
    levels = _stretched(contrast, strength)
    levels[~near] = 255
    return levels


def _painted(page: Image.Image, sheet: np.ndarray) -> Image.Image:
    """Return a page around which everything has the sheet's colour."""
    rgb = np.array(page)
    rgb[~sheet] = np.median(rgb[sheet], axis=0)
    return Image.fromarray(rgb)


def _contrast(page: Image.Image) -> _Contrast:
    even = even_contrast(page)
    if even is not None:
        return _Contrast(
            levels=even.levels,
            least=_LEAST,
            dead=0.08 * even.paper,
            is_even=True,
            is_plain=even.is_plain,
        )
    levels = local_contrast(page)
    least = max(_LEAST, _NOISES * noise_of(levels))
    return _Contrast(levels=levels, least=least, dead=255.0, is_even=False, is_plain=False)


def _candidates(contrast: _Contrast, strength: float, kept: np.ndarray) -> np.ndarray:
    """Return what is strong enough for ink; under uneven light it touches strong pixels."""
    levels = contrast.levels * kept
    faint = levels > max(contrast.least, _FAINT * strength)
    if contrast.is_even:
        return faint
    parts = label(faint)
    has_strong = np.zeros(parts.count + 1, bool)
    has_strong[parts.numbers[levels > max(contrast.least, _STRONG * strength)]] = True
    has_strong[0] = False
    return has_strong[parts.numbers]


def _toned(page: Image.Image) -> _Ink | None:
    levels = whole_levels(page)
    return None if levels is None else _Ink(levels=levels)


def _has_tones(contrast: _Contrast, strength: float, candidates: np.ndarray) -> bool:
    """Tell a picture with tones, such as a photo of a thing, from lines on paper."""
    away = ~dilated(candidates, 3)
    between = contrast.levels > max(contrast.least, 0.08 * strength)
    if (between & away).mean() > _SHADES:
        return True
    side = max(3, round(_WIDE_PX * max(candidates.shape)))
    wide = opened(candidates, side)
    return bool(wide.sum() > 0.5 * candidates.sum())


def _stretched(contrast: _Contrast, strength: float) -> np.ndarray:
    dead = min(contrast.dead, _FAINT * strength)
    level = np.clip((strength - contrast.levels) / (strength - dead + 1e-6), 0.0, 1.0)
    return np.round(level * 255).astype(np.uint8)
