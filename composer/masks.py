"""Morphology of masks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labels:
    """Connected parts of a mask, numbered from 1.

    Attributes:
        numbers: Number of the part of each pixel; 0 outside the mask.
        count: How many parts there are.
    """

    numbers: Int[np.ndarray, "h w"]
    count: int


def label(mask: Mask) -> Labels:
    """Number the parts of a mask; pixels that touch by a corner are connected."""
    numbers = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, np.ones((3, 3)), output=numbers)
    return Labels(numbers=numbers, count=int(np.asarray(count)))


def dilated(mask: Mask, num_px: int) -> Mask:
    """Return the pixels up to `num_px` steps along rows and columns from a mask."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=num_px))


def eroded(mask: Mask, side_px: int) -> Mask:
    """Return the pixels around which a square lies in a mask; outside the picture is no mask."""
    return np.asarray(ndimage.binary_erosion(mask, np.ones((side_px, side_px))))


def opened(mask: Mask, side_px: int) -> Mask:
    """Return the parts of a mask that squares of a side fit into."""
    return np.asarray(ndimage.binary_opening(mask, np.ones((side_px, side_px))))


def filled(mask: Mask) -> Mask:
    """Return a mask with its holes."""
    return np.asarray(ndimage.binary_fill_holes(mask))


def line_width_px(mask: Mask) -> float:
    """Estimate the width of lines as twice their area over their outline."""
    padded = np.pad(mask, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    area = int(mask.sum())
    outline = area - int((core & mask).sum())
    return 2 * area / max(outline, 1)
