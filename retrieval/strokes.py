"""Strokes of a drawing on a grid of cells, and their alignment with a picture."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from composer.sketch import FILL, Sketch

_SHARPNESS = 20.0  # factor of cosines in the softmax over patches of the picture
_SCALES = (0.25, 2.0)  # limits on the size of the object relative to the drawing
_SAMPLES = 256  # points along a stroke


def stroke_cells(sketch: Sketch, grid: tuple[int, int]) -> Float[Tensor, "s p"]:
    """Return the share of each stroke in each cell of the framed drawing; rows sum to 1.

    Raises:
        ValueError: The sketch is a raster.
    """
    if sketch.strokes is None:
        raise ValueError("Cells of strokes need a sketch of strokes, got a raster.")
    points = np.concatenate([stroke[:, :2] for stroke in sketch.strokes])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = FILL / extent if extent > 0 else 1.0  # a single dot keeps its size
    framed = [(s[:, :2] - (low + high) / 2) * scale + 0.5 for s in sketch.strokes]
    return torch.from_numpy(np.stack([path_cells(path, grid) for path in framed]))


def path_cells(path: Float[np.ndarray, "n 2"], grid: tuple[int, int]) -> Float32[np.ndarray, " p"]:
    """Return the share of a path in each cell of a grid, row by row; the sum is 1.

    Args:
        path: Points (x, y) in the unit square; points outside it count for the nearest cell.
        grid: Numbers of rows and columns.
    """
    steps = np.diff(path.astype(float), axis=0)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    samples = np.linspace(0, along[-1], _SAMPLES)
    x, y = (np.interp(samples, along, path[:, axis]) for axis in (0, 1))
    rows, columns = grid
    row = np.clip((y * rows).astype(int), 0, rows - 1)
    column = np.clip((x * columns).astype(int), 0, columns - 1)
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    return (counts / _SAMPLES).astype(np.float32)


def grid_positions(grid: tuple[int, int]) -> Float[Tensor, "p 2"]:
    """Return (row, column) of each cell, row by row."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([rows, columns], dim=-1).reshape(math.prod(grid), 2).float()


def align_strokes(
    ink: Float[Tensor, "s p"], alike: Float[Tensor, "p p"], positions: Float[Tensor, "p 2"]
) -> Float[Tensor, "s 2"]:
    """Return the position of each stroke on the picture, under one scale and shift for all.

    Scale and shift are the least-squares fit over the inked cells. The goal of a cell is the mean
    position of its softmax matches; its weight is its ink times the largest match.

    Args:
        ink: Share of each stroke in each cell of the drawing; rows sum to 1.
        alike: Cosine of each cell of the drawing with each cell of the picture.
        positions: (row, column) of the cells.
    """
    match = (alike * _SHARPNESS).softmax(dim=-1)
    weight = ink.sum(dim=0) * match.amax(dim=-1)
    weight = (weight / weight.sum())[:, None]
    goals = match @ positions
    from_mean, goal_mean = (weight * positions).sum(dim=0), (weight * goals).sum(dim=0)
    spread = (weight * (positions - from_mean).square()).sum()
    joint = (weight * (positions - from_mean) * (goals - goal_mean)).sum()
    scale = (joint / spread).clamp(*_SCALES) if spread > 0 else torch.ones_like(joint)
    return (ink @ positions - from_mean) * scale + goal_mean
