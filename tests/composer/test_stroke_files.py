"""Strokes as other programs and data sets write them."""

import io
import json
import time
import zipfile

import numpy as np
import pytest

from composer.errors import InputError
from composer.outlines import centre_line
from composer.sketch import rasterise
from composer.stroke_files import read_stroke_file
from composer.svg import read_svg
from composer.svg_path import read_path

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
TICK = [[0.25, 0.5], [0.5, 0.75]]


@pytest.fixture
def read(tmp_path):
    def write_and_read(name: str, data: bytes):
        (tmp_path / name).write_bytes(data)
        return read_stroke_file(tmp_path / name)

    return write_and_read


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def svg(body: str, attributes: str = 'viewBox="0 0 100 100"') -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>'.encode()


def strokes_of(body: str) -> list[np.ndarray]:
    return list(read_svg(svg(body)).strokes or ())


def assert_square_and_tick(sketch):
    assert len(sketch.strokes) == 2
    np.testing.assert_allclose(sketch.strokes[0], SQUARE, atol=1e-6)
    np.testing.assert_allclose(sketch.strokes[1], TICK, atol=1e-6)


STROKE_3 = np.array([[7, 9, 0], [0, 8, 0], [8, 0, 0], [0, -8, 1], [-6, 4, 0], [2, 2, 1]])
PEN = np.eye(3, dtype=int)[[0, 0, 0, 1, 0, 1, 2, 2]]
STROKE_5 = np.concatenate([np.vstack([STROKE_3[:, :2], [[0, 0], [99, 99]]]), PEN], axis=1)
QUICKDRAW = {
    "word": "box",
    "drawing": [[[0, 0, 200, 200], [0, 200, 200, 0]], [[50, 100], [100, 150]]],
}
RAW_QUICKDRAW = {"drawing": [[*stroke, [0] * len(stroke[0])] for stroke in QUICKDRAW["drawing"]]}
SAME = {
    "stroke3.npy": npy(STROKE_3),
    "half.npy": npy(STROKE_3.astype(np.float16)),
    "stroke5.npy": npy(STROKE_5.astype(np.float32)),
    "stroke3.json": json.dumps(STROKE_3.tolist()).encode(),
    "stroke5.json": json.dumps(STROKE_5.tolist()).encode(),
    "quickdraw.ndjson": json.dumps(QUICKDRAW).encode() + b"\n" + b'{"drawing": []}\n',
    "quickdraw.jsonl": json.dumps(QUICKDRAW).encode() + b"\n",
    "several.json": json.dumps([QUICKDRAW, {"drawing": []}]).encode(),
    "raw.ndjson": json.dumps(RAW_QUICKDRAW).encode(),
    "quickdraw.json": json.dumps(QUICKDRAW).encode(),
    "canvas.json": json.dumps([SQUARE, TICK]).encode(),
    "lines.svg": svg('<path fill="none" stroke="#000" d="M0,0V8h8V0M2 4l2 2"/>'),
}


@pytest.mark.parametrize("name", SAME)
def test_all_formats_give_the_same_strokes(read, name):
    assert_square_and_tick(read(name, SAME[name]))


def test_an_archive_of_one_array_is_read(read):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, drawing=STROKE_3)
    assert_square_and_tick(read("a.npz", buffer.getvalue()))


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * (64 << 20))
    return buffer.getvalue()


def archive_of(count: int) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, *[STROKE_3] * count)
    return buffer.getvalue()


def huge_header() -> bytes:
    return npy(np.zeros((2, 3))).replace(b"(2, 3)", b"(99999999999, 3)").replace(b" " * 10, b"", 1)


