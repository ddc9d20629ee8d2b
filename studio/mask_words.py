"""Masks from words: the part of a picture that a phrase names, by the evidence map."""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch.nn import functional

from composer.query import Query
from generation.masking import MAX_CELLS, Mask, MaskError
from retrieval.evidence import explain
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError

SHARE: Final = 0.5
"""Share of the strongest match from which on a place belongs to the part."""


def mask_of_words(engine: Engine, picture: Image.Image, words: str) -> Mask:
    """Return the mask of what words name in a picture, such as "the seat".

    The map has a value for each patch of the encoder, so that the mask is coarse.

    Args:
        engine: The kit.
        picture: RGB picture of any proportions.
        words: One phrase or several; a place belongs to the part if it matches any of them.

    Raises:
        UsageError: The words name nothing.
        InputError: The kit's CLIP shows no evidence.
    """
    if not words.strip():
        raise UsageError("Name the part to draw anew, such as --where 'the seat'.")
    options = ComposeOptions(composer=engine.default_composer)
    query = engine.compose(Query(text=words), options)
    side, mean = max(picture.size), _mean_colour(picture)
    # Evidence looks at the central square alone; a padded picture is one.
    square = ImageOps.pad(picture, (side, side), color=mean)
    evidence = explain(engine.search_backbone, query, square)
    if not evidence.words:
        raise UsageError(f"{words!r} names no part of a picture; use a noun, such as 'the seat'.")
    heat = torch.stack([word.heat for word in evidence.words]).amax(dim=0)
    try:
        return Mask.of_pixels(_upsampled(heat, picture.width, picture.height) >= SHARE)
    except MaskError as error:
        raise UsageError(f"Nothing in the picture matches {words!r}.") from error


def _mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(picture.resize((8, 8))).reshape(-1, 3).mean(axis=0).astype(int)
    return int(red), int(green), int(blue)


def _upsampled(
    heat: Float[torch.Tensor, "rows columns"], width: int, height: int
) -> Float[np.ndarray, "h w"]:
    """Return the map of the picture within its padded square, at the resolution of masks."""
    side = min(MAX_CELLS, max(width, height))
    full = functional.interpolate(
        heat[None, None].float(), size=(side, side), mode="bilinear", align_corners=False
    )[0, 0]
    scale = side / max(width, height)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - rows) // 2, (side - columns) // 2
    return full[top : top + rows, left : left + columns].numpy()
