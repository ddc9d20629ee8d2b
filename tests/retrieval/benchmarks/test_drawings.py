from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from composer.sketch import Sketch
from retrieval.benchmarks.drawing_kinds import KINDS, clean_picture

EXAMPLES = Path(__file__).parents[3] / "assets" / "examples"


@pytest.fixture(scope="module")
def page() -> Image.Image:
    return clean_picture(Sketch.from_json((EXAMPLES / "1-chair.json").read_bytes()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_the_picture_and_its_seed_decides_how(kind, page):
    one, same, other = (KINDS[kind](page, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()
    assert one.convert("RGBA").tobytes() != page.convert("RGBA").tobytes()
