"""Strokes of an SVG drawing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from xml.parsers import expat

import numpy as np

from composer.errors import InputError
from composer.outlines import centre_line
from composer.sketch import MAX_POINTS, MAX_STROKES, Sketch, Stroke, fit_strokes
from composer.svg_path import MAX_CURVES, Subpath, read_path

MAX_SVG_BYTES = 4 << 20
_MAX_DEPTH = 100
_MAX_ELEMENTS = 50_000
_MAX_CSS = 100_000
_MAX_TRANSFORM = 10_000  # characters
_STEPS = 100  # points along a curve as long as the drawing
_HIDDEN = {"defs", "clipPath", "mask", "pattern", "symbol", "marker", "filter", "metadata"}
_PAINT = (
    "fill",
    "stroke",
    "display",
    "visibility",
    "opacity",
    "stroke-opacity",
    "fill-opacity",
    "stroke-width",
)
_RULE = re.compile(r"\.([\w-]+)\s*\{([^{}]*)\}")
_TRANSFORM = re.compile(r"(matrix|translate|scale|rotate|skewX|skewY)\s*\(([^()]*)\)")
_CLEAR = re.compile(
    r"none|transparent|#[0-9a-f]{3}0|#[0-9a-f]{6}00|(?:rgb|hsl)a?\((?:[^,]*,[^,]*,[^,]*,|.*/)\s*0*\.?0+%?\s*\)",
    re.IGNORECASE,
)
_UNITS_PX = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_SPLIT = re.compile(r"[\s,]+")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Context:
    """What an element inherits.

    Attributes:
        matrix: From its coordinates to the drawing's, (2, 3).
        paint: Properties that decide what of it is seen.
        is_hidden: Whether it is not drawn where it stands.
    """

    matrix: np.ndarray
    paint: Mapping[str, str]
    is_hidden: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shape:
    subpaths: list[Subpath]
    is_filled: bool


@dataclass(slots=True, eq=False)
class _Reader:
    """Elements open so far, and the shapes of all."""

    shapes: list[_Shape] = field(default_factory=list[_Shape])
    stack: list[_Context] = field(default_factory=list[_Context])
    rules: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    css: str = ""
    is_style: bool = False
    num_elements: int = 0
    num_curves: int = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self.stack and name != "svg":
            raise InputError("The file is no SVG.")
        if len(self.stack) >= _MAX_DEPTH:
            raise InputError(f"The SVG is nested deeper than {_MAX_DEPTH} elements.")
        self.num_elements += 1
        if self.num_elements > _MAX_ELEMENTS:
            raise InputError(f"The SVG has more than {_MAX_ELEMENTS:,} elements; simplify it.")
        outer = self.stack[-1] if self.stack else _Context(matrix=np.eye(3)[:2], paint={})
        context = self._context(outer, attributes, is_hidden=name in _HIDDEN)
        self.stack.append(context)
        self.is_style = name == "style"
        if not context.is_hidden:
            self._add(name, attributes, context)

    def end(self, _: str) -> None:
        self.stack.pop()
        if self.is_style:
            for name, body in _RULE.findall(self.css):
                self.rules.setdefault(name, {}).update(_declarations(body))
            self.is_style, self.css = False, ""

    def text(self, data: str) -> None:
        if self.is_style and len(self.css) < _MAX_CSS:
            self.css += data[:_MAX_CSS]

    def _context(
        self, outer: _Context, attributes: Mapping[str, str], *, is_hidden: bool
    ) -> _Context:
        own = {name: attributes[name] for name in _PAINT if name in attributes}
        for name in attributes.get("class", "").split():
            own |= self.rules.get(name, {})
        own |= _declarations(attributes.get("style", ""))
        is_unseen = own.get("display") == "none" or _is_zero(own.pop("opacity", "1"))
        return _Context(
            matrix=_then(outer.matrix, _transform(attributes.get("transform", ""))),
            paint={**outer.paint, **own},
            is_hidden=outer.is_hidden or is_hidden or is_unseen,
        )

    def _add(self, name: str, attributes: Mapping[str, str], context: _Context) -> None:
        paint = context.paint
        if paint.get("visibility", "visible") != "visible":
            return
        has_line = _is_seen(paint, "stroke", "none") and not _is_zero(paint.get("stroke-width", ""))
        has_area = name != "line" and _is_seen(paint, "fill", "black")
        is_edge = has_area and paint.get("stroke") == paint.get("fill")  # of the filling
        has_line = has_line and not is_edge
        is_filled = has_area and not has_line
        subpaths = _subpaths(name, attributes) if has_line or is_filled else []
        self.num_curves += sum(len(subpath.curves) for subpath in subpaths)
        if self.num_curves > MAX_CURVES:
            raise InputError(f"The SVG has more than {MAX_CURVES:,} curves; simplify it.")
        for subpath in subpaths:
            subpath.start = _moved(subpath.start, context.matrix)
            subpath.curves = [_moved(curve, context.matrix) for curve in subpath.curves]
        if subpaths:
            self.shapes.append(_Shape(subpaths=subpaths, is_filled=is_filled))


def read_svg(data: bytes) -> Sketch:
    """Read the lines of an SVG as strokes.

    Stroked shapes are lines. A filled shape without a stroke is its outline, or the line along its
    middle if it is as thin as a pen's stroke. A filled rectangle behind all others is the page.
    Text, pictures and what is used from elsewhere (`use`) are left out.

    Raises:
        InputError: It is no SVG, too large, defines entities, or has no lines.
    """
    if len(data) > MAX_SVG_BYTES:
        raise InputError(f"The SVG takes more than {MAX_SVG_BYTES >> 20} MiB; simplify it.")
    with np.errstate(all="ignore"):  # values that are not finite are refused with the strokes
        shapes = _without_page(_shapes(data))
        if not shapes:
            raise InputError("The SVG has no lines.")
        every = np.concatenate([_points(shape) for shape in shapes])
        extent = float(np.ptp(every, axis=0).max())
        strokes = [stroke for shape in shapes for stroke in _strokes(shape, extent)]
    return fit_strokes(_thinned(strokes))


def _thinned(strokes: list[Stroke]) -> list[Stroke]:
    """Leave out points evenly, never the ends of a stroke, so that a sketch may hold the rest."""
    step = -(-sum(len(stroke) for stroke in strokes) // (MAX_POINTS - 2 * MAX_STROKES))
    if step <= 1:
        return strokes
    return [np.concatenate([stroke[:-1:step], stroke[-1:]]) for stroke in strokes]


def _shapes(data: bytes) -> list[_Shape]:
    reader, parser = _Reader(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = _refuse_entities
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InputError("The file is no SVG, or damaged.") from error
    return reader.shapes


def _refuse_entities(*_: object) -> None:
    raise InputError("The SVG defines entities, which are not read; export it again.")


def _without_page(shapes: list[_Shape]) -> list[_Shape]:
    """Leave out first filled rectangles around all the others."""
    while len(shapes) > 1 and shapes[0].is_filled:
        page, *others = (_points(shape) for shape in shapes)
        rest = np.concatenate(others)
        low, high = page.min(axis=0), page.max(axis=0)
        is_rectangle = bool(((page == low) | (page == high)).all())
        margin = 0.02 * (high - low)
        is_around = bool((rest >= low - margin).all() and (rest <= high + margin).all())
        if not (is_rectangle and is_around):
            break
        shapes = shapes[1:]
    return shapes


def _points(shape: _Shape) -> np.ndarray:
    starts = [subpath.start[None] for subpath in shape.subpaths]
    return np.concatenate([*starts, *(c for subpath in shape.subpaths for c in subpath.curves)])


def _strokes(shape: _Shape, extent: float) -> list[Stroke]:
    strokes: list[Stroke] = []
    for subpath in shape.subpaths:
        line = _flattened(subpath, extent)
        if shape.is_filled:
            middle = centre_line(line) if len(line) > 3 else None
            line = np.concatenate([line, line[:1]]) if middle is None else middle
        elif subpath.is_closed:
            line = np.concatenate([line, line[:1]])
        strokes.append(line)
    return strokes


def _flattened(subpath: Subpath, extent: float) -> np.ndarray:
    parts = [subpath.start[None]]
    for curve in subpath.curves:
        length = float(np.hypot(*np.diff(curve, axis=0).T).sum())
        share = length / extent if extent > 0 and np.isfinite(length) else 0.0
        count = 1 if len(curve) == 2 else int(min(max(2.0, np.ceil(_STEPS * share)), _STEPS))
        at = np.linspace(0, 1, count + 1)[1:, None]
        parts.append(_bezier(curve, at))
    return np.concatenate(parts)


def _bezier(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Evaluate a Bezier curve by repeated interpolation."""
    level = [np.broadcast_to(point, (len(at), 2)) for point in points]
    while len(level) > 1:
        level = [a + (b - a) * at for a, b in pairwise(level)]
    return np.asarray(level[0])


