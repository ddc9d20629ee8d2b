"""Path data of SVG as Bezier curves."""

import math
import re
from dataclasses import dataclass, field

import numpy as np

from composer.errors import InputError

MAX_CURVES = 100_000
_NUMBER = re.compile(r"[\s,]*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
_FLAG = re.compile(r"[\s,]*([01])")
_COMMAND = re.compile(r"[\s,]*([MmZzLlHhVvCcSsQqTtAa])")
_END = re.compile(r"[\s,]*\Z")
_QUARTER = np.array([[0.0, 1.0], [-1.0, 0.0]])  # (x, y) @ it is the turn by a right angle
_NUM_POINTS = {"M": 1, "L": 1, "T": 1, "S": 2, "Q": 2, "C": 3}


@dataclass(kw_only=True, slots=True, eq=False)
class Subpath:
    """A line drawn without lifting the pen.

    Attributes:
        curves: Control points of each Bezier curve, (2 to 4, 2): of a line, a parabola or a cubic.
        start: Where it begins.
        is_closed: Whether it returns to its start.
    """

    start: np.ndarray
    curves: list[np.ndarray] = field(default_factory=list[np.ndarray])
    is_closed: bool = False


def read_path(data: str) -> list[Subpath]:
    """Read the attribute `d` of a path.

    Raises:
        InputError: It is no path data, or has more than `MAX_CURVES` curves.
    """
    reader = _PathReader(data)
    while not reader.is_at_end():
        reader.read_command()
    return reader.subpaths


class _PathReader:
    """Position in path data, and the pen's."""

    def __init__(self, data: str) -> None:
        self.data, self.position = data, 0
        self.subpaths: list[Subpath] = []
        self.pen = np.zeros(2)
        self.control = self.pen  # of the last curve, which S and T go on from
        self.last = ""
        self.num_curves = 0

    def is_at_end(self) -> bool:
        return _END.match(self.data, self.position) is not None

    def read_command(self) -> None:
        command = self._next(_COMMAND)
        name = command.upper()
        if name == "Z":
            self._close()
        elif not self.subpaths and name != "M":
            raise _unreadable()
        else:
            self._segment(name, is_relative=command.islower())
            while _NUMBER.match(self.data, self.position):
                # Further points of a move are lines.
                self._segment("L" if name == "M" else name, is_relative=command.islower())
        self.last = name

    def _segment(self, name: str, *, is_relative: bool) -> None:
        origin = self.pen if is_relative else np.zeros(2)
        if name == "A":
            self._arc(origin)
        elif name in "HV":
            point = self.pen.copy()
            axis = "HV".index(name)
            point[axis] = self._number() + origin[axis]
            self._add([point])
        else:
            points = [origin + self._point() for _ in range(_NUM_POINTS[name])]
            if name == "M":
                self.subpaths.append(Subpath(start=points[0]))
                self.pen = points[0]
            else:
                self._add(self._with_reflected(name, points))
        if name not in "CSQT":
            self.control = self.pen
        self.last = name

    def _with_reflected(self, name: str, points: list[np.ndarray]) -> list[np.ndarray]:
        """Return the points after the pen's; S and T begin with the last control point's mirror."""
        if name in "ST":
            goes_on = self.last in ("CS" if name == "S" else "QT") and self.last != ""
            points = [2 * self.pen - self.control if goes_on else self.pen, *points]
        if len(points) > 1:
            self.control = points[-2]
        return points

    def _arc(self, origin: np.ndarray) -> None:
        radii = abs(self._number()), abs(self._number())
        angle = math.radians(self._number())
        is_large, is_positive = self._next(_FLAG) == "1", self._next(_FLAG) == "1"
        end = origin + self._point()
        for points in arc_curves(self.pen, end, radii, angle, is_large, is_positive):
            self._add(points)

    def _add(self, points: list[np.ndarray]) -> None:
        self.num_curves += 1
        if self.num_curves > MAX_CURVES:
            raise InputError(f"The SVG has more than {MAX_CURVES:,} curves; simplify it.")
        if self.subpaths[-1].is_closed:  # drawing goes on after a closed part
            self.subpaths.append(Subpath(start=self.pen))
        self.subpaths[-1].curves.append(np.stack([self.pen, *points]))
        self.pen = points[-1]

    def _close(self) -> None:
        if not self.subpaths:
            raise _unreadable()
        self.subpaths[-1].is_closed = True
        self.pen = self.control = self.subpaths[-1].start

    def _point(self) -> np.ndarray:
        return np.array([self._number(), self._number()])

    def _number(self) -> float:
        return float(self._next(_NUMBER))

    def _next(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.data, self.position)
        if match is None:
            raise _unreadable()
        self.position = match.end()
        return match[1]


def arc_curves(
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    angle: float,
    is_large: bool,
    is_positive: bool,
) -> list[list[np.ndarray]]:
    """Return an elliptical arc as cubic curves of at most a quarter each, without their starts.

    Source: SVG 1.1 (2011), appendix F.6.
    """
    if min(radii) == 0 or not math.isfinite(math.prod(radii)) or (start == end).all():
        return [[end]]
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    scale = turn * np.array(radii)  # from the unit circle to the ellipse
    first, last = np.linalg.solve(scale, np.stack([start, end], axis=1)).T
    half = (last - first) / 2
    length = math.hypot(*half)
    if length > 1:  # radii too small for the distance grow
        scale, first, half = scale * length, first / length, half / length
        length = 1.0
    side = -1 if is_large == is_positive else 1
    across = np.array([-half[1], half[0]]) * side * math.sqrt(max(1 / length**2 - 1, 0))
    centre = first + half + across
    begin, stop = (math.atan2(y, x) for x, y in (first - centre, first + 2 * half - centre))
    sweep = (stop - begin) % (2 * math.pi)
    if not is_positive:
        sweep -= 2 * math.pi
    count = max(1, math.ceil(abs(sweep) / (math.pi / 2) - 1e-9))
    step = sweep / count
    reach = 4 / 3 * math.tan(step / 4)
    curves: list[list[np.ndarray]] = []
    for number in range(count):
        one, two = _on_circle(begin + number * step), _on_circle(begin + (number + 1) * step)
        points = (one + reach * one @ _QUARTER, two - reach * two @ _QUARTER, two)
        curves.append([scale @ (centre + point) for point in points])
    curves[-1][-1] = end
    return curves


def _on_circle(angle: float) -> np.ndarray:
    return np.array([math.cos(angle), math.sin(angle)])


def _unreadable() -> InputError:
    return InputError("The SVG has a path that cannot be read; export it again.")
