"""A model of how people draw: proportions slip, lines are idealised, hands shake and overshoot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.polynomial.legendre import legvander
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter1d

from assets.catalogue.sketch import Curve
from assets.catalogue.strokes import BOX_PX, Economy, StrokeLine, box_fit, corners, plan_lines

Stroke = Int[np.ndarray, "n 2"]
"""x and y of a pen-down movement, each 0 to 255, y down."""

_SPACING_PX = 5.0
_MOST_BENDS = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Hand:
    """One level of skill; lengths are pixels of the 256 px box.

    Attributes:
        economy: how much gets drawn.
        warp: spread of the shear, stretch and keystone of the whole drawing.
        part_px: spread of the shift of a part; its scale slips by `part_px / 80`.
        limb_px: spread of the further shift of each limb of a part.
        fit_px: how far an idealised stroke may deviate from the outline.
        wobble_px: spread of slow waves of a long stroke.
        tremor_px: spread of the shaking from point to point.
        end_px: spread of overshoots and gaps at the ends.
        redraw: probability of going over a stroke again.
    """

    economy: Economy
    warp: float
    part_px: float
    limb_px: float
    fit_px: float
    wobble_px: float
    tremor_px: float
    end_px: float
    redraw: float


HANDS: tuple[Hand, Hand, Hand] = (
    Hand(
        economy=Economy(
            least_weight=38.0,
            parallel_px=10.0,
            narrow_px=9.0,
            single_limb=0.85,
            lift=0.12,
            most_lines=12,
        ),
        warp=0.085,
        part_px=5.0,
        limb_px=3.0,
        fit_px=5.0,
        wobble_px=1.7,
        tremor_px=0.3,
        end_px=5.0,
        redraw=0.05,
    ),
    Hand(
        economy=Economy(
            least_weight=28.0,
            parallel_px=7.5,
            narrow_px=6.5,
            single_limb=0.65,
            lift=0.17,
            most_lines=15,
        ),
        warp=0.05,
        part_px=3.0,
        limb_px=1.8,
        fit_px=3.0,
        wobble_px=1.0,
        tremor_px=0.25,
        end_px=3.5,
        redraw=0.06,
    ),
    Hand(
        economy=Economy(
            least_weight=20.0,
            parallel_px=5.5,
            narrow_px=4.0,
            single_limb=0.35,
            lift=0.22,
            most_lines=18,
        ),
        warp=0.025,
        part_px=1.5,
        limb_px=1.0,
        fit_px=1.8,
        wobble_px=0.6,
        tremor_px=0.2,
        end_px=2.5,
        redraw=0.08,
    ),
)


def draw(curves: Sequence[Curve], *, skill: int, rng: np.random.Generator) -> tuple[Stroke, ...]:
    """Draw an object freehand.

    Args:
        curves: the result of `contours`; the same curves serve every skill.
        skill: 0 unskilled, 1 average, 2 practised.
        rng: its state determines the drawing.

    Returns:
        Strokes in drawing order, centred, the larger side about 80 % of the box.

    Raises:
        ValueError: if `skill` is not 0, 1 or 2, or there is no curve.
    """
    return _to_box(_paths(curves, _hand(skill), rng))


def draw_in_place(
    curves: Sequence[Curve], *, skill: int, rng: np.random.Generator
) -> tuple[Stroke, ...]:
    """Draw an object over its picture: every line lies where the picture shows it.

    The hand simplifies, shakes, overshoots, leaves gaps and leaves lines out as in `draw`, but its
    proportions do not slip.

    Args:
        curves: the result of `contours`.
        skill: 0 unskilled, 1 average, 2 practised.
        rng: its state determines the drawing.

    Returns:
        Strokes in drawing order; 0 and 255 are the borders of the picture.

    Raises:
        ValueError: if `skill` is not 0, 1 or 2, or there is no curve.
    """
    steady = replace(_hand(skill), warp=0.0, part_px=0.0, limb_px=0.0)
    scale, shift = box_fit(curves)
    paths = _paths(curves, steady, rng)
    return _rounded([(path - shift) / scale * (BOX_PX - 1) for path in paths])


def _hand(skill: int) -> Hand:
    if skill not in (0, 1, 2):
        raise ValueError(f"`skill` must be 0, 1 or 2, got {skill!r}.")
    return HANDS[skill]


def _paths(curves: Sequence[Curve], hand: Hand, rng: np.random.Generator) -> list[np.ndarray]:
    lines = plan_lines(curves, hand.economy, rng)
    paths: list[np.ndarray] = []
    for path in _misjudge(lines, hand, rng):
        ideal = _idealise(path, hand.fit_px)
        paths.append(_move(ideal, hand, rng))
        if rng.random() < hand.redraw:
            paths.append(_again(ideal, hand, rng))
    return paths


def rasterise(
    strokes: Sequence[Stroke], size_px: int, width: float
) -> UInt8[np.ndarray, "size size"]:
    """Paint strokes as ink on white, antialiased.

    Args:
        strokes: in the 256 px box.
        size_px: side of the image.
        width: of the pen, in pixels of the image.
    """
    fine = 4 if size_px <= 256 else 2
    scale = fine * size_px / BOX_PX
    image = Image.new("L", (fine * size_px, fine * size_px), 255)
    pen = ImageDraw.Draw(image)
    radius = 0.5 * fine * width
    for stroke in strokes:
        points = [(float(x), float(y)) for x, y in scale * (stroke + 0.5)]
        pen.line(points, fill=0, width=max(round(fine * width), 1), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return np.asarray(image.resize((size_px, size_px), Image.Resampling.BOX))


def _misjudge(
    lines: Sequence[StrokeLine], hand: Hand, rng: np.random.Generator
) -> list[Float[np.ndarray, "n 2"]]:
    """Slip of proportion: of the whole, of each part, of each limb."""
    points = np.vstack([line.points for line in lines])
    parts = np.concatenate([line.parts for line in lines])
    regions = np.concatenate([line.regions for line in lines])
    shift = np.zeros_like(points)
    for part in np.unique(parts):
        shift += _slip(points, parts == part, hand.part_px, rng)
    for region in np.unique(regions):
        shift += _slip(points, regions == region, hand.limb_px, rng)
    bounds = np.cumsum([0, *(len(line.points) for line in lines)])
    whole = _whole_warp(hand.warp, rng)
    moved = []
    for line, a, b in zip(lines, bounds, bounds[1:], strict=False):
        mode = "wrap" if line.is_closed else "nearest"
        gentle = gaussian_filter1d(shift[a:b], 5.0, axis=0, mode=mode)
        moved.append(whole(line.points + gentle))
    return moved


def _slip(
    points: np.ndarray, chosen: np.ndarray, spread_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Shift, stretch and tilt of the chosen points about their own middle."""
    centre = points[chosen].mean(0)
    stretch = rng.normal(0.0, spread_px / 80.0, (2, 2)) * [[1.0, 0.6], [0.6, 1.0]]
    move = rng.normal(0.0, 0.6 * spread_px, 2)
    return np.where(chosen[:, None], (points - centre) @ stretch.T + move, 0.0)


