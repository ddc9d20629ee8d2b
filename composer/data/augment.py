"""Augmentation of drawings and photos."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.sketch import Sketch, Stroke, rasterise


@dataclass(frozen=True, kw_only=True, slots=True)
class StrokeAugmentation:
    """How far a training drawing may differ from the original.

    Attributes:
        rotation_deg: Largest turn to either side.
        stretch: Largest relative change of the aspect.
        shear: Largest horizontal shear.
        jitter: Standard deviation of the smooth displacement, as a share of the canvas.
        drop: Largest probability with which a stroke is left out.
        line_fraction: Range of the line width, as a share of the side.
    """

    rotation_deg: float = 7.0
    stretch: float = 0.1
    shear: float = 0.08
    jitter: float = 0.006
    drop: float = 0.12
    line_fraction: tuple[float, float] = (0.010, 0.030)


DEFAULT = StrokeAugmentation()


def draw_augmented(
    sketch: Sketch,
    size_px: int,
    rng: np.random.Generator,
    settings: StrokeAugmentation = DEFAULT,
) -> UInt8[np.ndarray, "size size"]:
    """Rasterise a stroke sketch with random pose, wobble, missing strokes and pen.

    It is never mirrored, since left and right carry meaning.

    Raises:
        ValueError: The sketch is a raster.
    """
    if sketch.strokes is None:
        raise ValueError("Only sketches with strokes can be augmented.")
    kept = _drop_strokes(sketch.strokes, rng, settings.drop)
    matrix = _random_affine(rng, settings)
    moved = [_move(stroke, matrix, rng, settings.jitter) for stroke in kept]
    low, high = settings.line_fraction
    line_px = float(rng.uniform(low, high)) * size_px
    return rasterise(Sketch(strokes=tuple(moved)), size_px, line_px)


def turn_raster(
    ink: UInt8[np.ndarray, "h w"],
    rng: np.random.Generator,
    settings: StrokeAugmentation = DEFAULT,
) -> UInt8[np.ndarray, "h w"]:
    """Turn, stretch and shear a drawing that has no strokes, ink on white, about its middle."""
    inverse = np.linalg.inv(_random_affine(rng, settings))
    middle = np.array([ink.shape[1], ink.shape[0]]) / 2
    offset = middle - inverse @ middle
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    turned = Image.fromarray(ink).transform(
        (ink.shape[1], ink.shape[0]),
        Image.Transform.AFFINE,
        [float(c) for c in coefficients],
        Image.Resampling.BILINEAR,
        fillcolor=255,
    )
    return np.asarray(turned)


def crop_photos(
    images: UInt8[np.ndarray, "n h w 3"],
    size_px: int,
    rng: np.random.Generator,
    *,
    smallest: float = 0.8,
    mirrors: bool = True,
) -> Float[Tensor, "n 3 {size_px} {size_px}"]:
    """Cut a random part out of each picture and mirror half of them; levels in [0, 1].

    Args:
        images: RGB levels.
        size_px: Side of the result.
        rng: Of the draws.
        smallest: Least side of the part, as a share of the picture's.
        mirrors: Whether pictures may be mirrored.
    """
    count = len(images)
    scale = rng.uniform(smallest, 1.0, count)
    mirror = np.where(rng.random(count) < (0.5 if mirrors else 0.0), -1.0, 1.0)
    theta = np.zeros((count, 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
    theta[:, :, 2] = (1 - scale)[:, None] * rng.uniform(-1, 1, (count, 2))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    grid = functional.affine_grid(
        torch.from_numpy(theta), [count, 3, size_px, size_px], align_corners=False
    )
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _drop_strokes(
    strokes: tuple[Stroke, ...], rng: np.random.Generator, most: float
) -> list[Stroke]:
    keep = rng.random(len(strokes)) >= rng.uniform(0, most)
    # The longest stroke carries the drawing.
    keep[int(np.argmax([len(stroke) for stroke in strokes]))] = True
    return [stroke for stroke, is_kept in zip(strokes, keep, strict=True) if is_kept]


def _random_affine(rng: np.random.Generator, settings: StrokeAugmentation) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-settings.rotation_deg, settings.rotation_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag([1 + rng.uniform(-settings.stretch, settings.stretch), 1.0])
    shear = np.array([[1.0, rng.uniform(-settings.shear, settings.shear)], [0.0, 1.0]])
    return turn @ shear @ stretch


def _move(stroke: Stroke, matrix: np.ndarray, rng: np.random.Generator, jitter: float) -> Stroke:
    moved = stroke.copy()
    # A stroke shifts as a whole and bends towards its end, as a hand does.
    drift = np.linspace(0, 1, len(stroke))[:, None] * rng.normal(0, jitter, 2)
    points = (stroke[:, :2] - 0.5) @ matrix.T + rng.normal(0, jitter, 2) + drift
    moved[:, :2] = points.astype(np.float32)
    return moved
