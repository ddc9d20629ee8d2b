"""Files of strokes: the canvas's JSON, QuickDraw, stroke-3 and stroke-5 arrays, SVG."""

import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from composer.errors import InputError
from composer.files import open_to_read
from composer.sketch import MAX_JSON_BYTES, Sketch, fit_strokes
from composer.svg import MAX_SVG_BYTES, read_svg

MAX_ARRAY_BYTES = 4 << 20
_ARRAY_ERRORS = (
    *(ValueError, EOFError, OSError, MemoryError, OverflowError, SyntaxError),
    tokenize.TokenError,  # of headers as Python 2 wrote them
)
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, EOFError, OSError, ValueError, IndexError),
)
_QUICKDRAW = "`drawing` must be strokes of two lists of equal length, x and y."
_FORMATS = "rows of dx, dy and pen up (stroke-3), or dx, dy and three pen states (stroke-5)"


def is_stroke_file(path: Path) -> bool:
    """Tell by its ending whether a file holds strokes, not a picture."""
    return path.suffix.lower() in _READERS


def read_stroke_file(path: Path) -> Sketch:
    """Read a drawing from a file of strokes.

    Raises:
        OSError: The file cannot be read.
        InputError: The file holds no strokes, or too many.
    """
    with open_to_read(path) as file:
        data = file.read(MAX_SVG_BYTES + 1)
    return _READERS[path.suffix.lower()](data)


def _read_json(data: bytes) -> Sketch:
    value = _parsed(data)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = cast("list[Any]", value)[0]  # the first drawing of several
    if isinstance(value, dict) and "drawing" in value:
        return _read_quickdraw(cast("dict[str, Any]", value))
    if isinstance(value, list) and value and _is_row(cast("list[Any]", value)[0]):
        return read_array(_as_array(cast("list[Any]", value)))
    return Sketch.from_json(data)


def _as_array(rows: list[Any]) -> np.ndarray:
    try:
        return np.asarray(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"The strokes must be {_FORMATS}.") from error


def _is_row(value: object) -> bool:
    return isinstance(value, list) and bool(value) and not isinstance(value[0], list)


def _read_ndjson(data: bytes) -> Sketch:
    """Read the first drawing of QuickDraw's lines."""
    value = _parsed(data.lstrip().partition(b"\n")[0])
    if not isinstance(value, dict):
        raise InputError("Each line must be a drawing of QuickDraw: an object with `drawing`.")
    return _read_quickdraw(cast("dict[str, Any]", value))


def _parsed(data: bytes) -> object:
    if len(data) > MAX_JSON_BYTES:
        raise InputError(f"The strokes take more than {MAX_JSON_BYTES >> 20} MiB; draw less.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("The strokes are not valid JSON.") from error


def _read_quickdraw(value: Mapping[str, Any]) -> Sketch:
    try:
        strokes = [np.asarray(part[:2], dtype=np.float64).T for part in value["drawing"]]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            "`drawing` must be strokes of two lists of equal length, x and y."
        ) from error
    if any(stroke.ndim != 2 or stroke.shape[1] != 2 for stroke in strokes):
        raise InputError(_QUICKDRAW)
    return fit_strokes(strokes)


def read_array(rows: np.ndarray) -> Sketch:
    """Read stroke-3 (dx, dy, pen up) or stroke-5 (dx, dy, pen down, pen up, end) rows.

    Raises:
        InputError: The array is neither, or has too many rows.
    """
    if rows.ndim != 2 or rows.shape[1] not in (3, 5) or rows.dtype.kind not in "biuf":
        raise InputError(f"The array must be {_FORMATS}; it has shape {rows.shape}.")
    rows = rows.astype(np.float64)
    pen = rows[:, 2:]
    if not np.isin(pen, (0, 1)).all() or (pen.shape[1] == 3 and (pen.sum(axis=1) != 1).any()):
        raise InputError(f"The array must be {_FORMATS}; its pen states are not 0 or 1.")
    if pen.shape[1] == 3:
        ended = np.flatnonzero(pen[:, 2])
        rows = rows[: ended[0]] if len(ended) else rows
        pen = rows[:, 3:4]
    else:
        pen = rows[:, 2:3]
    with np.errstate(all="ignore"):  # refused by `fit_strokes`
        points = np.cumsum(rows[:, :2], axis=0)
    ends = np.flatnonzero(pen[:, 0]) + 1
    return fit_strokes([part for part in np.split(points, ends) if len(part)])


def _read_npy(data: bytes) -> Sketch:
    if len(data) > MAX_ARRAY_BYTES:
        raise InputError(f"The array takes more than {MAX_ARRAY_BYTES >> 20} MiB; draw less.")
    file = io.BytesIO(data)
    try:
        np.lib.format.read_magic(file)
        file.seek(0)
        array = np.load(file, allow_pickle=False)
    except _ARRAY_ERRORS as error:
        raise InputError(
            "The file is no plain array of numbers (pickled objects are not read)."
        ) from error
    return read_array(array)


def _read_npz(data: bytes) -> Sketch:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            with archive.open(names[0]) as member:
                array = member.read(MAX_ARRAY_BYTES + 1)
    except _ZIP_ERRORS as error:
        raise InputError("The file is no archive of arrays, or damaged.") from error
    if len(names) != 1:
        raise InputError(f"The archive must hold one array, it holds {len(names)}.")
    return _read_npy(array)


_READERS: Final[Mapping[str, Callable[[bytes], Sketch]]] = {
    ".json": _read_json,
    ".ndjson": _read_ndjson,
    ".jsonl": _read_ndjson,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".svg": read_svg,
}
