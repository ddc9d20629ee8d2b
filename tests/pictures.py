"""Pictures of noise that are the same in whatever order the tests run."""

import numpy as np
from PIL import Image


def noise(size: tuple[int, int], spread: float, seed: int = 0) -> Image.Image:
    """Grey noise of mode "L" around 128; `spread` is its standard deviation in levels."""
    draws = np.random.default_rng(seed).normal(128, spread, (size[1], size[0]))
    return Image.fromarray(np.clip(draws, 0, 255).astype(np.uint8))
