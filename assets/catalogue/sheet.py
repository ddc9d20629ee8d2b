"""Contact sheets: pictures in rows, with words under them where there is room."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LABEL_PX = 14


def sheet(
    images: Sequence[NDArray[np.uint8]], columns: int, labels: Sequence[str] = ()
) -> Image.Image:
    """Lay out pictures of one size in rows.

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


def read_pictures(folder: Path, count: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Return up to `count` pictures of a pack or gallery, evenly spread, and their names.

    Raises:
        ValueError: If the folder holds neither.
    """
    if (folder / "items.parquet").exists():
        items = pq.read_table(folder / "items.parquet").to_pylist()
        chosen = _spread(items, count)
        blobs = [(folder / item["path"]).read_bytes() for item in chosen]
    else:
        shards = sorted(folder.glob("images-*.parquet"))
        columns = ["id", "image"]
        items = [r for path in shards for r in pq.read_table(path, columns=columns).to_pylist()]
        chosen = _spread(items, count)
        blobs = [item["image"] for item in chosen]
    if not chosen:
        raise ValueError(f"{folder} holds no pictures. Make them with the pack or gallery command.")
    images = [np.array(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in blobs]
    return images, [item["id"] for item in chosen]


def _spread(items: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    indices = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in indices]