def _whole_warp(spread: float, rng: np.random.Generator):  # noqa: ANN202
    """Stretch, shear, tilt and keystone of the whole drawing."""
    middle = 0.5 * (BOX_PX - 1)
    matrix = np.eye(2) + rng.normal(0.0, spread, (2, 2)) * [[1.0, 0.5], [0.5, 1.0]]
    keystone = rng.normal(0.0, spread, 2) / BOX_PX

    def warp(points: np.ndarray) -> np.ndarray:
        offset = points - middle
        return middle + (offset * (1.0 + offset @ keystone)[:, None]) @ matrix.T

    return warp


def _idealise(path: Float[np.ndarray, "n 2"], fit_px: float) -> Float[np.ndarray, "m 2"]:
    """Replace the way between corners by the simplest curve that stays near it."""
    stops = [0, *corners(path, max(fit_px, 2.0), 38.0), len(path) - 1]
    pieces = [_simplest(path[a : b + 1], fit_px) for a, b in pairwise(stops)]
    joined = np.vstack([pieces[0], *(piece[1:] for piece in pieces[1:])])
    step = np.hypot(*np.diff(joined, axis=0).T)
    return joined[np.r_[True, step > 1e-3]]


def _simplest(path: np.ndarray, fit_px: float) -> np.ndarray:
    """Return the simplest polynomial through both ends within a tolerance, about 5 px apart."""
    travelled = np.r_[0.0, np.hypot(*np.diff(path, axis=0).T).cumsum()]
    length = float(travelled[-1])
    position = travelled / max(length, 1e-9)
    run = path[-1] - path[0]
    rest = path - (path[0] + position[:, None] * run)
    basis = _bumps(position)
    weights = np.zeros((0, 2))
    for degree in range(1, _MOST_BENDS + 1):
        if (np.square(rest - basis[:, : len(weights)] @ weights).sum(1) <= fit_px**2).all():
            break
        part = basis[:, :degree]
        ridge = 1e-6 * np.eye(degree)
        weights = np.linalg.solve(part.T @ part + ridge, part.T @ rest)
    at = np.linspace(0.0, 1.0, max(round(length / _SPACING_PX), 1) + 1)
    return path[0] + at[:, None] * run + _bumps(at)[:, : len(weights)] @ weights


