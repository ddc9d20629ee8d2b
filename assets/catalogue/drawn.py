"""Domains made with brush, pencil and ink."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from assets.catalogue.media import (
    Layers,
    calm,
    cloud,
    edges,
    flow_noise,
    inner_distance,
    luminance,
    mix,
    noise,
    saturate,
    soften,
    step,
    thicken,
    warp,
)

Picture = Float[np.ndarray, "h w 3"]

_PAPER = np.array([0.965, 0.945, 0.905], np.float32)
_SKETCH_PAPER = np.array([0.945, 0.94, 0.925], np.float32)
_GRAPHITE = np.array([0.20, 0.20, 0.22], np.float32)
_INK = np.array([0.10, 0.08, 0.12], np.float32)
_BLUE = np.array([0.09, 0.25, 0.53], np.float32)
_CHALK = np.array([0.90, 0.95, 1.0], np.float32)


def watercolour(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return uneven washes with pigment at their edges, bleeding into white grained paper."""
    unit, shape = layers.unit, layers.shape
    dy, dx = (
        0.75 * unit * noise(shape, 16 * unit, rng) + 0.3 * unit * noise(shape, 4.5 * unit, rng)
        for _ in range(2)
    )
    parts = warp(layers.parts, dy, dx)
    colour = warp(calm(layers, 1.3 * unit), dy, dx)
    grain = 0.7 * noise(shape, 2.2 * unit, rng) + 0.5 * noise(shape, 1.0 * unit, rng)
    wash = cloud(shape, 26 * unit, rng)
    rim = np.exp(-inner_distance(parts) / (1.1 * unit))
    pools = np.exp(-((np.abs(wash - 0.5) * 7.0) ** 2))  # backruns: rims where a wash dried late
    inside = (parts > 0).astype(np.float32)
    density = 0.88 + 0.16 * wash + 0.55 * rim + 0.16 * pools + 0.07 * grain
    pigment = np.clip(saturate(colour, 1.35) * 1.12 + 0.05, 0.02, 1.0)
    painted = _PAPER * pigment ** (np.clip(density, 0.45, 1.7)[..., None])
    sky = _backwash(layers, colour, rng)
    bleed = soften(inside, 1.8 * unit) * step(cloud(shape, 20 * unit, rng), 0.5, 1.6)
    soft = soften(painted * inside[..., None], 2 * unit)
    soft /= soften(inside, 2 * unit)[..., None] + 0.05
    ground = mix(sky, soft * sky, 0.75 * bleed)
    edge = np.clip(soften(inside, 0.45 * unit), 0.0, 1.0)
    picture = mix(ground, painted, edge)
    lit = soften(grain, 0.5 * unit) - np.roll(grain, 1, (0, 1))
    return picture * (1.0 + 0.014 * lit + 0.012 * grain)[..., None]


def _backwash(layers: Layers, colour: Picture, rng: np.random.Generator) -> Picture:
    """Return a thin loose wash of the backdrop's colour around the object, paper beyond it."""
    unit, shape = layers.unit, layers.shape
    near = soften(layers.mask.astype(np.float32), 14 * unit)
    field = near / (near.max() + 1e-6) + 0.16 * cloud(shape, 30 * unit, rng)
    amount = step(field, 0.30, 0.38)
    rim = np.exp(-(((field - 0.35) / 0.03) ** 2))
    back = colour[~layers.mask].mean(0) if not layers.mask.all() else _PAPER
    tint = _pastel(back, 0.95, 0.42)
    shade = np.clip(luminance(colour) / max(float(luminance(back[None])[0]), 0.05), 0.45, 1.1)
    shade = np.where(layers.mask, 1.0, shade)
    strength = 0.65 * amount + 0.2 * rim
    return _PAPER * (mix(np.ones_like(_PAPER), tint, strength) * (0.3 + 0.7 * shade)[..., None])


def _pastel(colour: Float[np.ndarray, " c"], light: float, most_chroma: float) -> np.ndarray:
    """Return the hue of a colour at a given lightness, its chroma lifted but held in bounds."""
    low, high = float(colour.min()), float(colour.max())
    chroma = min(3.0 * (high - low) / max(high, 1e-3), 1.0) * most_chroma
    hue = (colour - low) / max(high - low, 1e-3)
    return (light - chroma * (1.0 - hue)).astype(np.float32)


