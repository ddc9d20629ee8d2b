"""Contrast of ink with paper under uneven light."""

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from composer.ink_size import reduced
from composer.masks import Mask, dilated, label

_CELLS = 128  # on the longer side, for the polarity
_MEDIAN = 11  # cells
_NARROW, _WIDE = 0.035, 0.08  # of the longer side: windows; lines are narrower, shadows wider
_DARK = 0.85  # of the lines' contrast: broad strokes have it, shadows have less
_FAINT = 0.25  # of the lines' contrast: less is no line
_BLOCKS = 16  # a side, for the noise


def local_contrast(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Return how far each pixel lies from the ground around it, over the light there.

    The ground is what lines leave: the brightest (of light ink, the darkest) level of a window
    larger than a line is wide. Broad strokes are ink if they are as dark as the lines; what is
    paler is the shadow of fingers or a pen.

    Args:
        image: Of mode "RGB".

    Returns:
        0 for the ground; 255 for black ink on any paper, or white ink on black.
    """
    rgb = np.asarray(image, dtype=np.float32)
    if not _is_ink_dark(image):
        rgb = 255.0 - rgb
    rgb = ndimage.gaussian_filter(rgb, (0.8, 0.8, 0))
    lines, broad = (_below_ground(rgb, share) for share in (_NARROW, _WIDE))
    strength = float(np.percentile(lines[lines > _FAINT * lines.max()], 75))
    added = (broad - lines) > _FAINT * strength
    if added.any() and float(np.percentile(broad[added], 75)) >= _DARK * strength:
        return broad
    return _without_remains(lines, added, strength)


def _below_ground(rgb: Float[np.ndarray, "h w 3"], share: float) -> Float[np.ndarray, "h w"]:
    """Return how far each pixel lies below the ground, found in windows of a share of a side."""
    side = max(3, round(share * max(rgb.shape)) | 1)
    ground = ndimage.grey_closing(rgb, (side, side, 1))
    levels = 255.0 * ((ground - rgb) / (ground + 16.0)).max(axis=2)
    return np.maximum(levels - np.float32(np.median(levels)), 0)


def _without_remains(
    lines: Float[np.ndarray, "h w"], shadow: Mask, strength: float
) -> Float[np.ndarray, "h w"]:
    """Leave out what is left of a shadow where it is narrow: pale parts that touch the rest."""
    parts = label(lines > _FAINT * strength)
    touches = np.zeros(parts.count + 1, bool)
    touches[parts.numbers[dilated(shadow, 2)]] = True
    most = ndimage.maximum(lines, parts.numbers, np.arange(parts.count + 1))
    is_left = touches & (np.asarray(most) < _DARK * strength)
    is_left[0] = False
    return np.where(is_left[parts.numbers], np.float32(0), lines)


def noise_of(levels: Float[np.ndarray, "h w"]) -> float:
    """Return the standard deviation of levels where there is no ink, in the noisier parts."""
    spreads: list[float] = []
    for rows in np.array_split(levels, min(_BLOCKS, len(levels))):
        for block in np.array_split(rows, min(_BLOCKS, rows.shape[1]), axis=1):
            spreads.append(float(np.median(np.abs(block - np.median(block)))))
    return 1.4826 * float(np.percentile(spreads, 90))


def _is_ink_dark(image: Image.Image) -> bool:
    """Tell whether the strong deviations from the ground are mostly darker than it."""
    small = np.asarray(reduced(image.convert("L"), _CELLS), dtype=np.float32)
    ground = ndimage.median_filter(small, _MEDIAN)
    difference = (small - ground) / (ground + 16.0)
    strong = 0.5 * float(np.percentile(np.abs(difference), 99.5))
    return float((difference < -strong).sum()) >= float((difference > strong).sum())
