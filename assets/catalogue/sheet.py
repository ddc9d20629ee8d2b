"""Contact sheets: pictures in rows, with words under them where there is room."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LABEL_PX = 14


def sheet(
    images: Sequence[NDArray[np.uint8]], columns: int, labels: Sequence[str] = ()
) -> Image.Image:
    """Lays out pictures of one size in rows.

    Args:
        images: uint8 (H, W, 3), all alike.
        columns: Pictures a row.
        labels: One a picture, or none at all.

    Raises:
        ValueError: If there is no picture.
    """
    if not images:
        raise ValueError("A sheet needs at least one picture, got none.")
    height, width = images[0].shape[:2]
    step = height + (LABEL_PX if labels else 0)
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * width, rows * step), "white")
    pen = ImageDraw.Draw(page)
    for i, image in enumerate(images):
        x, y = i % columns * width, i // columns * step
        page.paste(Image.fromarray(image), (x, y))
        if labels:
            pen.text((x + 3, y + height + 1), labels[i], fill="black")
    return page
