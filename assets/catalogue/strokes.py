"""Selection of the few long lines a person would draw of some contours, before any wobble."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from assets.catalogue.sketch import Curve, CurveKind

BOX_PX = 256
_FILLED_PX = 0.8 * (BOX_PX - 1)
_KIND_WEIGHT = {
    CurveKind.SILHOUETTE: 1.0,
    CurveKind.PART: 0.85,
    CurveKind.CREASE: 0.6,
    CurveKind.AXIS: 1.8,
}
_TANGENT_PX = 6.0
_SHORTEST_PX = 9.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StrokeLine:
    """A line to be drawn in one go.

    Attributes:
        points: (n, 2) x and y in the 256 px box, about 2 px apart.
        regions: (n,) region of each point, for distortions that move whole limbs.
        parts: (n,) part of each point.
        weight: importance; its length in px times how plainly it shows.
    """

    points: Float[np.ndarray, "n 2"]
    regions: Int[np.ndarray, " n"]
    parts: Int[np.ndarray, " n"]
    weight: float

    @property
    def is_closed(self) -> bool:
        """Whether the line returns to its start."""
        return len(self.points) > 4 and bool((self.points[0] == self.points[-1]).all())


@dataclass(frozen=True, kw_only=True, slots=True)
class Economy:
    """How much of what is visible gets drawn.

    Attributes:
        least_weight: lines near this weight are drawn half of the time, lighter ones seldom.
        parallel_px: lines this close to a heavier one along their way are left out.
        narrow_px: outlines narrower than this become one line: the slats of a back.
        single_limb: probability that thin limbs are drawn as one line each.
        lift: probability of lifting the pen at a corner.
        most_lines: nobody draws more.
    """

    least_weight: float
    parallel_px: float
    narrow_px: float
    single_limb: float
    lift: float
    most_lines: int


def plan_lines(
    curves: Sequence[Curve], economy: Economy, rng: np.random.Generator
) -> tuple[StrokeLine, ...]:
    """Join curves to long lines, leave out what people leave out, and lift the pen at corners.

    Returns:
        Lines in drawing order, big outlines first.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("`curves` must hold at least one curve, got none.")
    placed = _thin_limbs(_fit(curves), economy, rng)
    narrow_px = economy.narrow_px * float(rng.uniform(0.6, 1.4))
    joined = [_collapse(line, narrow_px) for line in _join(placed, rng)]
    lines = _choose(joined, economy, rng)
    pieces = [piece for line in lines for piece in _lift_pen(line, economy.lift, rng)]
    return tuple(_order(pieces, rng))


def corners(points: Float[np.ndarray, "n 2"], tolerance: float, degrees: float) -> list[int]:
    """Return indices of the inner points where a simplified line turns by more than an angle."""
    kept = simplify(points, tolerance)
    steps = np.diff(points[kept], axis=0)
    angle = np.arctan2(steps[:, 1], steps[:, 0])
    turn = np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi)
    return [kept[i + 1] for i in np.flatnonzero(turn > np.radians(degrees))]


