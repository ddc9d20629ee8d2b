"""Domains of other matter and light: clay, facets, night, halftone print, mosaic."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import Delaunay, KDTree

from assets.catalogue.media import (
    Layers,
    calm,
    cloud,
    edges,
    inner_distance,
    luminance,
    mix,
    noise,
    saturate,
    soften,
    step,
    warp,
)

Picture = Float[np.ndarray, "h w 3"]

_CLAY = np.array([0.76, 0.56, 0.46], np.float32)
_TABLE = np.array([0.66, 0.62, 0.58], np.float32)
_KEY = np.array([-0.5, 0.65, 0.57], np.float32)
_MOON = np.array([0.15, 0.23, 0.45], np.float32)
_LAMP = np.array([1.0, 0.74, 0.40], np.float32)
_RISO_PAPER = np.array([0.965, 0.95, 0.90], np.float32)
_RISO_CORAL = np.array([1.0, 0.36, 0.33], np.float32)
_RISO_TEAL = np.array([0.05, 0.42, 0.52], np.float32)
_GROUT = np.array([0.80, 0.77, 0.72], np.float32)


def clay(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return modelled in tinted clay: soft lumpy forms, dull light, prints of thumbs."""
    unit, shape = layers.unit, layers.shape
    dy, dx = (0.8 * unit * noise(shape, 12 * unit, rng) for _ in range(2))
    parts = warp(layers.parts, dy, dx)
    mask = (parts > 0).astype(np.float32)
    tint = np.broadcast_to(_TABLE, (*shape, 3)).copy()
    for part in np.unique(parts[parts > 0]):
        colours = layers.colour[layers.parts == part]
        typical = np.quantile(colours, 0.6, axis=0) if len(colours) else _CLAY
        body = _CLAY * (0.72 + 0.5 * float(luminance(typical[None])[0]))
        tint[parts == part] = mix(body, np.clip(1.25 * typical, 0.0, 1.0), 0.62)
    height = _relief(layers, parts, rng)
    slope_y, slope_x = np.gradient(height)
    normals = warp(layers.normals, dy, dx)
    weight = soften(mask, 1.1 * unit)[..., None] + 1e-3
    normals = soften(normals, 1.1 * unit) / weight
    normals = normals + np.stack([-slope_x, slope_y, np.zeros(shape)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-6
    diffuse = np.clip(0.5 + 0.5 * normals @ (_KEY / np.linalg.norm(_KEY)), 0.0, 1.0)
    luma = soften(warp(layers.luma, dy, dx), 1.5 * unit)
    around = soften(luma, 7 * unit)
    cavity = np.clip(inner_distance(parts) / (2.5 * unit), 0.0, 1.0)
    light = (0.36 + 0.92 * diffuse**1.4) * np.clip(luma / (around + 0.05), 0.75, 1.2)
    body = tint * (light * (0.74 + 0.26 * cavity))[..., None]
    return mix(_slab(layers, rng), body, soften(mask, 0.5 * unit))


def _relief(layers: Layers, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return height of lumps, pits and thumb prints in pixels."""
    unit, shape = layers.unit, layers.shape
    height = 0.55 * unit * noise(shape, 9 * unit, rng) + 0.16 * unit * noise(shape, 3 * unit, rng)
    inside = np.argwhere(parts > 0)
    if len(inside) == 0:
        return height
    ys, xs = np.indices(shape)
    for y, x in inside[rng.integers(0, len(inside), 6)]:
        turn, radius = rng.uniform(0, np.pi), rng.uniform(6, 9) * unit
        u = (xs - x) * np.cos(turn) + (ys - y) * np.sin(turn)
        v = (ys - y) * np.cos(turn) - (xs - x) * np.sin(turn)
        bow = np.hypot(u, 0.55 * (v + 0.7 * radius))  # ridges bow around a core off the centre
        ridges = np.sin(bow * (2.0 * np.pi / (2.2 * unit)))
        height += 0.13 * unit * ridges * step(np.hypot(1.3 * u, v), radius, 0.5 * radius)
    return height


def _slab(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return a plain table of the backdrop's lightness with the object's soft shadow."""
    unit, shape = layers.unit, layers.shape
    shade = calm(layers, 3 * unit)
    luma = np.where(layers.mask, float(np.median(layers.luma)), luminance(shade))
    luma = soften(luma, 1.5 * unit)
    hand = 1.0 + 0.02 * cloud(shape, 16 * unit, rng) + 0.012 * noise(shape, 1.5 * unit, rng)
    return _TABLE * (0.62 + 0.62 * luma)[..., None] * hand[..., None]


def low_poly(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return flat triangles whose corners sit on part borders, creases and depth steps."""
    unit, (height, width) = layers.unit, layers.shape
    corners = _mesh_corners(layers, rng)
    ys, xs = np.mgrid[0:height, 0:width]
    pixels = np.stack([xs.ravel(), ys.ravel()], axis=1) + 0.5
    mesh = Delaunay(corners)
    facet = mesh.find_simplex(pixels)
    group = facet * (int(layers.parts.max()) + 1) + layers.parts.ravel()
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    flat = _means(layers.colour.reshape(-1, 3), index, counts)
    size = np.bincount(facet[facet >= 0], minlength=len(mesh.simplices))
    lively = np.where(
        np.bincount(facet[facet >= 0], layers.mask.ravel()[facet >= 0], len(size)) > 0.5 * size,
        0.085,
        0.035,
    )
    tilt = lively * rng.normal(0.0, 1.0, len(size)) * (size > 2)
    shaded = flat[index] * (1.0 + tilt[facet])[:, None]
    picture = saturate(shaded.reshape(height, width, 3), 1.15)
    return soften(np.clip(1.04 * picture, 0.0, 1.0), 0.3 * unit)


def _means(values: np.ndarray, index: np.ndarray, counts: np.ndarray) -> np.ndarray:
    columns = [np.bincount(index, values[:, c]) / counts for c in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _mesh_corners(layers: Layers, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Return sparse points on lines, sparser ones inside, few on the backdrop; spread evenly."""
    unit, (height, width) = layers.unit, layers.shape
    frame = np.linspace(0.0, 1.0, 6)
    rim = [(x, y) for x in frame for y in frame if x in (0.0, 1.0) or y in (0.0, 1.0)]
    chosen = [np.array(rim) * (width, height)]
    lines = np.argwhere(edges(layers) > 0.3)[:, ::-1] + 0.5
    inside = np.argwhere(layers.mask)[:, ::-1] + 0.5
    outside = np.argwhere(~layers.mask)[:, ::-1] + 0.5
    for points, apart in ((lines, 6.5 * unit), (inside, 10.5 * unit), (outside, 19.0 * unit)):
        chosen.append(_spread(points, apart, np.vstack(chosen), rng))
    return np.vstack(chosen) + rng.normal(0.0, 1e-3, (sum(map(len, chosen)), 2))


def _spread(
    points: np.ndarray, apart: float, taken: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return random points no nearer than `apart` to one another and to those taken."""
    if len(points) == 0:
        return np.empty((0, 2))
    points = points[rng.permutation(len(points))[:1500]]
    away, _ = KDTree(taken).query(points)
    points = points[away > apart]
    kept = np.empty((0, 2))
    for point in points:
        if not len(kept) or ((kept - point) ** 2).sum(1).min() > apart * apart:
            kept = np.vstack([kept, point])
    return kept


def night(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return a moonlit blue picture with a warm pool of lamp light from one side and its glow."""
    unit, (height, width) = layers.unit, layers.shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) / height
    side = -1.0 if rng.random() < 0.5 else 1.0
    lamp_x, lamp_y = 0.5 + side * rng.uniform(0.26, 0.36), rng.uniform(0.14, 0.26)
    away = np.hypot(xs - lamp_x, (ys - lamp_y) * 0.8)
    towards = np.stack([lamp_x - xs, ys - lamp_y, np.full_like(xs, 0.35)], axis=-1)
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    facing = np.clip((layers.normals * towards).sum(-1), 0.0, 1.0)
    facing = np.where(layers.mask, 0.25 + 0.9 * facing, 0.42)
    pool = facing * np.exp(-((away / 0.48) ** 2)) * 1.6
    grey = luminance(layers.colour)[..., None]
    pale = mix(layers.colour, grey * np.ones(3, np.float32), 0.6)
    rim = step(-side * layers.normals[..., 0], 0.55, 0.95) * layers.mask
    picture = (
        pale * _MOON * np.where(layers.mask, 1.6, 1.0)[..., None] + (0.30 * rim)[..., None] * _MOON
    )
    picture = picture + layers.colour**1.2 * _LAMP * pool[..., None]
    halo = np.exp(-((away / 0.10) ** 2)) + 0.30 * np.exp(-((away / 0.22) ** 2))
    veil = np.where(layers.mask, 0.2, 0.6)
    picture = picture + _LAMP**1.6 * (0.8 * halo * veil)[..., None]
    bloom = soften(np.clip(picture - 0.6, 0.0, 1.0), 4 * unit)
    vignette = 1.0 - 0.7 * np.clip(np.hypot(xs - 0.5, ys - 0.5) - 0.22, 0.0, 1.0)
    grain = 0.012 * noise(layers.shape, 1.0, rng)
    return (picture + 0.4 * bloom) * vignette[..., None] + grain[..., None]


def halftone(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return a risograph print in two inks: dot screens at two angles, slightly out of register."""
    unit, shape = layers.unit, layers.shape
    colour = calm(layers, 0.6 * unit)
    luma = luminance(colour)
    warmth = np.clip(0.5 + 1.6 * (colour[..., 0] - colour[..., 2]), 0.0, 1.0)
    dark = np.clip(1.05 - luma**0.8, 0.0, 1.0)
    dark = np.where(layers.mask, 0.10 + 0.90 * dark, 0.22 * step(dark, 0.35, 1.0))
    coral = np.clip(dark * (0.35 + 1.0 * warmth) + 0.10 * layers.mask, 0.0, 1.0)
    teal = np.clip(dark * (1.25 - 0.8 * warmth), 0.0, 1.0)
    teal = np.maximum(teal, 0.9 * edges(layers) * layers.mask)
    slip = rng.normal(0.0, 0.9 * unit, 2)
    coral = warp(coral, np.full(shape, slip[0]), np.full(shape, slip[1]))
    first = _screen(coral, np.radians(22.0), 3.6 * unit, rng)
    second = _screen(teal, np.radians(67.0), 3.6 * unit, rng)
    worn = np.clip(1.0 - 0.10 * np.abs(noise(shape, 1.2 * unit, rng)), 0.0, 1.0)
    picture = _RISO_PAPER * mix(np.ones_like(_RISO_PAPER), _RISO_CORAL, first * worn)
    return picture * mix(np.ones_like(_RISO_PAPER), _RISO_TEAL, second * worn)


def _screen(
    amount: np.ndarray, angle: float, pitch_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Return dots that grow with the amount of ink; full cover near 1."""
    ys, xs = np.indices(amount.shape) + rng.uniform(0, pitch_px, 2)[:, None, None]
    u = (xs * np.cos(angle) + ys * np.sin(angle)) * (2.0 * np.pi / pitch_px)
    v = (ys * np.cos(angle) - xs * np.sin(angle)) * (2.0 * np.pi / pitch_px)
    cell = 0.5 + 0.25 * (np.cos(u) + np.cos(v))
    soft = 1.1 / pitch_px
    return step(cell - (1.0 - 1.05 * np.clip(amount, 0.0, 1.0)), -soft, soft)


def mosaic(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return small glazed tiles that keep to their part, with grout between and a lit bevel."""
    unit, (height, width) = layers.unit, layers.shape
    tile = 5.0 * unit
    pixels = np.argwhere(np.ones((height, width), bool))[:, ::-1] + 0.5
    owner, centres, gap = _lay_tiles(layers, tile, rng)
    flat = _means(layers.colour.reshape(-1, 3), owner, np.bincount(owner, minlength=len(centres)))
    flat = saturate(flat[None], 1.3)[0] * (1.0 + rng.normal(0.0, 0.06, (len(flat), 1)))
    offset = (pixels - centres[owner]).reshape(height, width, 2) / tile
    bevel = np.clip(-offset.sum(-1), -0.7, 0.7) * step(gap, 2.2 * unit, 0.5 * unit)
    glaze = 1.0 + 0.42 * bevel + 0.02 * noise((height, width), 1.5 * unit, rng)
    tiles = np.clip(flat[owner].reshape(height, width, 3) * 1.12 * glaze[..., None], 0.0, 1.0)
    grout = mix(np.broadcast_to(_GROUT, tiles.shape), tiles, 0.6)
    return mix(tiles, grout, step(gap, 0.95 * unit, 0.35 * unit))


def _lay_tiles(
    layers: Layers, tile: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each pixel's owner, centres (n, 2) x and y, and each pixel's distance to its edge."""
    height, width = layers.shape
    ys, xs = np.mgrid[0.5 * tile : height : tile, 0.5 * tile : width : tile]
    grid = np.stack([xs.ravel(), ys.ravel()], axis=1)
    grid = np.clip(grid + rng.uniform(-0.12, 0.12, grid.shape) * tile, 0, (width - 1, height - 1))
    below = layers.parts[tuple(grid[:, ::-1].astype(int).T)]
    owner = np.zeros((height, width), np.int64)
    centres: list[np.ndarray] = []
    for part in np.unique(layers.parts):
        here = np.argwhere(layers.parts == part)
        positions = here[:, ::-1] + 0.5
        laid = grid[below == part]
        laid = (
            np.vstack([laid, _spread(positions, 0.95 * tile, laid, rng)])
            if len(laid)
            else _spread(positions, 0.95 * tile, np.full((1, 2), -1e3), rng)
        )
        _, nearest = KDTree(laid).query(positions, p=4)  # a high norm makes squarer tiles
        owner[tuple(here.T)] = nearest + sum(map(len, centres))
        centres.append(laid)
    return owner.ravel(), np.vstack(centres), inner_distance(owner, is_two_sided=False)