def _bumps(position: np.ndarray) -> np.ndarray:
    """Return polynomials that vanish at 0 and 1, of rising degree: both ends of a stroke stay."""
    return (4.0 * position * (1.0 - position))[:, None] * legvander(
        2.0 * position - 1.0, _MOST_BENDS - 1
    )


def _move(path: Float[np.ndarray, "n 2"], hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Move the pen along a path: ends slip, slow waves, tremor."""
    path = _slip_end(_slip_end(path, hand, rng)[::-1], hand, rng)[::-1]
    num_points = len(path)
    length = float(np.hypot(*np.diff(path, axis=0).T).sum())
    waves = _noise(num_points, max(rng.uniform(0.25, 0.6) * num_points, 5.0), rng)
    size = hand.wobble_px * min((length / 90.0) ** 0.7, 1.6)
    return path + size * waves + hand.tremor_px * rng.normal(0.0, 1.0, (num_points, 2))


def _slip_end(path: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Lengthen a path beyond its last point or leaves a gap before it."""
    length = float(np.hypot(*np.diff(path, axis=0).T).sum())
    slip = rng.normal(0.0, hand.end_px) * (2.8 if rng.random() < 0.14 else 0.7)
    slip = float(np.clip(slip, -0.3 * length, 0.35 * length))
    if slip >= 0.0:
        back = path[-min(3, len(path))]
        ahead = (path[-1] - back) / max(float(np.hypot(*(path[-1] - back))), 1e-6)
        return np.vstack([path, path[-1] + slip * ahead])
    remaining = np.hypot(*np.diff(path, axis=0).T)[::-1].cumsum()
    keep = max(len(path) - int(np.searchsorted(remaining, -slip)) - 1, 1)
    tail = path[keep - 1] + (path[keep] - path[keep - 1]) * 0.5
    return np.vstack([path[:keep], tail])


def _again(path: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Go over a stretch of a path again, a little beside it."""
    num_points = len(path)
    span = min(max(int(num_points * rng.uniform(0.4, 1.0)), 2), num_points)
    start = int(rng.integers(0, num_points - span + 1))
    beside = rng.normal(0.0, 1.0 + hand.wobble_px, 2)
    return _move(path[start : start + span] + beside, hand, rng)


def _noise(num_points: int, smoothness: float, rng: np.random.Generator) -> np.ndarray:
    """Slow noise of unit spread, independent in x and y."""
    margin = int(2 * smoothness) + 1
    rough = rng.normal(0.0, 1.0, (num_points + 2 * margin, 2))
    smooth = gaussian_filter1d(rough, smoothness / 2.0, axis=0)[margin : margin + num_points]
    return smooth * np.sqrt(np.sqrt(np.pi) * smoothness)


def _to_box(paths: list[np.ndarray]) -> tuple[Stroke, ...]:
    """Centre the drawing, and scale its larger side to 80 % of the box."""
    everything = np.vstack(paths)
    low, high = everything.min(0), everything.max(0)
    scale = 0.8 * (BOX_PX - 1) / max(float((high - low).max()), 1e-6)
    return _rounded([(p - 0.5 * (low + high)) * scale + 0.5 * (BOX_PX - 1) for p in paths])


def _rounded(paths: Sequence[np.ndarray]) -> tuple[Stroke, ...]:
    """Round to the points of the box, and drop repeated ones."""
    strokes = []
    for path in paths:
        points = np.clip(np.rint(path), 0, BOX_PX - 1).astype(np.int64)
        moved = np.r_[True, (np.diff(points, axis=0) != 0).any(1)]
        if moved.sum() >= 2:
            strokes.append(points[moved])
    return tuple(strokes)