def simplify(points: Float[np.ndarray, "n 2"], tolerance: float) -> list[int]:
    """Return indices of the points that Douglas and Peucker's rule keeps; both ends are kept."""
    kept, stack = {0, len(points) - 1}, [(0, len(points) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        base = points[last] - points[first]
        offset = points[first + 1 : last] - points[first]
        norm = float(np.hypot(*base))
        if norm < 1e-9:
            away = np.hypot(offset[:, 0], offset[:, 1])
        else:
            away = np.abs(offset[:, 0] * base[1] - offset[:, 1] * base[0]) / norm
        far = int(away.argmax())
        if away[far] > tolerance:
            middle = first + 1 + far
            kept.add(middle)
            stack += [(first, middle), (middle, last)]
    return sorted(kept)


def box_fit(curves: Sequence[Curve]) -> tuple[float, Float[np.ndarray, 2]]:
    """Return the scale and the shift that put curves into the middle of the box, filling it."""
    everything = np.vstack([curve.points for curve in curves])
    low, high = everything.min(0), everything.max(0)
    scale = _FILLED_PX / max(float((high - low).max()), 1e-6)
    return scale, 0.5 * (BOX_PX - 1) - 0.5 * scale * (low + high)


def _fit(curves: Sequence[Curve]) -> list[Curve]:
    scale, shift = box_fit(curves)
    return [replace(curve, points=scale * _thinned(curve.points) + shift) for curve in curves]


def _thinned(points: np.ndarray) -> np.ndarray:
    """Return every second point and both ends."""
    return points if len(points) < 6 else np.vstack([points[:-1:2], points[-1:]])


def _thin_limbs(curves: list[Curve], economy: Economy, rng: np.random.Generator) -> list[Curve]:
    """Return either the axis of a limb or its outlines; one habit for all limbs of a part."""
    parts = sorted({curve.part for curve in curves if curve.kind is CurveKind.AXIS})
    single = {part for part in parts if rng.random() < economy.single_limb}
    axes = {c.region for c in curves if c.kind is CurveKind.AXIS and c.part in single}
    return [c for c in curves if (c.kind is CurveKind.AXIS) == (c.region in axes)]


def _join(curves: list[Curve], rng: np.random.Generator) -> list[StrokeLine]:
    """Join curves at junctions where a hand would go on: along one region, or straight ahead."""
    partner = _partners(curves, rng)
    lines, used = [], set()
    starts = [(i, e) for i in range(len(curves)) for e in (0, 1) if (i, e) not in partner]
    for start in starts + [(i, 0) for i in range(len(curves))]:  # loops have no loose end
        if start[0] in used:
            continue
        run, end = [], start
        while end is not None and end[0] not in used:
            used.add(end[0])
            run.append(end)
            end = partner.get((end[0], 1 - end[1]))
        lines.append(_line([curves[i] for i, _ in run], [end == 1 for _, end in run]))
    return lines


def _partners(
    curves: list[Curve], rng: np.random.Generator
) -> dict[tuple[int, int], tuple[int, int]]:
    meetings = defaultdict(list)
    heading: dict[tuple[int, int], np.ndarray] = {}
    for index, curve in enumerate(curves):
        for end in () if curve.is_closed else (0, 1):
            point = curve.points[-end]
            meetings[(round(point[0] * 16), round(point[1] * 16))].append((index, end))
            heading[(index, end)] = _outward(curve.points, end)
    partner: dict[tuple[int, int], tuple[int, int]] = {}
    for ends in meetings.values():
        rated = sorted(
            (
                _reluctance(curves[a[0]], curves[b[0]], float(heading[a] @ heading[b]))
                + rng.uniform(0, 15),
                a,
                b,
            )
            for k, a in enumerate(ends)
            for b in ends[k + 1 :]
        )
        for cost, a, b in rated:
            if cost < 60 and a not in partner and b not in partner:
                partner[a], partner[b] = b, a
    return partner


def _reluctance(first: Curve, second: Curve, cosine: float) -> float:
    """Return degrees of the turn, less where both curves bound the same region.

    Args:
        first: one curve.
        second: the other.
        cosine: of the angle between the ways in which the two leave their junction.
    """
    turn = math.degrees(math.acos(min(max(-cosine, -1.0), 1.0)))
    if first.region == second.region:
        same_kind = (first.kind is CurveKind.CREASE) == (second.kind is CurveKind.CREASE)
        return 0.5 * turn - (15.0 if same_kind else 0.0)
    return 1.5 * turn + 10.0


def _outward(points: np.ndarray, end: int) -> np.ndarray:
    """Return unit tangent of a curve leaving its start (end 0) or its end (end 1)."""
    path = points if end == 0 else points[::-1]
    path = path[:10]
    reach = np.hypot(*(path - path[0]).T)
    far = int(np.argmax(reach > _TANGENT_PX)) or len(path) - 1
    return (path[far] - path[0]) / max(float(reach[far]), 1e-9)


def _line(curves: list[Curve], reverse: list[bool]) -> StrokeLine:
    paths = [c.points[::-1] if r else c.points for c, r in zip(curves, reverse, strict=True)]
    counts = [len(path) for path in paths]
    points = np.vstack(paths)
    regions = np.repeat([c.region for c in curves], counts)
    parts = np.repeat([c.part for c in curves], counts)
    fresh = np.r_[True, np.hypot(*np.diff(points, axis=0).T) > 1e-6]
    lengths = [float(np.hypot(*np.diff(path, axis=0).T).sum()) for path in paths]
    weight = sum(
        n * _KIND_WEIGHT[c.kind] * (0.3 + 0.7 * c.strength)
        for n, c in zip(lengths, curves, strict=True)
    )
    return StrokeLine(
        points=points[fresh], regions=regions[fresh], parts=parts[fresh], weight=weight
    )


def _collapse(line: StrokeLine, narrow_px: float) -> StrokeLine:
    """Turn a narrow outline, closed or nearly so, into the line along its middle."""
    points = line.points
    step = np.hypot(*np.diff(points, axis=0).T)
    around = float(step.sum())
    gap = float(np.hypot(*(points[0] - points[-1])))
    x, y = (points - points[0]).T
    area = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    if around < 16.0 or gap > 0.2 * around or 2.0 * area / around > narrow_px:
        return line
    _, axes = np.linalg.eigh(np.cov((points - points.mean(0)).T))
    along = points @ axes[:, 1]
    if float(np.ptp(along)) < 0.35 * around:
        return line  # bent back on itself: a ring or a fork
    start = int(along.argmin())
    turned = np.roll(np.arange(len(points)), -start)
    end = int(along[turned].argmax())
    sides = points[turned[: end + 1]], points[np.r_[turned[end:], start]][::-1]
    num_points = max(int(around / 4.0), 3)
    fractions = np.linspace(0.0, 1.0, num_points)
    middle = sum(0.5 * _at(side, fractions) for side in sides)
    return StrokeLine(
        points=np.asarray(middle),
        regions=np.full(num_points, line.regions[start]),
        parts=np.full(num_points, line.parts[start]),
        weight=0.8 * line.weight,
    )


def _at(path: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Return points at fractions of the length of a path."""
    travelled = np.r_[0.0, np.hypot(*np.diff(path, axis=0).T).cumsum()]
    share = travelled / max(float(travelled[-1]), 1e-9)
    return np.stack([np.interp(fractions, share, path[:, k]) for k in (0, 1)], axis=1)


def _choose(
    lines: list[StrokeLine], economy: Economy, rng: np.random.Generator
) -> list[StrokeLine]:
    """Keep heavy lines, some light ones, and no line that runs beside a kept one."""
    kept: list[StrokeLine] = []
    for line in sorted(lines, key=lambda line: -line.weight):
        odds = (line.weight / economy.least_weight) ** 3
        if kept and rng.random() > odds / (1.0 + odds):
            continue
        if kept and _runs_beside(line, kept, economy.parallel_px * rng.uniform(0.5, 1.3)):
            continue
        kept.append(line)
        if len(kept) >= economy.most_lines:
            break
    return kept


def _runs_beside(line: StrokeLine, others: list[StrokeLine], distance_px: float) -> bool:
    tree = KDTree(np.vstack([other.points for other in others]))
    away, _ = tree.query(line.points[::2], distance_upper_bound=distance_px)
    return bool(np.isfinite(away).mean() > 0.75)


def _lift_pen(line: StrokeLine, lift: float, rng: np.random.Generator) -> list[StrokeLine]:
    """Cut a line at some of its corners; a closed one starts at a corner near the upper left."""
    turns = corners(line.points, 2.5, 45.0)
    if line.is_closed and turns:
        first = min(turns, key=lambda i: float(line.points[i].sum()) + rng.normal(0, 30))
        line = _cut(line, np.r_[first : len(line.points) - 1, 0 : first + 1])
        turns = corners(line.points, 2.5, 45.0)
    stops = [i for i in turns if rng.random() < lift]
    bounds = [0, *stops, len(line.points) - 1]
    pieces = [_cut(line, np.arange(a, b + 1)) for a, b in pairwise(bounds) if b > a]
    long = [piece for piece in pieces if float(np.ptp(piece.points, axis=0).max()) > _SHORTEST_PX]
    return long or [line]


def _cut(line: StrokeLine, index: np.ndarray) -> StrokeLine:
    share = len(index) / len(line.points)
    return StrokeLine(
        points=line.points[index],
        regions=line.regions[index],
        parts=line.parts[index],
        weight=line.weight * share,
    )


def _order(lines: list[StrokeLine], rng: np.random.Generator) -> list[StrokeLine]:
    """Sort lines: outlines of big parts, then their details; strokes run down or rightwards."""
    heaviest: dict[int, float] = defaultdict(float)
    for line in lines:
        heaviest[int(line.parts[0])] = max(heaviest[int(line.parts[0])], line.weight)
    lines = sorted(
        lines,
        key=lambda line: (
            -heaviest[int(line.parts[0])],
            -line.weight * float(rng.lognormal(0, 0.3)),
        ),
    )
    turned = []
    for line in lines:
        run = line.points[-1] - line.points[0]
        backwards = run[0] + 1.2 * run[1] < 0
        turned.append(_cut(line, np.arange(len(line.points))[::-1]) if backwards else line)
    return turned