def pencil(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return graphite hatching along the form, crossed where it is dark, on grained paper."""
    unit, shape = layers.unit, layers.shape
    tone = _tone(layers)
    facing = soften(layers.normals, 1.8 * unit)  # strokes run on over small relief
    tilt = np.hypot(facing[..., 0], facing[..., 1])
    around = np.arctan2(facing[..., 0], facing[..., 1])  # along the form's rings
    slant = np.radians(-52.0 + 6.0 * noise(shape, 40 * unit, rng))
    angle = np.where(layers.mask & (tilt > 0.35), around, slant)
    tooth = noise(shape, 1.2 * unit, rng)
    layer = flow_noise(angle, 12 * unit, rng) + 0.3 * tooth
    cross = flow_noise(slant + np.radians(75.0), 9 * unit, rng) + 0.3 * tooth
    dark = 1.0 - tone
    ink = 0.42 * step(layer, 1.2 - 3.0 * dark, 4.0 - 3.0 * dark)
    ink += 0.30 * step(cross, 2.4 - 3.2 * dark, 4.6 - 3.2 * dark)
    ink += (0.14 + 0.42 * dark) * dark * (1.0 + 0.22 * tooth)
    ink *= np.where(layers.mask, 1.0, 0.8)
    lines = edges(layers)
    for _ in range(2):
        dy, dx = (0.7 * unit * noise(shape, 18 * unit, rng) for _ in range(2))
        pressure = np.clip(0.72 + 0.16 * noise(shape, 12 * unit, rng), 0.3, 1.0)
        ink = np.maximum(ink, pressure * warp(thicken(lines, 1.0 * unit), dy, dx))
    ink = np.clip(ink, 0.0, 1.0) * np.clip(0.93 + 0.12 * tooth, 0.4, 1.15)
    paper = _SKETCH_PAPER * (1.0 + 0.012 * tooth)[..., None]
    return mix(paper, np.broadcast_to(_GRAPHITE, paper.shape), np.clip(ink, 0.0, 0.94))


def _tone(layers: Layers) -> Float[np.ndarray, "h w"]:
    """Return tones as a draughtsman sets them: stretched on the object, pale on the backdrop."""
    luma = luminance(calm(layers, 1.0 * layers.unit))
    if not layers.mask.any() or layers.mask.all():
        return luma
    low, high = np.quantile(luma[layers.mask], [0.03, 0.97])
    spread = max(float(high - low), 0.12)
    inside = 0.13 + 0.80 * np.clip((luma - low) / spread, 0.0, 1.0)
    inside = mix(inside, 0.15 + 0.8 * luma, 0.45)
    back = float(np.median(luma[~layers.mask]))
    shadow = np.clip((back - luma) / max(back, 0.1), 0.0, 1.0)
    return np.where(layers.mask, inside, 1.0 - 0.8 * step(shadow, 0.10, 0.5))


def cartoon(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return flat clean colours in three soft cel steps, ink outlines, a flat bright backdrop."""
    unit = layers.unit
    colour = calm(layers, 1.0 * unit)
    flat = np.empty_like(colour)
    for part in np.unique(layers.parts[layers.mask]):
        here = layers.parts == part
        flat[here] = _cels(colour[here])
    flat[~layers.mask] = _flat_backdrop(layers, rng)[~layers.mask]
    flat = np.clip(soften(flat, 0.35 * unit), 0.0, 1.0)
    lines = edges(layers, crease_degrees=40.0)
    outline = thicken(np.where(lines >= 1.0, lines, 0.0), 1.9 * unit)
    inner = thicken(np.where((lines > 0.4) & (lines < 1.0), lines, 0.0), 1.3 * unit)
    ink = np.maximum(outline, 0.9 * inner)
    return mix(flat, np.broadcast_to(_INK, flat.shape), ink)


def _cels(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return three steps of light in the colour's hue; two-coloured patterns stay distinct."""
    luma = luminance(colours)
    middle = max(float(np.median(luma)), 0.04)
    ratio = luma / middle
    soft = 0.62 + 0.38 * step(ratio, 0.62, 0.74) + 0.30 * step(ratio, 1.28, 1.42)
    level = np.where((ratio < 0.35) | (ratio > 1.9), ratio, soft)
    hue = colours / np.maximum(luma, 0.03)[:, None]
    lifted = middle**0.85 * 1.05
    return np.clip(saturate((hue * (level * lifted)[:, None])[None], 1.45)[0], 0.0, 1.0)


def _flat_backdrop(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return two flat tones of the backdrop's hue parted by a bow, and a flat cast shadow."""
    height, width = layers.shape
    back = layers.colour[~layers.mask].mean(0) if not layers.mask.all() else _PAPER
    tint = _pastel(back, 0.90, 0.26)
    ys, xs = np.mgrid[0:height, 0:width] / height
    bow = ys - rng.uniform(0.62, 0.74) - 0.12 * (xs - rng.uniform(0.3, 0.7)) ** 2
    picture = mix(np.broadcast_to(tint, (height, width, 3)), tint * 0.87, step(bow, 0.0, 0.012))
    luma = soften(layers.luma, 1.5 * layers.unit)
    shadow = step(luma / max(float(luminance(back[None])[0]), 0.05), 0.80, 0.72)
    return picture * (1.0 - 0.22 * shadow)[..., None]


def blueprint(layers: Layers, rng: np.random.Generator) -> Picture:
    """Return white construction lines on blue with a grid, centre lines and dimensions."""
    unit, shape = layers.unit, layers.shape
    stains = 1.0 + 0.06 * cloud(shape, 50 * unit, rng) + 0.02 * noise(shape, 1.5 * unit, rng)
    ground = _BLUE * stains[..., None]
    ys, xs = np.indices(shape) + rng.integers(0, round(16 * unit), 2)[:, None, None]
    pitch = max(round(8 * unit), 2)
    grid = 0.10 * ((ys % pitch == 0) | (xs % pitch == 0))
    grid = np.maximum(grid, 0.20 * ((ys % (4 * pitch) == 0) | (xs % (4 * pitch) == 0)))
    lines = edges(layers)
    shade = 0.16 * layers.mask * np.clip(1.0 - layers.luma, 0.0, 1.0)
    hatch = 0.5 + 0.5 * np.sin((ys + xs) * (2.0 * np.pi / (3.0 * unit)))
    drawn = np.maximum(thicken(lines, 1.0 * unit) * np.clip(lines + 0.35, 0.6, 1.0), shade * hatch)
    strong = thicken(np.where(lines >= 1.0, 1.0, 0.0).astype(np.float32), 1.25 * unit)
    chalk = np.clip(0.92 + 0.08 * noise(shape, 2 * unit, rng), 0.6, 1.0)
    ink = np.maximum(np.maximum(drawn, strong) * chalk, _dimensions(layers))
    return mix(ground, np.broadcast_to(_CHALK, ground.shape), np.maximum(grid, ink))


def _dimensions(layers: Layers) -> Float[np.ndarray, "h w"]:
    """Return dimension lines with ticks below and to the right, dash-dotted centre lines."""
    height, width = layers.shape
    sheet = np.zeros((height, width), np.float32)
    if not layers.mask.any():
        return sheet
    rows, cols = (np.flatnonzero(layers.mask.any(axis)) for axis in (1, 0))
    sheet = np.maximum(sheet, _dimension(layers, int(rows[-1]), int(cols[0]), int(cols[-1])))
    turned = _dimension_frame(layers)
    sheet = np.maximum(sheet, _dimension(turned, int(cols[-1]), int(rows[0]), int(rows[-1])).T)
    middle = (cols[0] + cols[-1]) // 2
    ys = np.arange(height)
    dash = (ys % round(10 * layers.unit) < 6 * layers.unit) & (ys > rows[0] - 6 * layers.unit)
    dash &= ys < rows[-1] + 4 * layers.unit
    sheet[:, middle] = np.maximum(sheet[:, middle], 0.45 * dash)
    return sheet


def _dimension_frame(layers: Layers) -> Layers:
    return Layers(
        colour=layers.colour.swapaxes(0, 1),
        luma=layers.luma.T,
        parts=layers.parts.T,
        mask=layers.mask.T,
        depth=layers.depth.T,
        normals=layers.normals.swapaxes(0, 1),
        unit=layers.unit,
    )


def _dimension(layers: Layers, base: int, low: int, high: int) -> Float[np.ndarray, "h w"]:
    """Return a horizontal dimension line under row `base` from column `low` to `high`."""
    unit, (height, width) = layers.unit, layers.shape
    sheet = np.zeros((height, width), np.float32)
    pen = max(round(0.6 * unit), 1)
    row = int(min(base + 6 * unit, height - 2 - pen))
    top, bottom = int(min(base + 2 * unit, row)), int(min(row + 2 * unit, height - 1))
    sheet[row : row + pen, low : high + 1] = 0.75
    for column in (low, high):
        sheet[top : bottom + 1, column : column + pen] = 0.6
        for k in np.arange(-2.5 * unit, 2.5 * unit + 1):  # the slanted tick of a drawing office
            y, x = round(float(row - k)), round(float(column + k))
            if 0 <= y < height and 0 <= x < width:
                sheet[y, x : x + pen] = 1.0
    return sheet
