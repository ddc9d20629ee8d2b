"""Grounds on which the lines of pictures with transparent parts show."""

import numpy as np
from PIL import Image

from composer.masks import line_width_px

Colour = tuple[int, int, int]
_WHITE: Colour = (255, 255, 255)
_SHEET = 0.6  # share of opaque pixels from which a picture is a sheet with clear corners
_THICK = 0.06  # of the drawing's extent: lines are thinner
_SHOWS = 160  # level of a channel below which a colour shows on white


def clear_ground(image: Image.Image) -> Colour | None:
    """Choose the colour to lay a picture over; None where opacity is the ink.

    Where lines alone are opaque, opacity is ink, whatever the colour. Filled shapes are laid over
    white, on which outlines show; a sheet's clear parts become paper.
    """
    if image.mode != "RGBA":
        return _WHITE
    alpha = np.asarray(image.getchannel("A"))
    most = int(alpha.max())
    if most == 0 or alpha.min() >= 250:
        return _WHITE
    solid = alpha > most / 2
    colours = np.asarray(image.convert("RGB"))[solid]
    if solid.mean() > _SHEET:
        red, green, blue = np.median(colours[:: max(1, len(colours) // 10_000)], axis=0)
        return int(red), int(green), int(blue)
    rows, columns = np.nonzero(solid)
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    shows = float((colours.min(axis=1) < _SHOWS).mean()) > 0.02
    return _WHITE if shows and line_width_px(solid) > _THICK * extent else None


def lay_on(image: Image.Image, ground: Colour | None) -> Image.Image:
    """Return a picture of mode "RGB" on a ground; on none, opacity becomes black on white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    if ground is not None:
        paper = Image.new("RGBA", image.size, (*ground, 255))
        return Image.alpha_composite(paper, image).convert("RGB")
    alpha = np.asarray(image.getchannel("A"))
    most = max(1, int(alpha.max()))
    opaque = np.clip(alpha * (255.0 / most), 0, 255).astype(np.uint8)
    return Image.fromarray(255 - opaque).convert("RGB")
