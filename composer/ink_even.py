"""Contrast of ink with a ground of one colour."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from composer.ink_size import reduced
from composer.masks import opened

_EVEN = 10.0  # levels within which a ground is even
_MIN_CONTRAST = 24
_DEEP = 0.32  # of the paper's level: ink from which levels are stretched as a whole
_CELLS = 256  # on the longer side, for shades
_THICK = 7  # cells; lines are thinner, shadows thicker


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvenContrast:
    """Contrast of each pixel with a ground of one colour.

    Attributes:
        levels: Difference from the ground, from 0.
        paper: Level of the ground, as if the ink were dark.
        is_plain: Whether `whole_levels` gives the same ink.
    """

    levels: Float[np.ndarray, "h w"]
    paper: float
    is_plain: bool


def even_contrast(page: Image.Image) -> EvenContrast | None:
    """Return the contrast with the ground of a page of mode "RGB"; None if it is uneven."""
    rgb = np.asarray(page)
    colour = _ground_colour(rgb)
    if colour is None:
        return None
    distance = np.abs(rgb.astype(np.int16) - colour.astype(np.int16)).max(axis=2)
    if _has_shades(distance):
        return None
    grey = np.asarray(page.convert("L"), dtype=np.float32)
    paper = float(np.median(grey[distance <= _EVEN]))
    below, above = paper - grey, grey - paper
    is_dark = float(below[below > _MIN_CONTRAST].sum()) >= float(above[above > _MIN_CONTRAST].sum())
    levels = below if is_dark else above
    paper = paper if is_dark else 255.0 - paper
    if levels.max() < 0.5 * float(distance.max()):  # ink and ground of like brightness
        return EvenContrast(levels=distance.astype(np.float32), paper=paper, is_plain=False)
    is_deep = float(np.percentile(levels, 99.95)) >= _DEEP * paper
    is_plain = is_deep and is_dark == (float(np.median(_border(grey))) >= 128)
    return EvenContrast(levels=levels, paper=paper, is_plain=is_plain)


def whole_levels(page: Image.Image) -> UInt8[np.ndarray, "h w"] | None:
    """Return the grey levels of a page, stretched so that paper becomes white and ink black.

    Its border is the paper. None if all levels are alike.
    """
    grey = np.asarray(page.convert("L"), dtype=np.float32)
    if float(np.median(_border(grey))) < 128:
        grey = 255.0 - grey
    paper = float(np.median(_border(grey)))
    ink = float(np.percentile(grey, 0.05))
    if paper - ink < _MIN_CONTRAST:
        return None
    level = np.clip((grey - ink) / (0.92 * paper - ink + 1e-6), 0.0, 1.0)
    return np.round(level * 255).astype(np.uint8)


def _ground_colour(rgb: np.ndarray) -> np.ndarray | None:
    """Return the colour of an even border, or else of most of the picture."""
    border = _border(rgb)
    colour = np.median(border, axis=0)
    if (np.abs(border - colour).max(axis=1) <= _EVEN).mean() >= 0.9:
        return colour
    sample = rgb[::2, ::2].reshape(-1, 3)
    codes = (sample >> 4).astype(np.int32) @ np.array([256, 16, 1])
    colour = np.median(sample[codes == np.bincount(codes).argmax()], axis=0)
    is_common = (np.abs(sample - colour).max(axis=1) <= _EVEN).mean() >= 0.85
    return colour if is_common else None


def _has_shades(distance: np.ndarray) -> bool:
    """Tell whether wide parts of a picture lie between ground and ink, as in a shadow."""
    strength = float(np.percentile(distance, 99.95))
    small = reduced(Image.fromarray(distance.astype(np.float32)), _CELLS)
    shades = np.asarray(small)
    is_shade = (shades > _EVEN) & (shades < 0.75 * strength)
    return float(opened(is_shade, _THICK).mean()) > 0.005


def _border(levels: np.ndarray) -> np.ndarray:
    """Return the pixels along the border, one a row."""
    rim = max(1, round(0.04 * min(levels.shape[:2])))
    sides = (levels[:rim], levels[-rim:], levels[:, :rim], levels[:, -rim:])
    return np.concatenate([side.reshape(-1, *levels.shape[2:]) for side in sides])
