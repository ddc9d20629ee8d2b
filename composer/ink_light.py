"""Contrast of ink with paper under uneven light."""

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from composer.ink_size import reduced

_CELLS = 128  # on the longer side, for the polarity
_MEDIAN = 11  # cells
_WINDOW = 0.08  # of the longer side; lines are narrower, shadows wider
_BLOCKS = 16  # a side, for the noise


def local_contrast(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Return how far each pixel lies from the ground around it, over the light there.

    The ground is what lines leave: the brightest (of light ink, the darkest) level of a window
    larger than a line is wide.

    Args:
        image: Of mode "RGB".

    Returns:
        0 for the ground; 255 for black ink on any paper, or white ink on black.
    """
    rgb = np.asarray(image, dtype=np.float32)
    if not _is_ink_dark(image):
        rgb = 255.0 - rgb
    rgb = ndimage.gaussian_filter(rgb, (0.8, 0.8, 0))
    side = max(3, round(_WINDOW * max(image.size)) | 1)
    ground = ndimage.grey_closing(rgb, (side, side, 1))
    levels = 255.0 * ((ground - rgb) / (ground + 16.0)).max(axis=2)
    return np.maximum(levels - np.float32(np.median(levels)), 0)


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
