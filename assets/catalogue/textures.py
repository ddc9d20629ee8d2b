"""Procedural textures: square tiles that repeat without a seam, made by numpy from a colour.

A tile is an albedo (SIZE, SIZE, 3), float32, in linear light; the small shadows of threads and
creases are part of it. Grain, threads and stripes run along the first axis (v); stripes follow one
another along the second (u).
"""

import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from assets.catalogue.model import Real

SIZE = 256
Field = NDArray[np.float64]
Tile = NDArray[np.float32]

_V, _U = np.meshgrid(np.arange(SIZE) / SIZE, np.arange(SIZE) / SIZE, indexing="ij")


def noise(name: str, across: Real, along: Real, roughness: Real = 1.0) -> Field:
    """Return seamless noise of mean 0 and deviation 1.

    Args:
        name: Seeds the noise.
        across: Typical number of waves along u.
        along: Typical number of waves along v.
        roughness: Exponent of the fall towards higher frequencies; higher is smoother.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    fv = np.fft.fftfreq(SIZE, 1 / SIZE)[:, None] / along
    fu = np.fft.fftfreq(SIZE, 1 / SIZE)[None, :] / across
    distance = np.hypot(fv, fu)
    band = np.where(distance > 0, 1 / (1 + distance ** (2 * roughness + 1)), 0)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIZE, SIZE))) * band).real
    return (field - field.mean()) / field.std()


def pattern_mask(pattern: str) -> Field:
    """Return how much of the second colour shows, in [0, 1]: below 40 % on average.

    Raises:
        KeyError: If the pattern is unknown.
    """
    return {"plain": _no_pattern, "striped": _stripes, "checked": _checks, "dotted": _dots}[
        pattern
    ]()


def _no_pattern() -> Field:
    return np.zeros((SIZE, SIZE))


def _step(values: Field, edge: Real, softness: Real = 0.02) -> Field:
    return np.clip((values - edge) / softness + 0.5, 0, 1)


def _stripes() -> Field:
    return _step(np.abs((_U * 4) % 1 - 0.5), 0.32)


def _checks() -> Field:
    u, v = (_step(np.abs((t * 3) % 1 - 0.5), 0.36) for t in (_U, _V))
    return (u + v) * 0.5


def _dots() -> Field:
    rows = np.floor(_V * 8)
    u = (_U * 4 + 0.5 * (rows % 2)) % 1 - 0.5
    v = (_V * 8) % 1 - 0.5
    return 1 - _step(np.hypot(u, v / 2), 0.19, 0.04)


def wood(base: Field, contrast: Real) -> Tile:
    """Return growth rings and pores along v; `contrast` 1 is bare wood, 0.2 paint over it."""
    warp = 0.09 * noise("wood warp", 1.5, 0.8, 1.6)
    saw = (5 * (_U + warp)) % 1
    rings = np.where(saw < 0.8, saw / 0.8, (1 - saw) / 0.2) ** 1.6
    pores = noise("wood pores", 60, 2.5, 0.6)
    bands = noise("wood bands", 2, 0.7, 1.2)
    shade = 1 - contrast * (0.42 * (rings - 0.4) + 0.09 * pores + 0.08 * bands)
    warmth = 1 + contrast * 0.10 * (rings - 0.4)[..., None] * np.array([1, -0.2, -1])
    return _shaded(base, shade, warmth)


def weave(base: Field, threads: int = 22, depth: Real = 0.42) -> Tile:
    """Return a plain weave of `threads` (even) threads a side, with dark gaps between them."""
    u, v = (_U * threads) % 1, (_V * threads) % 1
    over = (np.floor(_U * threads) + np.floor(_V * threads)) % 2 == 0
    warp = np.sqrt(np.sin(np.pi * u) * (0.55 + 0.45 * np.sin(np.pi * v)))
    weft = np.sqrt(np.sin(np.pi * v) * (0.55 + 0.45 * np.sin(np.pi * u)))
    height = np.where(over, warp, weft)
    slub = noise("slub along", 5, 60, 0.5) + noise("slub across", 60, 5, 0.5)
    shade = 1.05 - depth * (1 - height) + 0.04 * slub
    return _shaded(base, shade)


def wicker(base: Field, strands: int = 12) -> Tile:
    """Return broad strands over and under one another, gaps nearly black."""
    tile = weave(base, strands, 0.85)
    tint = 1 + 0.10 * noise("wicker", strands, 4, 0.4)
    return np.clip(tile * tint[..., None].astype(np.float32), 0, 0.95)


def leather(base: Field) -> Tile:
    """Return pebbled grain: cells with creases between, and a soft cloudiness."""
    rng = np.random.default_rng(11)
    seeds = rng.random((620, 2))
    around = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    tree = KDTree((seeds[:, None] + around).reshape(-1, 2))
    distance, _ = tree.query(np.stack([_V, _U], -1), k=2)
    crease = np.clip((distance[..., 1] - distance[..., 0]) * 55, 0, 1) ** 0.6
    clouds = noise("leather clouds", 3, 3, 1.2)
    shade = 1.02 - 0.30 * (1 - crease) + 0.05 * clouds
    return _shaded(base, shade)


def brushed(base: Field) -> Tile:
    """Return fine scratches along v."""
    streaks = noise("brushed", 90, 1.5, 0.5)
    return _shaded(base, 1 + 0.05 * streaks)


def marble(base: Field, vein: Field) -> Tile:
    """Return a stone with winding veins of a second colour."""
    turn = noise("marble turn", 2, 2, 1.3)
    ridge = np.abs(noise("marble veins", 2.4, 1.6, 1.0) + 0.35 * turn)
    fine = np.abs(noise("marble fine", 5, 4, 0.9))
    veins = 0.85 * np.exp(-((ridge / 0.10) ** 1.2)) + 0.45 * np.exp(-((fine / 0.05) ** 1.2))
    amount = np.clip(veins + 0.05 * np.clip(turn, 0, 2), 0, 0.9)[..., None]
    return (base * (1 - amount) + vein * amount).astype(np.float32)


def smooth(base: Field, speckle: Real = 0.0) -> Tile:
    """Return an even surface, clouded by `speckle`."""
    shade = 1 + speckle * noise("speckle", 12, 12, 0.6)
    return _shaded(base, shade)


def _shaded(base: Field, shade: Field, tint: Field | Real = 1.0) -> Tile:
    lit = base * np.maximum(shade, 0.05)[..., None] * tint
    return np.clip(lit, 0, 0.95).astype(np.float32)
