"""The colours of a picture on the drawing of another."""

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

_BLUR = 1 / 64  # of the shorter side: what the outlines may have moved


def keep_colours(drawn: Image.Image, source: Image.Image) -> Image.Image:
    """Return a picture with its own lights and darks, and the colours of another.

    Only colour differences (Cb and Cr of ITU-R BT.601) are taken over, and only as smooth patches,
    so that lines and textures of the drawn picture keep theirs and outlines may have moved a
    little.

    Args:
        drawn: RGB.
        source: RGB, of the same size.

    Raises:
        ValueError: The sizes differ.
    """
    if drawn.size != source.size:
        raise ValueError(f"The pictures must be of one size, got {drawn.size} and {source.size}.")
    levels = _ycbcr(drawn)
    difference = _ycbcr(source)[..., 1:] - levels[..., 1:]
    sigma = _BLUR * min(drawn.size)
    levels[..., 1:] += ndimage.gaussian_filter(difference, (sigma, sigma, 0), mode="nearest")
    whole = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return Image.fromarray(whole, "YCbCr").convert("RGB")


def _ycbcr(image: Image.Image) -> Float[np.ndarray, "h w 3"]:
    return np.asarray(image.convert("YCbCr")).astype(np.float32)
