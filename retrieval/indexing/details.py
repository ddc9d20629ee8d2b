"""Comparison of two pictures place by place: forms with other numbers differ in few places."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

# Largest difference of any place, as a share of the contrast there. Of copies (JPEG of quality 15,
# half or a third of the size, brighter, cropped) at most 0.10, of pictures of 256 pixels reduced to
# a third 0.19; of forms that differ in a number 0.29, in several 0.52, in a row, of other pages and
# charts above 1. A single other digit (0.12) is not told from what saving changes.
MOST_DIFFERENCE = 0.22
KEPT_PX = 256
_COMPARED_PX = 192
_PLACE_PX = 9
_BLUR_PX = 0.6
_LEAST_CONTRAST = 10.0  # levels; noise has less
_RIM_PX = 2
_SHIFTS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1))  # as rounded crops need

Margins = tuple[int, int, int, int]
"""Per cent cut off on the left, at the top, on the right and at the bottom."""

Kept = UInt8[np.ndarray, "256 256"]


def kept_levels(grey: Image.Image) -> Kept:
    """Reduce a picture of mode "L" to the levels that are compared."""
    return np.asarray(grey.resize((KEPT_PX, KEPT_PX), Image.Resampling.BILINEAR))


def differ_somewhere(first: Kept, second: Kept, margins: Margins) -> bool:
    """Tell whether two pictures differ clearly in some place.

    Args:
        first: The picture that `margins` are cut off.
        second: The other one.
        margins: What the other one lacks.
    """
    one, other = _levels(first, margins), _levels(second, (0, 0, 0, 0))
    gain = (one.std() + 1e-3) / (other.std() + 1e-3)
    other = (other - other.mean()) * gain + one.mean()
    spreads = [_variance(one - np.roll(other, shift, (0, 1))) for shift in _SHIFTS]
    contrast = np.maximum(_variance(one), _variance(other)) + _LEAST_CONTRAST**2
    shares = (np.minimum.reduce(spreads) / contrast)[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX]
    return float(shares.max()) > MOST_DIFFERENCE


def _levels(kept: Kept, margins: Margins) -> Float[np.ndarray, "192 192"]:
    left, top, right, bottom = (share * KEPT_PX / 100 for share in margins)
    box = (left, top, KEPT_PX - right, KEPT_PX - bottom)
    size = (_COMPARED_PX, _COMPARED_PX)
    picture = Image.fromarray(kept).resize(size, Image.Resampling.BILINEAR, box=box)
    return ndimage.gaussian_filter(np.asarray(picture, np.float32), _BLUR_PX)


def _variance(levels: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the variance around each pixel."""
    mean = ndimage.uniform_filter(levels, _PLACE_PX)
    return np.maximum(ndimage.uniform_filter(np.square(levels), _PLACE_PX) - np.square(mean), 0)
