"""Sketches: strokes or a raster, ink on white, framed alike for every encoder."""

import json
import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from composer.errors import InputError
from composer.ink import read_ink
from composer.masks import line_width_px

MAX_JSON_BYTES = 1 << 20
MAX_STROKES = 2_000
MAX_POINTS = 40_000
FILL = 0.8
LINE_FRACTION = 0.018
_OVERSAMPLING = 4
_INK_LEVEL = 160
_FARTHEST = 1e9  # of a coordinate in a file
_ROUNDING = 1e-3  # a point so far outside the canvas lies on its border

# (n, 2) or (n, 3); strokes of one sketch differ in n.
Stroke = Float[np.ndarray, "_ _"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sketch:
    """A drawing, either as strokes or as a raster.

    Attributes:
        strokes: Polylines of (x, y) or (x, y, pressure), each value in [0, 1], y downwards.
        raster: Grey levels in 0..255, `ink_on_white`.
    """

    strokes: tuple[Stroke, ...] | None = None
    raster: UInt8[np.ndarray, "h w"] | None = None

    def __post_init__(self) -> None:
        """Check that there is exactly one form and that it is not empty.

        Raises:
            InputError: Both or no form was given, or the drawing is empty.
        """
        if (self.strokes is None) == (self.raster is None):
            raise InputError("A sketch is either strokes or a raster: give exactly one of the two.")
        if self.strokes is not None and not any(len(stroke) for stroke in self.strokes):
            raise InputError("The sketch is empty; draw at least one stroke.")

    @classmethod
    def from_strokes(cls, strokes: Sequence[Sized]) -> "Sketch":
        """Make a sketch from polylines in the unit square.

        Args:
            strokes: Arrays or nested lists of shape (n, 2) or (n, 3), the third column being
                pressure.

        Raises:
            InputError: There are too many strokes or points, or a value leaves [0, 1].
        """
        if len(strokes) > MAX_STROKES:
            raise InputError(f"A sketch has at most {MAX_STROKES} strokes, got {len(strokes)}.")
        if sum(len(stroke) for stroke in strokes) > MAX_POINTS:
            raise InputError(
                f"A sketch has at most {MAX_POINTS} points; draw fewer or shorter strokes."
            )
        return cls(strokes=tuple(_as_stroke(stroke) for stroke in strokes if len(stroke)))

    @classmethod
    def from_json(cls, text: str | bytes, *, extent: float = 1.0) -> "Sketch":
        """Read the strokes of the canvas.

        Args:
            text: `[[[x, y], ...], ...]` or `{"strokes": [...]}`; points may carry a pressure.
            extent: Value of x and y at the right and lower border (255 in the training pack);
                it must be 1 for points with pressure.

        Raises:
            InputError: The text is too long, no such JSON, or breaks a cap of `from_strokes`.
        """
        strokes = strokes_of_json(text)
        if extent == 1.0:
            return cls.from_strokes(strokes)
        return cls.from_strokes([np.asarray(s, dtype=np.float32) / extent for s in strokes])

    @classmethod
    def from_image(cls, image: Image.Image) -> "Sketch":
        """Read a drawing from a picture of it, whichever its polarity.

        The drawing is told from paper of any colour under uneven light; frames, toolbars, scan
        edges and specks are left out.

        Args:
            image: Of mode "RGBA" where it has transparent parts, else of any other mode.

        Raises:
            InputError: The picture is blank.
        """
        levels = read_ink(image)
        if levels is None:
            raise InputError("The image holds no drawing; it looks blank.")
        return cls(raster=levels)


def strokes_of_json(text: str | bytes) -> list[list[Any]]:
    """Return the strokes of the canvas, each a list of whatever it holds.

    Args:
        text: As in `Sketch.from_json`; there may be no stroke.

    Raises:
        InputError: The text is too long, or no such JSON.
    """
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"The strokes take more than {MAX_JSON_BYTES >> 20} MiB; draw less.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("The strokes are not valid JSON.") from error
    strokes = value.get("strokes") if isinstance(value, dict) else value
    if not isinstance(strokes, list) or not all(isinstance(s, list) for s in strokes):
        raise InputError("Strokes must be a list of lists of [x, y] points.")
    return strokes


def fit_strokes(strokes: Sequence[np.ndarray]) -> Sketch:
    """Make a sketch of polylines in any unit, moved and scaled into the unit square.

    Raises:
        InputError: There are no or too many strokes or points, or a value is not finite.
    """
    points = np.concatenate([np.zeros((0, 2)), *strokes])
    if not len(points):
        raise InputError("The sketch is empty; draw at least one stroke.")
    if not np.isfinite(points).all() or np.abs(points).max() > _FARTHEST:
        raise InputError(
            "Every point of a stroke must be finite and not beyond a thousand million."
        )
    low = points.min(axis=0)
    extent = max(float(np.ptp(points, axis=0).max()), 1e-9)
    return Sketch.from_strokes([(stroke - low) / extent for stroke in strokes])


def rasterise(
    sketch: Sketch, size_px: int, line_px: float | None = None
) -> UInt8[np.ndarray, "size size"]:
    """Draw a sketch, centred and scaled so that its longer side fills 80 % of the square.

    Args:
        sketch: The drawing; a small one in a corner comes out like a large one.
        size_px: Side of the result.
        line_px: Width of the lines; by default 1.8 % of the side. Lines of a raster are thickened
            to it, never thinned.

    Returns:
        Grey levels in 0..255, `ink_on_white`.
    """
    width_px = LINE_FRACTION * size_px if line_px is None else line_px
    if sketch.strokes is not None:
        return _draw_strokes(sketch.strokes, size_px, width_px)
    assert sketch.raster is not None
    return _frame_raster(sketch.raster, size_px, width_px)


def _as_stroke(stroke: Sized) -> Stroke:
    try:
        with np.errstate(over="ignore"):  # what overflows is not finite
            points = np.asarray(stroke, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError("Every point of a stroke must be [x, y] or [x, y, pressure].") from error
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError("Every point of a stroke must be [x, y] or [x, y, pressure].")
    if not np.isfinite(points).all() or points.min() < -_ROUNDING or points.max() > 1 + _ROUNDING:
        raise InputError("Every stroke must lie inside the canvas: finite values from 0 to 1.")
    return np.clip(points, 0, 1)


def _draw_strokes(strokes: Sequence[Stroke], size_px: int, line_px: float) -> np.ndarray:
    points = np.concatenate([stroke[:, :2] for stroke in strokes])
    low, high = points.min(axis=0), points.max(axis=0)
    side = size_px * _OVERSAMPLING
    # A single dot has no extent; it keeps the scale of the canvas.
    scale = FILL * side / max(float((high - low).max()), 1e-6) if (high > low).any() else side
    canvas = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(canvas)
    for stroke in strokes:
        path = (stroke[:, :2] - (low + high) / 2) * scale + side / 2
        pressure = float(stroke[:, 2].mean()) if stroke.shape[1] == 3 else 0.5
        _draw_path(pen, path, line_px * _OVERSAMPLING * (0.5 + pressure))
    return np.asarray(canvas.reduce(_OVERSAMPLING))


def _draw_path(pen: ImageDraw.ImageDraw, path: np.ndarray, width_px: float) -> None:
    width = max(1, round(width_px))
    vertices = [(float(x), float(y)) for x, y in path]
    if len(vertices) > 1:
        pen.line(vertices, fill=0, width=width, joint="curve")
    for x, y in (vertices[0], vertices[-1]):
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)


def _frame_raster(raster: np.ndarray, size_px: int, line_px: float) -> np.ndarray:
    rows, columns = np.nonzero(raster < _INK_LEVEL)
    if len(rows) == 0:
        raise InputError("The sketch is empty; draw at least one stroke.")
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    ink = Image.fromarray(raster).crop(box)
    scale = FILL * size_px / max(ink.size)
    missing_px = line_px / scale - line_width_px(raster < _INK_LEVEL)
    # Thicken before shrinking, or thin lines of a large drawing fade to nothing.
    grow = min(math.ceil(missing_px), 63) if missing_px > 1 else 0
    if grow:
        ink = _thicken(ink, grow)
    target = (max(1, round(ink.width * scale)), max(1, round(ink.height * scale)))
    ink = ink.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
    canvas = Image.new("L", (size_px, size_px), 255)
    canvas.paste(ink, ((size_px - ink.width) // 2, (size_px - ink.height) // 2))
    return np.asarray(canvas)


def _thicken(ink: Image.Image, grow: int) -> Image.Image:
    """Widen dark lines by about `grow` pixels, and the picture by `grow` on each side."""
    reach = grow // 2
    levels = np.pad(np.asarray(ink), grow + reach, constant_values=255)
    for axis in (0, 1):
        levels = _sliding_minimum(levels, 2 * reach + 1, axis)
    return Image.fromarray(levels)


def _sliding_minimum(levels: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Return the minimum of every `width` neighbours along an axis, which becomes shorter."""
    span = 1
    while span < width:
        step = min(span, width - span)  # two windows of `span` make one of `span + step`
        count = levels.shape[axis] - step
        first, second = np.arange(count), np.arange(step, step + count)
        levels = np.minimum(levels.take(first, axis), levels.take(second, axis))
        span += step
    return levels
