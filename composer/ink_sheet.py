"""The sheet of paper in a photo of a drawing on a darker ground."""

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from composer.ink_size import reduced
from composer.masks import Mask, dilated, eroded, filled, label

_CELLS = 128  # on the longer side
_LINE = 5  # cells; lines of the drawing are narrower
_LEVELS = 8  # between the darkest and the brightest, that are tried as the sheet's edge
_LEAST, _MOST = 0.15, 0.985  # of the picture
_SOLID = 0.93  # of the convex hull
_RECTANGULAR = 0.82  # of the smallest rectangle around it; a disc has 0.785
_STEP = 0.8  # of the difference between sheet and ground lies at the edge; light fades
_DIFFERENCE = 0.12  # of the sheet's brightness


def find_sheet(image: Image.Image) -> Mask | None:
    """Return where a sheet lies that is brighter than what is around it, a little reduced.

    Scan edges and dark toolbars are such a ground as well as a desk.

    Args:
        image: Of mode "RGB".

    Returns:
        A mask of the size of the image; None where the whole picture is the sheet, or there is
        none.
    """
    small = np.asarray(reduced(image, _CELLS), dtype=np.float32)
    # A dark edge goes on outside; without it, narrow edges would count as lines.
    padded = np.pad(small, ((_LINE, _LINE), (_LINE, _LINE), (0, 0)), "edge")
    ground = ndimage.grey_closing(padded, (_LINE, _LINE, 1))[_LINE:-_LINE, _LINE:-_LINE]
    masks = [_brighter_part(ground[..., channel]) for channel in range(3)]
    sheets = [mask for mask in masks if mask is not None]
    if not sheets:
        return None
    mask = eroded(max(sheets, key=np.sum), 5)
    return np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))


def _brighter_part(ground: Float[np.ndarray, "h w"]) -> np.ndarray | None:
    low, high = float(ground.min()), float(ground.max())
    if high - low < _DIFFERENCE * high:
        return None
    for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
        numbers = label(ground > level).numbers
        largest = int(np.bincount(numbers.ravel(), minlength=2)[1:].argmax()) + 1
        mask = filled(numbers == largest)
        if _LEAST <= mask.mean() <= _MOST and _is_sheet(mask, ground):
            return mask
    return None


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
    rows, columns = np.nonzero(mask)
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    points = (np.stack([rows, columns], axis=1)[:, None] + corners).reshape(-1, 2)
    hull = ConvexHull(points)
    if len(rows) < _SOLID * hull.volume:
        return False
    is_cut = any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return is_cut or len(rows) >= _RECTANGULAR * _rectangle_area(points[hull.vertices])


def _rectangle_area(polygon: np.ndarray) -> float:
    """Return the area of the smallest rectangle around a convex polygon; it shares a side."""
    edges = np.diff(polygon, axis=0, append=polygon[:1])
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    along = polygon @ np.stack([np.cos(angles), np.sin(angles)])
    across = polygon @ np.stack([-np.sin(angles), np.cos(angles)])
    return float((np.ptp(along, axis=0) * np.ptp(across, axis=0)).min())
