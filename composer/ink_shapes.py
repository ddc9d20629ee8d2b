"""Shapes that are no part of a drawing: bands and frames along a picture's border, and specks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from composer.masks import Mask, dilated, label, line_width_px

_EDGE = 0.012  # of a side: what lies so near the border touches it
_BAND = 0.2  # of a side: depth of toolbars and scan edges
_CONTACT = 0.25  # of a side: a band runs along the border for so long
_THICK = 0.04  # of the picture: lines are thinner
_FRAME = 0.12  # of a side: a frame keeps within this distance of the border
_DASH = 0.011  # of a side: the gaps of a dashed frame are at most twice as long
_THIN = 0.4  # of the lines' width: a hair on the glass is thinner
_HAIR = 0.3  # of the drawing: a hair is shorter
_STRAIGHT = 0.006  # of a side: spread of a ruled line
_MANY_SPECKS = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Parts:
    """Connected parts of the ink, numbered from 1; row 0 is the ground.

    Attributes:
        labels: Number of the part of each pixel.
        area: Pixels of each part.
        box: (top, left, bottom, right) of each part.
    """

    labels: Int[np.ndarray, "h w"]
    area: Int[np.ndarray, " n"]
    box: Int[np.ndarray, "n 4"]

    @property
    def extent(self) -> np.ndarray:
        return (self.box[:, 2:] - self.box[:, :2]).max(axis=1)

    def without(self, dropped: np.ndarray) -> np.ndarray:
        keeps = ~dropped
        keeps[0] = False
        return keeps[self.labels]


def drop_borders(ink: Mask) -> Mask:
    """Leave out scan edges, toolbars and frames, as long as other ink remains.

    A band runs along a side of the picture and keeps near it, or is thicker than lines. A frame is
    ruled, follows all four sides and surrounds all other ink.
    """
    for _ in range(3):
        parts = _parts_of(ink)
        dropped = _bands(parts) | _frames(parts)
        dropped |= _rows_of_icons(parts, dropped)
        rest = parts.without(dropped) if dropped.any() else _without_dashed_frame(ink)
        if rest is ink or not is_drawing(rest):
            return ink
        ink = rest
    return ink


def _without_dashed_frame(ink: Mask) -> Mask:
    """Leave out a frame of dashes; the ink itself where there is none."""
    joined = _parts_of(dilated(ink, max(1, round(_DASH * max(ink.shape)))))
    frames = _frames(joined)
    return ink & joined.without(frames) if frames.any() else ink


def drop_specks(ink: Mask) -> Mask:
    """Leave out what is smaller than a pen makes, and small dots that are many or lie apart."""
    parts = _parts_of(ink)
    if len(parts.area) < 2:
        return ink
    extent = parts.extent
    largest = extent.max()
    width_px = _width_of(parts, int(parts.area[1:].argmax()) + 1)
    box_area = np.maximum(np.prod(parts.box[:, 2:] - parts.box[:, :2], axis=1), 1)
    small = extent < max(0.03 * largest, 1.5 * width_px)
    dots = small & (parts.area > 0.35 * box_area)
    dots |= extent < 0.015 * largest
    dots[0] = small[0] = False
    dropped = extent < 0.7 * width_px
    if dots.sum() >= _MANY_SPECKS:
        dropped |= dots
    dropped |= small & _lie_apart(parts, ~small, 0.1 * float(largest))
    dropped |= _hairs(parts, width_px)
    return parts.without(dropped)


def _hairs(parts: _Parts, width_px: float) -> np.ndarray:
    """Return the short parts away from the drawing that are much thinner than its lines."""
    is_short = parts.extent < _HAIR * parts.extent.max()
    hairs = is_short & _lie_apart(parts, ~is_short, 0.0)
    hairs[0] = False
    for number in np.flatnonzero(hairs):
        hairs[number] = _width_of(parts, int(number)) < _THIN * width_px
    return hairs


def _parts_of(ink: np.ndarray) -> _Parts:
    parts = label(ink)
    labels, count = parts.numbers, parts.count
    box = np.zeros((count + 1, 4), int)
    for number, slices in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = slices
        box[number] = rows.start, columns.start, rows.stop, columns.stop
    area = np.bincount(labels.ravel(), minlength=count + 1)
    area[0] = 0
    return _Parts(labels=labels, area=area, box=box)


def is_drawing(ink: np.ndarray) -> bool:
    """Tell whether ink is more than dust."""
    extent = _parts_of(ink).extent
    return bool(extent.max() >= max(3, 0.01 * max(ink.shape)))


def _bands(parts: _Parts) -> np.ndarray:
    height, width = parts.labels.shape
    rows, columns = max(1, round(_EDGE * height)), max(1, round(_EDGE * width))
    dropped = np.zeros(len(parts.area), bool)
    labels = parts.labels
    for edge in (labels[:rows], labels[-rows:], labels[:, :columns].T, labels[:, -columns:].T):
        for number in np.unique(edge):
            contact = (edge == number).any(axis=0).mean()
            if number and contact >= _CONTACT:
                dropped[number] |= _is_band(parts, int(number))
    return dropped


def _is_band(parts: _Parts, number: int) -> bool:
    height, width = parts.labels.shape
    top, left, bottom, right = parts.box[number]
    mask = parts.labels[top:bottom, left:right] == number
    rows, columns = np.nonzero(mask)
    depth_y = np.minimum(rows + top, height - 1 - rows - top) / height
    depth_x = np.minimum(columns + left, width - 1 - columns - left) / width
    is_near = (np.minimum(depth_x, depth_y) <= _BAND).mean() >= 0.97
    deep = (np.minimum(depth_x, depth_y) > 0.5 * _BAND).mean()
    is_thick = _width_of(parts, number) > _THICK * max(height, width)
    return bool((is_near and (deep < 0.5 or is_thick)) or is_thick)


def _width_of(parts: _Parts, number: int) -> float:
    top, left, bottom, right = parts.box[number]
    return line_width_px(parts.labels[top:bottom, left:right] == number)


def _frames(parts: _Parts) -> np.ndarray:
    height, width = parts.labels.shape
    size = np.array([height, width])
    near_low = (parts.box[:, :2] <= _FRAME * size).all(axis=1)
    near_high = (parts.box[:, 2:] >= (1 - _FRAME) * size).all(axis=1)
    dropped = np.zeros(len(parts.area), bool)
    for number in np.flatnonzero(near_low & near_high):
        dropped[number] = number != 0 and _is_ruled(parts, int(number))
    return dropped


def _is_ruled(parts: _Parts, number: int) -> bool:
    """Tell whether a part is nothing but four straight sides."""
    top, left, bottom, right = parts.box[number]
    mask = parts.labels[top:bottom, left:right] == number
    height, width = mask.shape
    rim_y, rim_x = max(2, round(0.03 * height)), max(2, round(0.03 * width))
    if mask[rim_y:-rim_y, rim_x:-rim_x].sum() > 0.02 * mask.sum():
        return False
    sides = (mask[:rim_y], mask[-rim_y:], mask[:, :rim_x].T, mask[:, -rim_x:].T)
    return all(_is_straight(side) for side in sides)


def _is_straight(side: np.ndarray) -> bool:
    middle = side[:, side.shape[1] // 20 : -max(1, side.shape[1] // 20)]
    covered = middle.any(axis=0)
    if covered.mean() < 0.8:
        return False
    first = middle.argmax(axis=0)[covered]
    return float(first.std()) <= max(1.0, _STRAIGHT * side.shape[1])


def _rows_of_icons(parts: _Parts, dropped: np.ndarray) -> np.ndarray:
    """Return the small parts in a row along a side that no other ink comes near."""
    height, width = parts.labels.shape
    top, left, bottom, right = (parts.box[:, n] for n in range(4))
    is_small = parts.extent <= 0.12 * max(height, width)
    remaining = ~dropped
    remaining[0] = False
    icons = np.zeros(len(dropped), bool)
    bands = (
        (bottom <= 0.12 * height, top < 0.14 * height, left, right, width),
        (top >= 0.88 * height, bottom > 0.86 * height, left, right, width),
        (right <= 0.12 * width, left < 0.14 * width, top, bottom, height),
        (left >= 0.88 * width, right > 0.86 * width, top, bottom, height),
    )
    for inside, reaches, low, high, length in bands:
        row = inside & is_small & remaining & (parts.extent >= 0.012 * length)
        others = reaches & remaining & ~inside
        if row.sum() < 3 or others.any() or not (remaining & ~inside).any():
            continue
        if high[row].max() - low[row].min() >= 0.15 * length:
            icons |= inside & remaining
    return icons


def _lie_apart(parts: _Parts, large: np.ndarray, gap_px: float) -> np.ndarray:
    """Return which parts lie outside the box of the large ones and a gap."""
    large = large.copy()
    large[0] = False
    if not large.any():
        return np.zeros(len(parts.area), bool)
    low = parts.box[large, :2].min(axis=0) - gap_px
    high = parts.box[large, 2:].max(axis=0) + gap_px
    return ((parts.box[:, 2:] < low) | (parts.box[:, :2] > high)).any(axis=1)
