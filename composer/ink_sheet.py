"""The sheet of paper in a photo of a drawing on a darker ground."""

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from composer.ink_size import reduced
from composer.masks import Labels, Mask, dilated, eroded, filled, label, opened

_CELLS = 128  # on the longer side
_LINE = 5  # cells; lines of the drawing are narrower
_LINE_CONTRAST = 0.12
_DEPTH = 2  # cells from the edge, where a line has certainly crossed it
_LEVELS = 8  # between the darkest and the brightest, that are tried as the sheet's edge
_LEAST, _MOST = 0.15, 0.985  # of the picture
_SOLID = 0.93  # of the convex hull
_RECTANGULAR = 0.82  # of the smallest rectangle around it; a disc has 0.785
_STEP = 0.8  # of the difference between sheet and ground lies at the edge; light fades
_DIFFERENCE = 0.12  # of the sheet's brightness


def find_sheet(image: Image.Image) -> Mask | None:
    """Return where a sheet lies that is brighter than what is around it.

    Scan edges and dark toolbars are such a ground as well as a desk.

    Args:
        image: Of mode "RGB".

    Returns:
        A mask of at most `_CELLS` cells a side; None where the whole picture is the sheet, or there
        is none.
    """
    small = np.asarray(reduced(image, _CELLS), dtype=np.float32)
    # A dark edge goes on outside; without it, narrow edges would count as lines.
    padded = np.pad(small, ((_LINE, _LINE), (_LINE, _LINE), (0, 0)), "edge")
    ground = ndimage.grey_closing(padded, (_LINE, _LINE, 1))[_LINE:-_LINE, _LINE:-_LINE]
    lines = _lines(small, ground)
    masks = [_brighter_part(ground[..., channel], lines) for channel in range(3)]
    sheets = [mask for mask in masks if mask is not None]
    if not sheets:
        return None
    return max(sheets, key=np.sum)


def inner_part(sheet: Mask) -> Mask:
    """Return a sheet without its edges."""
    return eroded(sheet, 5)


def resized(mask: Bool[np.ndarray, "_ _"], size: tuple[int, int]) -> Mask:
    """Return a mask at another size, (width, height)."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _lines(small: Float[np.ndarray, "h w 3"], ground: Float[np.ndarray, "h w 3"]) -> Labels:
    """Return the lines that lie on the ground, sheet or not."""
    contrast = ((ground - small) / (ground + 16.0)).max(axis=2)
    return label(contrast > _LINE_CONTRAST)


def _brighter_part(ground: Float[np.ndarray, "h w"], lines: Labels) -> np.ndarray | None:
    low, high = float(ground.min()), float(ground.max())
    if high - low < _DIFFERENCE * high:
        return None
    sheets: list[Mask] = []
    for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
        numbers = label(opened(ground > level, _LINE)).numbers
        largest = int(np.bincount(numbers.ravel(), minlength=2)[1:].argmax()) + 1
        mask = filled(numbers == largest)
        is_possible = _LEAST <= mask.mean() <= _MOST and not _is_crossed(mask, lines)
        if is_possible and _is_sheet(mask, ground):
            sheets.append(mask)
    return max(sheets, key=_solidity) if sheets else None


def _is_crossed(mask: Mask, lines: Labels) -> bool:
    """Tell whether a line goes on beyond a mask: then its edge is that of a shadow."""
    inside, outside = eroded(mask, 2 * _DEPTH + 1), ~dilated(mask, _DEPTH)
    lengths = [
        np.bincount(lines.numbers[part], minlength=lines.count + 1)[1:]
        for part in (inside, outside)
    ]
    return bool((np.minimum(*lengths) >= _LINE).any())


def _is_sheet(mask: np.ndarray, ground: np.ndarray) -> bool:
    inside, outside = float(np.median(ground[mask])), float(np.median(ground[~mask]))
    difference = inside - outside
    if difference < _DIFFERENCE * inside:
        return False
    within, around = _ring(~mask), _ring(mask)
    if not within.any() or not around.any():
        return False
    step = float(np.median(ground[within])) - float(np.median(ground[around]))
    return step >= _STEP * difference and _is_rectangular(mask)


def _ring(mask: np.ndarray) -> np.ndarray:
    """Return the cells at a distance of two from a mask."""
    return dilated(mask, 2) & ~dilated(mask, 1)


def _is_rectangular(mask: np.ndarray) -> bool:
    if _solidity(mask) < _SOLID:
        return False
    is_cut = any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    corners = _corners(mask)
    polygon = corners[ConvexHull(corners).vertices]
    return bool(is_cut or mask.sum() >= _RECTANGULAR * _rectangle_area(polygon))


def _solidity(mask: np.ndarray) -> float:
    """Return the share of a mask in its convex hull."""
    return float(mask.sum() / ConvexHull(_corners(mask)).volume)


def _corners(mask: np.ndarray) -> np.ndarray:
    """Return the corners of all cells of a mask, (row, column)."""
    cells = np.stack(np.nonzero(mask), axis=1)[:, None]
    return (cells + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])).reshape(-1, 2)


def _rectangle_area(polygon: np.ndarray) -> float:
    """Return the area of the smallest rectangle around a convex polygon; it shares a side."""
    edges = np.diff(polygon, axis=0, append=polygon[:1])
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    along = polygon @ np.stack([np.cos(angles), np.sin(angles)])
    across = polygon @ np.stack([-np.sin(angles), np.cos(angles)])
    return float((np.ptp(along, axis=0) * np.ptp(across, axis=0)).min())
