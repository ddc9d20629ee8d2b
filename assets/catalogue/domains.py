"""The domains of a picture: one render as a photo, a watercolour, a blueprint and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from assets.catalogue import crafted, drawn
from assets.catalogue.media import Layers, layers_of, to_bytes

if TYPE_CHECKING:
    from assets.catalogue.render import Render

_PAINTERS: dict[str, Callable[[Layers, np.random.Generator], Float[np.ndarray, "h w 3"]]] = {
    "watercolour": drawn.watercolour,
    "pencil": drawn.pencil,
    "cartoon": drawn.cartoon,
    "clay": crafted.clay,
    "low-poly": crafted.low_poly,
    "night": crafted.night,
    "blueprint": drawn.blueprint,
    "x1": crafted.halftone,
    "x2": crafted.mosaic,
}


def stylise(render: Render, domain: str, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Show a render in a domain, from its image and buffers alone.

    Watercolour, cartoon, clay, low-poly and x2 keep the object's colours; pencil, blueprint and x1
    have colours of their own; night keeps hues where its lamp shines.

    Args:
        render: of 96 px or more; line widths and grain scale with the side.
        domain: "photo" (unchanged) or a key of the domains in `words.py`, or "x1", "x2".
        rng: its state determines the picture.

    Raises:
        ValueError: if the domain is not known, or image and buffers differ in size.
    """
    if domain == "photo":
        return render.image.copy()
    if domain not in _PAINTERS:
        known = ", ".join(["photo", *_PAINTERS])
        raise ValueError(f"`domain` must be one of {known}, got {domain!r}.")
    return to_bytes(_PAINTERS[domain](layers_of(render), rng))
