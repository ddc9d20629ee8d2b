"""How much of its source a transferred picture keeps: edges, colours, and pixels as such."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from generation.control import edge_image, sketch_agreement
from generation.judge import to_lab

_THIN = 1 / 256  # width of the lines, as a share of the side
_PATCHES = 16  # a side, for the distance of colours
_VISIBLE = 10.0  # in CIELAB; several times what is just noticed side by side


def edge_agreement(drawn: Image.Image, source: Image.Image) -> float:
    """Return how well a picture's edges agree with another's, in [0, 1]; see `sketch_agreement`."""
    lines = edge_image(_fitted(source, drawn), drawn.height, drawn.width, _THIN)
    return float(sketch_agreement(np.asarray(drawn), lines))


def colour_distance(drawn: Image.Image, source: Image.Image) -> float:
    """Return the mean distance in CIELAB of 16 x 16 patches' mean colours."""
    size = (_PATCHES, _PATCHES)
    patches = [to_lab(_levels(one.resize(size, Image.Resampling.BOX))) for one in (drawn, source)]
    return float(np.linalg.norm(patches[0] - patches[1], axis=-1).mean())


def changed_share(drawn: Image.Image, source: Image.Image) -> float:
    """Return the share of pixels whose colour is another than the source's for everyone to see."""
    pairs = to_lab(_levels(drawn)), to_lab(_levels(_fitted(source, drawn)))
    return float((np.linalg.norm(pairs[0] - pairs[1], axis=-1) > _VISIBLE).mean())


def _fitted(source: Image.Image, drawn: Image.Image) -> Image.Image:
    return source.resize(drawn.size, Image.Resampling.LANCZOS)


def _levels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray(image)