def _subpaths(name: str, attributes: Mapping[str, str]) -> list[Subpath]:
    match name:
        case "path":
            return read_path(attributes.get("d", ""))
        case "polyline" | "polygon":
            points = attributes.get("points", "").strip()
            return read_path(f"M{points}" + "Z" * (name == "polygon")) if points else []
        case "line":
            x1, y1, x2, y2 = (_length(attributes.get(key)) for key in ("x1", "y1", "x2", "y2"))
            return read_path(f"M{x1},{y1}L{x2},{y2}")
        case "rect":
            x, y, width, height = (
                _length(attributes.get(key)) for key in ("x", "y", "width", "height")
            )
            return read_path(f"M{x},{y}h{width}v{height}h{-width}z") if width and height else []
        case "circle" | "ellipse":
            radius = _length(attributes.get("r"))
            rx, ry = (_length(attributes.get(key)) or radius for key in ("rx", "ry"))
            left = _length(attributes.get("cx")) - rx
            cy = _length(attributes.get("cy"))
            arc = f"a{rx},{ry},0,1,0,"
            return read_path(f"M{left},{cy}{arc}{2 * rx},0{arc}{-2 * rx},0z")
        case _:
            return []


def _length(value: str | None) -> float:
    """Return a length in user units; 0 where it is relative or missing."""
    text = (value or "0").strip()
    unit = _UNITS_PX.get(text[-2:])
    try:
        return float(text) if unit is None else float(text[:-2]) * unit
    except ValueError:
        return 0.0


