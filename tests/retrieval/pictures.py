"""Pictures for tests."""

import numpy as np
from PIL import Image


def picture(seed, size=(40, 30)):
    """Smooth fields of colour, the same for the same seed."""
    levels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize(size)


def noise_picture(seed=0, size=(64, 64)):
    """Independent pixels, the same for the same seed."""
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)
