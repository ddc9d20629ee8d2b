"""Where the strokes of a drawing lie on a grid, and where they land on a picture."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from composer.sketch import FILL, Sketch

_SHARPNESS = 20.0  # of the match of a drawing's patches, a factor of cosines
_SCALES = (0.25, 2.0)  # a picture's object against the drawing
_SAMPLES = 256  # points along a stroke


def stroke_cells(sketch: Sketch, grid: tuple[int, int]) -> Float[Tensor, "s p"]:
    """Share of each stroke in each cell of the framed drawing, row by row; rows sum to 1.

    Raises:
        ValueError: The sketch is a raster.
    """
    if sketch.strokes is None:
        raise ValueError("Cells of strokes need a sketch of strokes, got a raster.")
    points = np.concatenate([stroke[:, :2] for stroke in sketch.strokes])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = FILL / extent if extent > 0 else 1.0  # a single dot keeps its size, as when drawn
    framed = [(s[:, :2] - (low + high) / 2) * scale + 0.5 for s in sketch.strokes]
    return torch.from_numpy(np.stack([path_cells(path, grid) for path in framed]))


def path_cells(path: Float[np.ndarray, "n 2"], grid: tuple[int, int]) -> Float32[np.ndarray, " p"]:
    """Share of a path of (x, y) in the unit square in each cell of a grid, row by row; sums to 1.

    What lies outside the square counts for the nearest cell.
    """
    steps = np.diff(path.astype(float), axis=0)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    wanted = np.linspace(0, along[-1], _SAMPLES)
    x, y = (np.interp(wanted, along, path[:, axis]) for axis in (0, 1))
    rows, columns = grid
    row = np.clip((y * rows).astype(int), 0, rows - 1)
    column = np.clip((x * columns).astype(int), 0, columns - 1)
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    return (counts / _SAMPLES).astype(np.float32)


def grid_places(grid: tuple[int, int]) -> Float[Tensor, "p 2"]:
    """(row, column) of each cell, row by row."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([rows, columns], dim=-1).reshape(math.prod(grid), 2).float()


def land(
    ink: Float[Tensor, "s p"], alike: Float[Tensor, "p p"], places: Float[Tensor, "p 2"]
) -> Float[Tensor, "s 2"]:
    """Where the strokes lie on the picture: one scale and one shift for the whole drawing.

    Both are the least squares over the inked cells, each drawn to where its softmax matches lie
    and weighted by its ink and by how sharp the match is.

    Args:
        ink: Share of each stroke in each cell of the drawing; rows sum to 1.
        alike: Cosine of each cell of the drawing to each of the picture.
        places: (row, column) of the cells.
    """
    match = (alike * _SHARPNESS).softmax(dim=-1)
    weight = ink.sum(dim=0) * match.amax(dim=-1)
    weight = (weight / weight.sum())[:, None]
    goals = match @ places
    from_mean, goal_mean = (weight * places).sum(dim=0), (weight * goals).sum(dim=0)
    spread = (weight * (places - from_mean).square()).sum()
    joint = (weight * (places - from_mean) * (goals - goal_mean)).sum()
    scale = (joint / spread).clamp(*_SCALES) if spread > 0 else torch.ones_like(joint)
    return (ink @ places - from_mean) * scale + goal_mean
