"""Shared steps of the picture domains: layers of a render, noise, paper and line work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt, gaussian_filter

if TYPE_CHECKING:
    from assets.catalogue.render import Render

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layers:
    """A render taken apart.

    Attributes:
        colour: sRGB in [0, 1].
        luma: weighted sum of the channels, in [0, 1].
        parts: part ids, 0 is the backdrop.
        mask: where a part is visible.
        depth: 0 nearest to 1 farthest point of the object; 1 on the backdrop.
        normals: camera space, x right, y up, z towards the eye; 0 on the backdrop.
        unit: pixels per 1/128 of the side, so that media look alike at every size.
    """

    colour: Float[np.ndarray, "h w 3"]
    luma: Float[np.ndarray, "h w"]
    parts: Int[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    unit: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.luma.shape[0], self.luma.shape[1]


def layers_of(render: Render) -> Layers:
    """Take a render apart.

    Raises:
        ValueError: if image and buffers differ in size.
    """
    image, buffers = render.image, render.buffers
    if image.shape[:2] != buffers.part_ids.shape:
        raise ValueError(
            f"`image` must have the size of its buffers {buffers.part_ids.shape}, "
            f"got {image.shape[:2]}."
        )
    colour = image.astype(np.float32) / 255.0
    mask = buffers.part_ids > 0
    depth = np.ones(mask.shape, np.float32)
    if mask.any():
        near, far = float(buffers.depth[mask].min()), float(buffers.depth[mask].max())
        depth[mask] = (buffers.depth[mask] - near) / max(far - near, 1e-6)
    return Layers(
        colour=colour,
        luma=colour @ _LUMA,
        parts=buffers.part_ids.astype(np.int64),
        mask=mask,
        depth=depth,
        normals=buffers.normals.astype(np.float32),
        unit=image.shape[0] / 128.0,
    )


def luminance(colour: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Return weighted sum of the channels."""
    return colour @ _LUMA


def mix(
    start: Float[np.ndarray, ...], end: Float[np.ndarray, ...], amount: np.ndarray | float
) -> np.ndarray:
    """Fade from `one` to `two`; an (h, w) amount spreads over the channels."""
    share = np.asarray(amount, np.float32)
    share = share[..., None] if share.ndim == 2 else share
    return start + share * (end - start)


