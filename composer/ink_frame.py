"""The frame of a sheet in a photo, from which the sheet is turned upright."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.spatial import ConvexHull

from composer.masks import Mask

_LEAST_TURN = np.radians(0.5)  # less is left as it is
_MOST_TURN = np.radians(30.0)  # more could as well be the other way round
_MOST_SLANT = np.radians(25.0)  # of a side, under perspective
_NEAR_CORNER = 0.07  # of a side: a sheet that reaches the picture's corners was scanned
_MIDDLE = 0.2  # of a side is left out at each end, where corners are round
_CUT = 0.5  # of a side along the picture's border: it lies outside
_SQUARE: Final = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """Corners of a sheet, as fractions of the picture's sides; they may lie outside.

    Attributes:
        corners: (x, y) of top left, top right, bottom right and bottom left.
    """

    corners: Float[np.ndarray, "4 2"]

    def upright(self, picture: Image.Image, *, is_mask: bool = False) -> Image.Image:
        """Return the sheet of a picture, as large as it is there, upright and rectangular.

        Args:
            picture: The picture, at any size.
            is_mask: Whether levels must not be mixed.
        """
        corners = self.corners * picture.size
        sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
        width, height = (max(1, round(float(sides[n] + sides[n + 2]) / 2)) for n in (0, 1))
        method = Image.Resampling.NEAREST if is_mask else Image.Resampling.BICUBIC
        return picture.transform(
            (width, height),
            Image.Transform.PERSPECTIVE,
            _coefficients(_SQUARE * (width, height), corners),
            method,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Side:
    """A side of a sheet, in axes (u, v) that are turned nearly along the sides.

    Attributes:
        slope: Of v = slope * u + offset for top and bottom, u = slope * v + offset for the others.
        offset: Of the same.
        turn: Angle by which it is turned against the axes.
        is_cut: Whether it is the picture's border, beyond which the sheet goes on.
    """

    slope: float
    offset: float
    turn: float
    is_cut: bool


def frame_of(sheet: Mask) -> Frame | None:
    """Return the frame of a sheet; None where it is upright, or too oblique to tell.

    Where the picture's border cuts a side off, the other sides tell how far the sheet is turned.

    Args:
        sheet: Where it lies, in any number of cells.
    """
    rows, columns = np.nonzero(sheet)
    points = np.stack([columns, rows], axis=1) + 0.5
    turn = _turn_of(points)
    rotation = _rotation(turn)
    sides = _sides(points @ rotation, points, np.array(sheet.shape[::-1], float))
    turns = [side.turn for side in sides if not side.is_cut]
    if not turns or np.abs(turns).max() > _MOST_SLANT:
        return None
    if len(turns) == len(sides):
        return _checked(_corners(sides) @ rotation.T / sheet.shape[::-1])
    rotation = _rotation(turn + float(np.median(turns)))
    turned = points @ rotation
    corners = turned.min(axis=0) + np.ptp(turned, axis=0) * _SQUARE
    return _checked(corners @ rotation.T / sheet.shape[::-1])


def _rotation(angle: float) -> np.ndarray:
    """Return a matrix from points in a picture to points in axes turned by an angle."""
    return np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])


def _checked(corners: np.ndarray) -> Frame | None:
    edges = np.roll(corners, -1, axis=0) - corners
    angles = np.array([np.arctan2(y, x) - n * np.pi / 2 for n, (x, y) in enumerate(edges)])
    angles = np.abs((angles + np.pi) % (2 * np.pi) - np.pi)
    if angles.max() < _LEAST_TURN or np.median(angles) > _MOST_TURN:
        return None
    if np.abs(corners - _SQUARE).max() < _NEAR_CORNER:
        return None
    return Frame(corners=corners)


def _turn_of(points: np.ndarray) -> float:
    """Return the angle, nearest to 0, of the smallest rectangle around points."""
    polygon = points[ConvexHull(points).vertices]
    edges = np.diff(polygon, axis=0, append=polygon[:1])
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    along = polygon @ np.stack([np.cos(angles), np.sin(angles)])
    across = polygon @ np.stack([-np.sin(angles), np.cos(angles)])
    best = angles[int((np.ptp(along, axis=0) * np.ptp(across, axis=0)).argmin())]
    return float((best + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _sides(turned: np.ndarray, points: np.ndarray, size: np.ndarray) -> list[_Side]:
    """Return top, right, bottom and left side of a sheet.

    Args:
        turned: Its points in turned axes.
        points: The same in the picture.
        size: (width, height) of the picture.
    """
    at_border = np.any((points < 1) | (points > size - 1), axis=1)
    sides: list[_Side] = []
    for axis, is_far in ((1, False), (0, True), (1, True), (0, False)):
        along, depth = turned[:, 1 - axis], turned[:, axis]
        outer = _outermost(along, -depth if is_far else depth)
        low, high = along[outer].min(), along[outer].max()
        middle = np.abs(along[outer] - (low + high) / 2) <= (0.5 - _MIDDLE) * (high - low)
        outer = outer[middle]
        slope, offset = _line_through(along[outer], depth[outer])
        turn = float(np.arctan(slope if axis == 1 else -slope))
        is_cut = float(at_border[outer].mean()) > _CUT
        sides.append(_Side(slope=slope, offset=offset, turn=turn, is_cut=is_cut))
    return sides


def _outermost(along: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the index of the point of least depth in each unit along a side."""
    order = np.lexsort((depth, np.floor(along)))
    bins = np.floor(along)[order]
    return order[np.concatenate([[True], bins[1:] != bins[:-1]])]


def _line_through(along: np.ndarray, depth: np.ndarray) -> tuple[float, float]:
    """Fit a line to the points near the first fit."""
    slope, offset = np.polyfit(along, depth, 1)
    distance = np.abs(depth - slope * along - offset)
    near = distance <= max(1.0, 2 * float(np.median(distance)))
    slope, offset = np.polyfit(along[near], depth[near], 1)
    return float(slope), float(offset)


def _corners(sides: list[_Side]) -> np.ndarray:
    """Return the corners at which neighbouring sides meet, in the turned axes."""
    top, right, bottom, left = sides
    pairs = ((top, left), (top, right), (bottom, right), (bottom, left))
    return np.array([_meet(level, upright) for level, upright in pairs])


def _meet(level: _Side, upright: _Side) -> tuple[float, float]:
    v = (level.slope * upright.offset + level.offset) / (1 - level.slope * upright.slope)
    return upright.slope * v + upright.offset, v


def _coefficients(target: np.ndarray, source: np.ndarray) -> list[float]:
    """Return the coefficients of the projection that maps four points of a target to a source."""
    rows = [
        row
        for (x, y), (u, v) in zip(target, source, strict=True)
        for row in ((x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y))
    ]
    solution = np.linalg.solve(np.array(rows, float), source.reshape(-1))
    return [float(value) for value in solution]
