"""Noise reduction of a path-traced picture, guided by its noise-free buffers.

Albedo and normals of the first hit have next to no noise, so the picture is divided by its albedo,
the light that remains is averaged over neighbours of the same surface and alike brightness, and the
albedo, with all its texture, is multiplied back.

Source: Dammertz et al. 2010, "Edge-Avoiding A-Trous Wavelet Transform for fast Global Illumination
Filtering", section 2; here 3 x 3 taps a level, and brightness compared after a 3 x 3 mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Floats = NDArray[np.float32]

STEPS = (1, 2, 4)
KERNEL = np.array([1, 2, 1], np.float32) / 4
NORMAL_SHARPNESS = 24.0
ALBEDO_TOLERANCE = 0.06
LIGHT_TOLERANCE = 0.16  # relative difference of brightness that still counts as noise
LEAST_ALBEDO = 0.06  # added throughout: metal and glass have none to divide by


@dataclass(frozen=True, kw_only=True, slots=True)
class Traced:
    """A path-traced picture in linear light and the first hits' albedo and normals, each (H, W, 3).

    Pixels that failed are not finite in `light`.
    """

    light: Floats
    albedo: Floats
    normals: Floats


def denoised(traced: Traced) -> Floats:
    """Return the picture in linear light without most of its noise; failed pixels are filled."""
    is_valid = np.all(np.isfinite(traced.light), axis=-1, keepdims=True)
    light = np.where(is_valid, traced.light, 0).astype(np.float32)
    albedo = (traced.albedo + LEAST_ALBEDO).astype(np.float32)
    shading = _calmed((light / albedo).astype(np.float32))
    for step in STEPS:
        shading = _smooth(shading, traced, is_valid, step)
        is_valid = np.ones_like(is_valid)
    return (shading * albedo).astype(np.float32)


def _calmed(shading: Floats) -> Floats:
    """Limit single bright pixels to twice the mean of their surroundings."""
    brightness = shading.mean(-1)
    around = (uniform_filter(brightness, 5, mode="nearest") * 25 - brightness) / 24
    limit = 2 * around + 0.02
    share = np.minimum(1, limit / np.maximum(brightness, 1e-6))
    return (shading * share[..., None]).astype(np.float32)


def _smooth(shading: Floats, traced: Traced, is_valid: NDArray[np.bool_], step: int) -> Floats:
    height, width = shading.shape[:2]
    guide = np.log(uniform_filter(shading.mean(-1), 3, mode="nearest") + 0.02)
    # One array of what a tap compares, scaled so that differences add up to an exponent.
    features = np.concatenate(
        [
            traced.normals * np.sqrt(NORMAL_SHARPNESS / 2),
            traced.albedo / ALBEDO_TOLERANCE,
            guide[..., None] / (LIGHT_TOLERANCE * np.sqrt(2)),
        ],
        axis=-1,
    ).astype(np.float32)
    edges = ((step, step), (step, step), (0, 0))
    near_features = np.pad(features, edges, mode="edge")
    valid = is_valid.astype(np.float32)
    near_light = np.pad(np.concatenate([shading, valid], -1), edges, mode="edge")
    total = np.full((height, width, 4), 1e-8, np.float32)
    for i, j in np.ndindex(3, 3):
        rows = slice(i * step, i * step + height)
        columns = slice(j * step, j * step + width)
        apart = near_features[rows, columns] - features
        weight = KERNEL[i] * KERNEL[j] * np.exp(-np.einsum("ijk,ijk->ij", apart, apart))
        light = near_light[rows, columns]
        # Light comes with its validity, 0 or 1, as a fourth channel, which so sums the weights.
        total += (weight * light[..., 3])[..., None] * light
    return (total[..., :3] / total[..., 3:]).astype(np.float32)
