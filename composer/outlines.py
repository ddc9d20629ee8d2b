"""Centre lines of the outlines that drawing programs make of a pen's strokes."""

import numpy as np
from jaxtyping import Float

_NUM_PAIRS = 128
_THIN = 0.06  # of the line's length: a pen's stroke is narrower


def centre_line(outline: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"] | None:
    """Return the line along the middle of a thin closed outline; None if it is not thin.

    The outline runs along one side of the stroke and back along the other. It is folded where both
    sides, point by point, lie nearest to each other.
    """
    closed = np.concatenate([outline, outline[:1]])
    lengths = np.hypot(*np.diff(closed, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] == 0:
        return None
    count = 2 * _NUM_PAIRS
    at = np.arange(count) / count * along[-1]
    points = np.stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)], axis=1)
    folds, steps = np.arange(count // 2)[:, None], np.arange(count // 2 + 1)[None]
    one, other = points[(folds + steps) % count], points[(folds - steps) % count]
    widths = np.hypot(*np.moveaxis(one - other, -1, 0)).mean(axis=1)
    best = int(widths.argmin())
    if widths[best] > _THIN * along[-1] / 2:
        return None
    return (one[best] + other[best]) / 2
