"""The main colours of a thing photographed on a plain ground, in words."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

# Typical values in sRGB; what is named is the nearest one in OKLab, its lightness counting half.
COLOURS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((25, 25, 25), (50, 48, 48)),
    "grey": ((110, 110, 110), (160, 160, 160)),
    "white": ((215, 215, 215), (245, 245, 245)),
    "red": ((190, 30, 40), (130, 20, 30), (90, 25, 28), (185, 85, 75)),
    "orange": ((230, 120, 30), (200, 95, 40)),
    "yellow": ((240, 210, 50), (200, 170, 40)),
    "green": ((60, 150, 60), (110, 130, 60), (30, 80, 50), (150, 225, 30), (65, 100, 95)),
    "blue": ((40, 80, 180), (110, 160, 210), (30, 45, 90), (50, 140, 155), (150, 205, 230)),
    "purple": ((110, 60, 150), (80, 40, 90), (115, 30, 75), (95, 85, 120), (120, 85, 100)),
    "pink": ((230, 130, 170), (220, 60, 130)),
    "brown": ((90, 55, 35), (130, 85, 50), (165, 115, 75)),
    "beige": ((205, 180, 145), (225, 210, 185)),
}
LEAST_SHARE = 0.25
_SIDE_PX = 128
_GROUND_DISTANCE = 0.035
_FULL_DISTANCE = 0.12
_LEAST_PIXELS = 20


def colour_words(image: Image.Image) -> str:
    """Name a thing's main colour, and a second one that covers a quarter of it.

    Args:
        image: A picture whose border is its ground.

    Returns:
        "in black", "in white and brown"; empty where nothing stands out from the ground.
    """
    small = image.convert("RGB")
    small.thumbnail((_SIDE_PX, _SIDE_PX))
    lab = oklab(np.asarray(small))
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    distance = np.linalg.norm(lab - np.median(border, axis=0), axis=-1)
    thing = distance > _GROUND_DISTANCE
    if thing.sum() < _LEAST_PIXELS:
        return ""
    names = list(COLOURS)
    owners = np.array([i for i, name in enumerate(names) for _ in COLOURS[name]])
    typical = oklab(np.array([c for name in names for c in COLOURS[name]], dtype=np.uint8))
    weights = np.array([0.5, 1.0, 1.0])
    apart = np.linalg.norm((lab[thing][:, None] - typical) * weights, axis=-1)
    # Pixels that the border of thin parts shares with the ground count little.
    nearest = owners[apart.argmin(axis=1)]
    areas = np.bincount(
        nearest, weights=distance[thing].clip(max=_FULL_DISTANCE), minlength=len(names)
    )
    shares = areas / areas.sum()
    first, second = np.argsort(-shares, kind="stable")[:2]
    said = [names[first]] + ([names[second]] if shares[second] >= LEAST_SHARE else [])
    return f"in {' and '.join(said)}"


def oklab(levels: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB to OKLab (Ottosson 2020): lightness, green to red, blue to yellow."""
    value = levels.astype(np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=np.float32,
)