def _declarations(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in _PAINT}


def _is_zero(value: str) -> bool:
    try:
        return float(value.strip().removesuffix("%").removesuffix("px")) == 0
    except ValueError:
        return False


def _is_seen(paint: Mapping[str, str], kind: str, default: str) -> bool:
    colour = paint.get(kind, default)
    return not _CLEAR.fullmatch(colour.strip()) and not _is_zero(paint.get(f"{kind}-opacity", "1"))


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _then(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the matrix that applies the inner one first."""
    return outer @ np.concatenate([inner, [[0.0, 0.0, 1.0]]])


def _transform(text: str) -> np.ndarray:
    if len(text) > _MAX_TRANSFORM:
        raise InputError(f"The SVG has a transform of more than {_MAX_TRANSFORM:,} characters.")
    matrix = np.eye(3)[:2]
    for name, body in _TRANSFORM.findall(text):
        try:
            values = [float(value) for value in _SPLIT.split(body.strip()) if value]
            matrix = _then(matrix, _matrix(name, values))
        except (ValueError, IndexError) as error:
            raise InputError(f"The SVG has a transform that cannot be read: {name}.") from error
    return matrix


def _matrix(name: str, values: list[float]) -> np.ndarray:
    match name:
        case "matrix":
            a, b, c, d, e, f = values
            return np.array([[a, c, e], [b, d, f]])
        case "translate":
            return np.array([[1, 0, values[0]], [0, 1, values[1] if len(values) > 1 else 0]])
        case "scale":
            return np.array([[values[0], 0, 0], [0, values[-1], 0]])
        case "rotate":
            turn = np.radians(values[0])
            centre = np.array(values[1:3] if len(values) > 2 else [0.0, 0.0])
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            return np.column_stack([rotation, centre - rotation @ centre])
        case "skewX":
            return np.array([[1, np.tan(np.radians(values[0])), 0], [0, 1, 0]])
        case _:
            return np.array([[1, 0, 0], [np.tan(np.radians(values[0])), 1, 0]])