def step(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Return smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def saturate(colour: Float[np.ndarray, "*n 3"], amount: float) -> Float[np.ndarray, "*n 3"]:
    """Scale the distance from grey; 1 changes nothing."""
    grey = luminance(colour)[..., None]
    return np.clip(grey + amount * (colour - grey), 0.0, 1.0)


def noise(
    shape: tuple[int, int], wavelength_px: float, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """Return smooth noise of zero mean and unit spread."""
    if wavelength_px <= 4.0:
        field = gaussian_filter(rng.normal(0.0, 1.0, shape), wavelength_px / 4.0, mode="wrap")
    else:
        grid = rng.normal(0.0, 1.0, [int(n / wavelength_px) + 5 for n in shape])
        rows, cols = (_spline(n, m, wavelength_px) for n, m in zip(shape, grid.shape, strict=True))
        field = rows @ grid @ cols.T
    return ((field - field.mean()) / (field.std() + 1e-9)).astype(np.float32)


def cloud(
    shape: tuple[int, int], wavelength_px: float, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """Return fractal noise of three octaves, unit spread."""
    field = sum(0.55**k * noise(shape, wavelength_px / 2.1**k, rng) for k in range(3))
    field = np.asarray(field, np.float32)
    return field / (field.std() + 1e-9)


def warp(image: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Read an image at displaced positions: labels (integers) the nearest, values in between."""
    height, width = dy.shape
    ys, xs = np.indices(dy.shape, np.float32)
    ys = np.clip(ys + dy, 0, height - 1.001)
    xs = np.clip(xs + dx, 0, width - 1.001)
    flat = image.reshape(height * width, -1)
    if np.issubdtype(image.dtype, np.integer):
        position = np.rint(ys).astype(np.int64) * width + np.rint(xs).astype(np.int64)
        return flat[position.ravel()].reshape(image.shape)
    top, left = ys.astype(np.int64), xs.astype(np.int64)
    position = (top * width + left).ravel()
    v, u = ((at - whole).reshape(-1, 1).astype(np.float32) for at, whole in ((ys, top), (xs, left)))
    upper = flat[position] * (1 - u) + flat[position + 1] * u
    lower = flat[position + width] * (1 - u) + flat[position + width + 1] * u
    return (upper * (1 - v) + lower * v).reshape(image.shape)


def soften(field: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return gaussian blur of an (h, w) or (h, w, c) field; wide ones work on a coarser grid."""
    coarse = int(sigma_px / 2.5)
    if coarse < 2:
        sigma = (sigma_px, sigma_px, 0)[: field.ndim]
        return gaussian_filter(field, sigma, truncate=2.5, mode="nearest")
    height, width = field.shape[:2]
    pad = [(0, -height % coarse), (0, -width % coarse), (0, 0)][: field.ndim]
    padded = np.pad(field.astype(np.float32), pad, mode="edge")
    blocks = padded.reshape(len(padded) // coarse, coarse, -1, coarse, *field.shape[2:])
    small = soften(blocks.mean((1, 3)), sigma_px / coarse)
    rows, cols = (_linear(n, m, coarse) for n, m in ((height, len(small)), (width, small.shape[1])))
    return np.einsum("yi,ij...->yj...", rows, np.einsum("xj,ij...->ix...", cols, small))


def calm(layers: Layers, sigma_px: float) -> Float[np.ndarray, "h w 3"]:
    """Blur colour inside each part, never across a part border."""
    smooth = layers.colour.copy()
    for part in np.unique(layers.parts):
        here = layers.parts == part
        rows, cols = (np.flatnonzero(here.any(axis)) for axis in (1, 0))
        window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        inside = here[window][..., None].astype(np.float32)
        held = np.concatenate([layers.colour[window] * inside, inside], axis=-1)
        blurred = soften(held, sigma_px)
        means = blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-6)
        smooth[window] = np.where(inside > 0, means, smooth[window])
    return smooth


def edges(layers: Layers, *, crease_degrees: float = 28.0) -> Float[np.ndarray, "h w"]:
    """One pixel wide lines: 1 at outlines, 0.85 at borders and depth steps, less at creases."""
    height, width = layers.shape
    lines = np.zeros((height, width), np.float32)
    for dy, dx in ((1, 0), (0, 1)):
        here, there = np.s_[: height - dy, : width - dx], np.s_[dy:, dx:]
        outline = layers.mask[here] != layers.mask[there]
        border = layers.parts[here] != layers.parts[there]
        border |= np.abs(layers.depth[here] - layers.depth[there]) > 0.09
        cosine = (layers.normals[here] * layers.normals[there]).sum(-1)
        inside = layers.mask[here] & layers.mask[there]
        angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
        crease = 0.7 * step(angle, crease_degrees - 8.0, crease_degrees + 14.0) * inside
        line = np.maximum(np.where(outline, 1.0, np.where(border, 0.85, 0.0)), crease)
        lines[here] = np.maximum(lines[here], line)
    return lines


def thicken(lines: Float[np.ndarray, "h w"], width_px: float) -> Float[np.ndarray, "h w"]:
    """Widen one pixel wide lines to an antialiased width."""
    if width_px <= 1.0:
        return np.clip(gaussian_filter(lines, 0.45) * (1.2 + width_px), 0.0, 1.0)
    away = np.asarray(distance_transform_edt(lines < 0.3), np.float32)
    return np.clip(0.5 * width_px - away + 0.5, 0.0, 1.0)


def inner_distance(
    labels: Int[np.ndarray, "h w"], *, is_two_sided: bool = True
) -> Float[np.ndarray, "h w"]:
    """Return distance in pixels to the nearest border of labels, 0 at the pixels beside it.

    Args:
        labels: any integers.
        is_two_sided: whether the pixels on both sides of a border count as it, or on one only.
    """
    border = np.zeros(labels.shape, bool)
    across, below = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    border[:, 1:] |= across
    border[1:] |= below
    if is_two_sided:
        border[:, :-1] |= across
        border[:-1] |= below
    return np.asarray(distance_transform_edt(~border), np.float32)


def flow_noise(
    angle: Float[np.ndarray, "h w"], length_px: float, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """Return white noise smeared along a direction field: the grain of pencil strokes, unit spread.

    Source: Cabral and Leedom, Imaging vector fields using line integral convolution, 1993.
    """
    height, width = angle.shape
    grain = rng.normal(0.0, 1.0, angle.shape).astype(np.float32)
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    ys, xs = np.indices(angle.shape, np.float32)
    total = grain.copy()
    for reach in range(1, round(length_px / 2.0) + 1):
        for way in (-reach, reach):
            rows = np.clip(np.rint(ys + way * sin), 0, height - 1).astype(np.int32)
            cols = np.clip(np.rint(xs + way * cos), 0, width - 1).astype(np.int32)
            total += grain[rows, cols]
    return total / (total.std() + 1e-9)


def to_bytes(colour: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    """Colour in [0, 1], clipped, as uint8."""
    return np.rint(255.0 * np.clip(colour, 0.0, 1.0)).astype(np.uint8)


def _spline(num: int, num_knots: int, wavelength_px: float) -> Float[np.ndarray, "n m"]:
    """Return cubic B-spline weights that spread a coarse grid over `num` pixels."""
    position = np.arange(num) / wavelength_px + 1.5
    t = np.abs(position[:, None] - np.arange(num_knots)[None])
    near = 2.0 / 3.0 - t**2 + 0.5 * t**3
    return np.where(t < 1.0, near, np.where(t < 2.0, np.clip(2.0 - t, 0.0, None) ** 3 / 6.0, 0.0))


def _linear(num: int, num_blocks: int, size: int) -> Float[np.ndarray, "n m"]:
    """Return weights that spread the means of blocks over `num` pixels."""
    position = np.clip((np.arange(num) + 0.5) / size - 0.5, 0, num_blocks - 1)
    away = np.abs(position[:, None] - np.arange(num_blocks)[None])
    return np.clip(1.0 - away, 0.0, None).astype(np.float32)
