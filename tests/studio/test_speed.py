import numpy as np
import pytest

from composer.query import Query
from composer.sketch import Sketch
from generation.peer import plain_call
from generation.request import DrawingSettings, GenerateRequest
from studio import speed
from studio.engine import Engine
from studio.kits import load_kit
from tests.studio.tiny_kit import write_kit


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(load_kit(str(write_kit(tmp_path_factory.mktemp("kit") / "kit"))))


def test_drawing_is_timed_beside_the_plain_call(engine, monkeypatch):
    monkeypatch.setattr(speed, "NUM_DRAWINGS", 1)
    sketch = Sketch.from_strokes([np.array(stroke) for stroke in speed.SKETCH])
    composed = engine.compose(Query(sketch=sketch, text="red"))
    rows = speed.drawing_timings(engine, engine.kit.pipeline, sketch, composed)
    side = engine.pipeline.native_size_px
    assert [row.what for row in rows] == [
        f"generate, {side} px, 20 steps",
        "generate, as the kit does it",
        f"transfer, {side} px, strength 0.8",
        "transfer, as the kit does it",
        "transfer, faithful",
        "generate, with the control network",
    ]
    assert all(row.ours_ms > 0 for row in rows)
    assert rows[0].as_json()["ratio"] == pytest.approx(rows[0].peer_ms / rows[0].ours_ms, abs=1e-3)


def test_the_plain_call_draws_the_words_with_the_requests_settings(engine):
    def picture(text: str, **changes: int) -> bytes:
        request = GenerateRequest(
            query=engine.compose(Query(text=text)), settings=DrawingSettings(**changes)
        )
        return plain_call(engine.kit.pipeline, request)().tobytes()

    red = picture("red", num_inference_steps=2)
    assert red == picture("red", num_inference_steps=2)
    assert red != picture("a chair", num_inference_steps=2)
    assert red != picture("red", num_inference_steps=3)
    assert red != picture("red", num_inference_steps=2, seed=1)
