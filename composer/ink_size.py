"""Pictures at a bounded size."""

from PIL import Image


def reduced(image: Image.Image, most_px: int) -> Image.Image:
    """Return a picture of which no side is longer than `most_px`, by the mean of its pixels."""
    scale = most_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)