LAUGHS = (
    '<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<svg xmlns="http://www.w3.org/2000/svg"><path stroke="#000" d="M0 0L1 1"/>&b;</svg>'
)
HOSTILE = {
    "pickle.npy": (pickled(), "pickled objects are not read"),
    "huge.npy": (huge_header(), "no plain array"),
    "text.npy": (b"hello", "no plain array"),
    "old.npy": (npy(STROKE_3).replace(b"}", b"(", 1), "no plain array"),
    "flat.npy": (npy(np.zeros(9)), "shape"),
    "states.npy": (npy(np.full((4, 3), 0.5)), "pen states"),
    "nan.npy": (npy(np.array([[np.nan, 0, 0], [1, 1, 1]])), "finite"),
    "many.npy": (npy(np.tile([1, 1, 1], (5_000, 1))), "at most 2000 strokes"),
    "bomb.npz": (bomb(), "no plain array|takes more"),
    "text.npz": (b"hello", "no archive"),
    "three.npz": (archive_of(3), "must hold one array, it holds 3"),
    "no.npz": (archive_of(0), "no archive"),
    "nested.json": (b"[" * 100_000, "not valid JSON"),
    "nan.json": (b"[[NaN, 0, 0], [1, 1, 1]]", "finite"),
    "huge.ndjson": (b'{"drawing": [[[0, 1e999], [0, 1]]]}', "finite"),
    "ragged.ndjson": (b'{"drawing": [[[0, 1], [0]]]}', "equal length"),
    "list.ndjson": (b"[]", "object with `drawing`"),
    "empty.ndjson": (b'{"drawing": []}', "empty"),
    "entities.svg": (LAUGHS.encode(), "defines entities"),
    "nested.svg": (svg("<g>" * 200 + "</g>" * 200), "nested deeper"),
    "elements.svg": (svg("<g/>" * 60_000), "elements"),
    "curves.svg": (svg(f'<path stroke="#000" d="M0 0{"h1" * 150_000}"/>'), "curves"),
    "nan.svg": (svg('<path stroke="#000" d="M0 0L1e999 1"/>'), "finite"),
    "path.svg": (svg('<path stroke="#000" d="M0 0L1 NaN"/>'), "path that cannot be read"),
    "transform.svg": (svg('<g transform="matrix(1 2)"><path d="M0 0h1"/></g>'), "transform"),
    "broken.svg": (b"<svg><path", "no SVG, or damaged"),
    "other.svg": (b"<html/>", "no SVG"),
    "none.svg": (svg("<text>hello</text>"), "no lines"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_bounded_time(read, name):
    data, message = HOSTILE[name]
    start = time.process_time()
    with pytest.raises(InputError, match=message):
        read(name, data)
    assert time.process_time() - start < 10


def test_transforms_of_groups_apply_from_the_inside_out():
    body = (
        '<g transform="translate(10 20) scale(2)"><g transform="rotate(90 5 5)">'
        '<path fill="none" stroke="#000" d="M0 0L10 0"/></g></g>'
        '<path fill="none" stroke="#000" d="M0 0L10 20"/>'
    )
    down, across = strokes_of(body)
    np.testing.assert_allclose(down * 40, [[30, 20], [30, 40]], atol=1e-4)
    np.testing.assert_allclose(across * 40, [[0, 0], [10, 20]], atol=1e-4)


def test_a_half_circle_of_arcs_and_a_circle_lie_on_it():
    path = '<path fill="none" stroke="#000" d="M0,50a50 50 0 01100 0"/>'
    circle = '<circle cx="50" cy="50" r="50" fill="none" stroke="#000"/>'
    for body in (path, circle):
        points = np.concatenate(strokes_of(body))
        centre = [0.5, 0.5]
        np.testing.assert_allclose(np.hypot(*(points - centre).T), 0.5, atol=1e-3)


def test_smooth_curves_go_on_in_the_same_direction():
    [subpath] = read_path("M0 0C0 1 1 1 1 0S2 -1 2 0Q3 1 4 0T6 0")
    controls = [curve.tolist() for curve in subpath.curves]
    assert controls[1] == [[1, 0], [1, -1], [2, -1], [2, 0]]
    assert controls[3] == [[4, 0], [5, -1], [6, 0]]


def freehand(points: np.ndarray, width: float) -> str:
    """Outline a line as perfect-freehand does: along one side and back along the other."""
    along = np.gradient(points, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.hypot(*along.T)[:, None]
    outline = np.concatenate([points + width / 2 * normal, (points - width / 2 * normal)[::-1]])
    return "M" + " L".join(f"{x:.2f},{y:.2f}" for x, y in outline) + "Z"


def test_a_filled_outline_of_a_freehand_stroke_is_read_as_its_middle():
    at = np.linspace(0, 5, 80)
    points = np.stack([20 * at, 50 + 30 * np.sin(at)], axis=1)
    page = '<rect x="-10" y="0" width="130" height="100" fill="#ffffff"/>'
    path = f'<path stroke="none" fill="#1e1e1e" d="{freehand(points, 3)}"/>'
    body = (
        f'<defs><style>@font-face {{}}</style><path d="M0 0h900v900"/></defs>{page}'
        f'<g transform="translate(5 3)">{path}</g>'
    )
    [stroke] = strokes_of(body)
    expected = (points - points.min(axis=0)) / 100
    far = [np.hypot(*(stroke - point).T).min() for point in expected[3:-3]]
    assert max(far) < 0.02
    assert len(stroke) > 60


def test_wide_shapes_have_no_middle():
    square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    assert centre_line(square) is None
    [outline] = strokes_of('<path d="M0 0h10v10h-10z"/>')
    assert len(outline) == 5


def test_what_is_not_seen_is_not_read():
    line = 'd="M0 0L10 10" stroke="#000"'
    hidden = (
        f'<path {line} display="none"/><g opacity="0"><path {line}/></g>'
        f'<path {line} style="stroke: none; fill: none"/><path class="off" {line}/>'
        f'<path d="M0 0L9 9" fill="none"/><symbol><path {line}/></symbol>'
        '<line x2="1mm" y2="1mm" stroke="none"/>'
        + "".join(
            f'<path d="M0 0L9 9" fill="none" stroke="{colour}"/>'
            for colour in ("#0000", "#00000000", "rgba(0, 0, 0, 0)", "rgb(0 0 0 / 0%)")
        )
    )
    body = f'<style>.off{{stroke:none;fill:none}}</style>{hidden}<path d="M0 5H10" stroke="red"/>'
    [stroke] = strokes_of(body)
    np.testing.assert_allclose(stroke, [[0, 0], [1, 0]])


def test_black_in_every_spelling_is_seen():
    for colour in (
        "#000",
        "#000000",
        "#000f",
        "rgb(0,0,0)",
        "rgba(0, 0, 0, 1.0)",
        "hsl(0, 0%, 0%)",
    ):
        assert len(strokes_of(f'<path d="M0 0L9 9" fill="none" stroke="{colour}"/>')) == 1


@pytest.mark.parametrize(
    "pages",
    [
        '<rect width="100" height="100" fill="#fff" stroke="#fff"/>',
        '<rect width="100" height="100" fill="#fff"/><path d="M0 0h100v100H0z" fill="url(#grid)"/>',
        '<rect width="30mm" height="30mm" fill="#fff"/>',
    ],
)
def test_pages_behind_the_drawing_are_left_out(pages):
    [stroke] = strokes_of(f'{pages}<path d="M10 10V90H90" fill="none" stroke="#000"/>')
    assert len(stroke) == 3


def test_a_drawing_of_many_points_is_thinned():
    waves = "".join(f"q1 {(-1) ** n * 9} 2 0" for n in range(30_000))
    sketch = read_svg(svg(f'<path fill="none" stroke="#000" d="M0 0{waves}"/>'))
    assert sum(len(stroke) for stroke in sketch.strokes or ()) <= 40_000
    assert (rasterise(sketch, 64) < 128).any()
