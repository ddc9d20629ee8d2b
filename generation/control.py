"""Control images from sketches and edges, and the agreement of an image with a sketch.

Control images are white_on_black, uint8, one channel, as scribble control networks expect them.
Sketches are ink_on_white; only this module inverts them.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps
from scipy import ndimage

from composer.sketch import Sketch, rasterise
from generation.controls import LINE_SHARES, ControlKind
from generation.request import RequestError

CONTROL_LINE_SHARE = LINE_SHARES[ControlKind.SCRIBBLE]
"""Line width of a scribble as a share of its shorter side."""

_SUPERSAMPLING = 2


def control_image(
    sketch: Sketch, height: int, width: int, line_share: float = CONTROL_LINE_SHARE
) -> UInt8[np.ndarray, "h w"]:
    """Turn a sketch into a control image.

    The drawing is framed as `composer.sketch.rasterise` frames it (centred, filling 80 %), in the
    largest centred square of the output, then binarised and drawn white on black.

    Args:
        sketch: the drawing; the lines of a raster keep their width.
        height: pixels of the output.
        width: pixels of the output.
        line_share: width of its strokes, as a share of the shorter side.

    Returns:
        Values 0 or 255.
    """
    side = min(height, width)
    line_px = max(1.0, line_share * side)
    ink = rasterise(sketch, side * _SUPERSAMPLING, line_px * _SUPERSAMPLING)  # ink_on_white
    small = Image.fromarray(ink).resize((side, side), Image.Resampling.BOX)
    lines = binarise(np.asarray(small))
    canvas = np.zeros((height, width), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    canvas[top : top + side, left : left + side] = np.where(lines, 255, 0)
    return canvas


def line_share(kind: ControlKind | None) -> float:
    """Return the width of the lines that a control network follows, as a share of the side.

    Raises:
        RequestError: it follows no lines.
    """
    if kind is None:
        return CONTROL_LINE_SHARE
    if kind not in LINE_SHARES:
        raise RequestError(
            f"The control {kind} follows no lines, so nothing can be made of a drawing or of edges "
            "for it; give a finished control image."
        )
    return LINE_SHARES[kind]


def fit_control(image: Image.Image, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
    """Return a finished control image of a size: cut to its proportions and resized, as grey."""
    return np.asarray(ImageOps.fit(image.convert("L"), (width, height), Image.Resampling.LANCZOS))


def binarise(ink: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Mark the ink of an ink_on_white raster, by Otsu's threshold held between 96 and 208."""
    counts = np.bincount(ink.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    mass = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    safe = np.maximum(below, 1.0), np.maximum(above, 1.0)
    spread = below * above * (mass / safe[0] - (mass[-1] - mass) / safe[1]) ** 2
    return ink <= np.clip(int(spread.argmax()), 96, 208)


def edge_image(
    image: Image.Image, height: int, width: int, line_share: float = CONTROL_LINE_SHARE
) -> UInt8[np.ndarray, "h w"]:
    """Make a control image from the edges of a picture, for transfer.

    Args:
        image: RGB, of the output's size.
        height: pixels of the output.
        width: pixels of the output.
        line_share: width of the lines, as a share of the shorter side.
    """
    if image.size != (width, height):
        raise ValueError(f"The image must be {width} x {height} px, got {image.size}.")
    edges = find_edges(np.asarray(image.convert("RGB")))
    return dilate(edges, max(1.0, line_share * min(height, width)))


def find_edges(
    image: UInt8[np.ndarray, "h w 3"], low: float = 0.05, high: float = 0.14
) -> Bool[np.ndarray, "h w"]:
    """Mark the thin edges of a colour image.

    Canny's method on the strongest colour channel's gradient, so that a red seat before a green
    wall of the same brightness still has an outline. Thresholds are shares of full contrast per
    pixel after smoothing.

    Source: J. Canny, "A Computational Approach to Edge Detection", PAMI 1986; ours takes the
    per-pixel strongest channel and fixed thresholds.
    """
    sigma = max(1.0, min(image.shape[:2]) / 128)
    smooth = ndimage.gaussian_filter(image.astype(np.float32) / 255, (sigma, sigma, 0))
    dy, dx = np.gradient(smooth, axis=(0, 1))
    strength = np.hypot(dy, dx)
    strongest = strength.argmax(axis=2)[..., None]
    dy = np.take_along_axis(dy, strongest, 2)[..., 0] * sigma
    dx = np.take_along_axis(dx, strongest, 2)[..., 0] * sigma
    ridge = _on_ridge(dy, dx)
    strength = np.hypot(dy, dx)
    weak = ridge & (strength > low)
    # Weak edges stay where they touch a strong one, directly or through others.
    return ndimage.binary_propagation(weak & (strength > high), np.ones((3, 3)), weak)


def dilate(lines: Bool[np.ndarray, "h w"], line_px: float) -> UInt8[np.ndarray, "h w"]:
    """Thicken thin lines to a width in pixels; values 0 or 255."""
    if not lines.any():
        return np.zeros(lines.shape, np.uint8)
    distance = ndimage.distance_transform_edt(~lines)
    return np.where(np.asarray(distance) <= line_px / 2, 255, 0).astype(np.uint8)


def sketch_agreement(
    image: UInt8[np.ndarray, "h w 3"], control: UInt8[np.ndarray, "h w"]
) -> Float[np.ndarray, ""]:
    """Measure how well an image's edges agree with a control image.

    Chamfer distance: from each line pixel of the drawing to the nearest edge of the image, and
    back from each edge inside the drawing's outline to the nearest line, both cut off at 8 % of
    the shorter side. Edges outside the drawing's box (ground, shadows) do not count against it.

    Returns:
        1 for edges on the lines, 0 for none near; higher is better.
    """
    edges = find_edges(image)
    lines = control > 127
    if not edges.any() or not lines.any():
        return np.asarray(0.0)
    reach = 0.08 * min(lines.shape)
    to_edge = np.minimum(np.asarray(ndimage.distance_transform_edt(~edges)), reach)
    to_line = np.minimum(np.asarray(ndimage.distance_transform_edt(~lines)), reach)
    inside = edges & _box(lines)
    forward = to_edge[lines].mean()
    back = to_line[inside].mean() if inside.any() else reach
    return np.asarray(1.0 - (2 * forward + back) / (3 * reach))


def _on_ridge(dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Mark pixels whose gradient is the largest along its direction."""
    strength = np.hypot(dy, dx)
    padded = np.pad(strength, 1)
    height, width = strength.shape

    def moved(y: int, x: int) -> np.ndarray:
        return padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]

    octant = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(int) % 4
    steps = ((0, 1), (1, 1), (1, 0), (1, -1))
    keep = np.zeros(strength.shape, bool)
    for direction, (y, x) in enumerate(steps):
        peak = (strength > moved(y, x)) & (strength >= moved(-y, -x))
        keep |= (octant == direction) & peak
    return keep


def _box(lines: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(lines.any(1)), np.flatnonzero(lines.any(0))
    box = np.zeros(lines.shape, bool)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box
