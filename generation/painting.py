"""Masks that are painted over a picture, as strokes of a brush."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from composer.sketch import Stroke
from generation.masking import Mask, shape_of_cells

FINEST: Final = 0.01
BROADEST: Final = 0.16
"""Breadth of the brush, over the picture's longer side, at a breadth of 0 and of 1."""
_MIDDLE = 0.5


def mask_of_strokes(strokes: Sequence[Stroke], width: int, height: int) -> Mask:
    """Return the mask that strokes paint.

    A stroke is as broad as its third column says, on average, from `FINEST` (0) to `BROADEST` (1)
    in equal ratios; one without it has a breadth of 0.5.

    Args:
        strokes: Polylines in the unit square that is stretched over the picture.
        width: Of the picture.
        height: Of the picture.

    Raises:
        MaskError: There is no stroke.
    """
    rows, columns = shape_of_cells(width, height)
    cells = Image.new("L", (columns, rows))
    pen = ImageDraw.Draw(cells)
    for stroke in strokes:
        path = stroke[:, :2] * (columns, rows)
        breadth = float(stroke[:, 2].mean()) if stroke.shape[1] == 3 else _MIDDLE
        _paint(pen, path, max(rows, columns) * FINEST * (BROADEST / FINEST) ** breadth)
    return Mask(cells=np.asarray(cells) > 0)


def _paint(pen: ImageDraw.ImageDraw, path: np.ndarray, breadth_px: float) -> None:
    vertices = [(float(x), float(y)) for x, y in path]
    if len(vertices) > 1:
        pen.line(vertices, fill=255, width=max(1, round(breadth_px)), joint="curve")
    reach = max(breadth_px, 1) / 2
    for x, y in (vertices[0], vertices[-1]):
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
