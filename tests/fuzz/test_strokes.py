"""Three hundred mutated files of strokes, and as many drawings of the page's canvas."""

import json
from pathlib import Path

import numpy as np
import pytest

from composer.sketch import rasterise
from composer.stroke_files import read_stroke_file
from studio.ui.context import read_query
from tests.composer.test_stroke_files import SAME, svg
from tests.fuzz.mutations import is_refused, leaving_nothing, mutate_bytes, mutate_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning"),  # NumPy's, of old headers
]

NUM_FILES = 300
SHAPES = (
    '<g transform="rotate(10 5 5) scale(2)"><path d="M0 0C1 1 2 0 3 3z" stroke="red"/></g>'
    '<circle cx="50" cy="50" r="9" fill="none" stroke="#000"/><polyline points="0,0 5,5 9 1"/>'
    '<style>.a{stroke:none}</style><rect class="a" x="1" y="2" width="30" height="4" rx="2"/>'
)
FILES = {**SAME, "shapes.svg": svg(SHAPES)}


def mutated(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    if name.endswith(".json") and rng.random() < 0.6:
        return json.dumps(mutate_json(json.loads(data), rng)).encode()
    return mutate_bytes(data, rng)


def test_mutated_files_are_read_or_refused(tmp_path: Path):
    rng, num_refused = np.random.default_rng(3), 0
    with leaving_nothing(tmp_path):
        for number in range(NUM_FILES):
            name = list(FILES)[number % len(FILES)]
            data = mutated(name, FILES[name], rng)
            file = tmp_path / name
            file.write_bytes(data)

            def read(file: Path = file) -> object:
                return rasterise(read_stroke_file(file), 64)

            num_refused += is_refused(read, data[:2000])
            file.unlink()
    assert 30 < num_refused < NUM_FILES - 10


def test_mutated_drawings_of_the_canvas_are_read_or_refused():
    rng, num_refused = np.random.default_rng(4), 0
    whole = json.loads(SAME["canvas.json"])
    for number in range(NUM_FILES):
        value = whole
        for _ in range(rng.integers(1, 4)):
            value = mutate_json(value, rng)
        text = json.dumps(value) if number % 3 else mutate_bytes(json.dumps(value).encode(), rng)
        drawing = text if isinstance(text, str) else text.decode("latin-1")
        num_refused += is_refused(lambda drawing=drawing: read_query(drawing, ""), drawing[:2000])
    assert num_refused > 30
