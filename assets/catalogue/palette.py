"""Colours of the colour words, sRGB in 0..255; conversion of sRGB to linear light and back."""

import numpy as np
from numpy.typing import NDArray

from assets.catalogue.model import Real

Array = NDArray[np.float64] | NDArray[np.float32]

SRGB: dict[str, tuple[int, int, int]] = {
    "red": (186, 28, 36),
    "orange": (232, 112, 20),
    "yellow": (240, 196, 36),
    "green": (44, 122, 54),
    "teal": (18, 134, 136),
    "blue": (36, 98, 200),
    "navy": (26, 36, 84),
    "purple": (112, 54, 154),
    "pink": (240, 138, 170),
    "brown": (124, 68, 34),
    "beige": (218, 192, 154),
    "white": (240, 239, 235),
    "grey": (126, 127, 129),
    "black": (26, 26, 28),
    "oak": (198, 150, 94),
    "walnut": (80, 54, 40),
    "silver": (208, 210, 214),
    "gold": (226, 176, 74),
    "copper": (206, 122, 84),
    "clear": (236, 244, 241),
}
CREAM = (238, 232, 216)
ASH = (150, 152, 158)
_PALE = ("white", "beige", "yellow", "pink")


def linear(srgb: Real | Array) -> NDArray[np.float64]:
    """Convert sRGB in [0, 1] to linear light."""
    s = np.asarray(srgb, float)
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def encoded(light: Real | Array) -> NDArray[np.float64]:
    """Convert linear light to sRGB, both in [0, 1]; values outside are clipped."""
    x = np.clip(np.asarray(light, float), 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def reflectance(colour: str) -> NDArray[np.float64]:
    """Return the linear reflectance (3,) of a colour word.

    Raises:
        KeyError: If the word is no colour of the lexicon.
    """
    return linear(np.array(SRGB[colour]) / 255)


def companion(colour: str) -> NDArray[np.float64]:
    """Return the second colour (3,), linear, that patterns pair with a colour word."""
    return linear(np.array(ASH if colour in _PALE[:2] else CREAM) / 255)
