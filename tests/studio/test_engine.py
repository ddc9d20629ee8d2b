"""One kit, one query, loaded and encoded once."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from composer.query import Query
from composer.sketch import Sketch
from generation.model_folder import PipelineError
from generation.request import DrawingSettings, GenerateRequest
from retrieval.errors import GalleryError
from studio import tower as tower_module
from studio.engine import ComposeOptions, Engine
from studio.kits import load_kit
from tests.studio.tiny import index_gallery, write_gallery, write_kit
from tests.studio.tiny_kit import write_kit as write_drawing_kit

SKETCH = Sketch.from_strokes([np.array([[0.1, 0.1], [0.9, 0.2]])])
OTHER = Sketch.from_strokes([np.array([[0.1, 0.1], [0.2, 0.9]])])


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(load_kit(str(write_kit(tmp_path_factory.mktemp("kit")))))


def test_a_reference_is_encoded_once_however_often_the_words_change(engine, monkeypatch):
    composer = engine.composer("duet")
    encode, encoded_queries = composer.encode, []
    monkeypatch.setattr(
        composer, "encode", lambda query: encoded_queries.append(query) or encode(query)
    )
    first = engine.compose(Query(sketch=SKETCH, text="red"))
    engine.compose(Query(sketch=Sketch.from_strokes([SKETCH.strokes[0].copy()]), text="blue"))
    assert len(encoded_queries) == 1
    other = engine.compose(Query(sketch=OTHER, text="red"))
    assert len(encoded_queries) == 2
    assert not torch.equal(first.feature, other.feature)


def grey(level):
    return Image.new("RGB", (64, 64), (level, level // 2, 30))


def scan(*, upright):
    raster = np.full((64, 64), 255, np.uint8)
    raster[30:33, 8:56] = 0
    return Sketch(raster=raster.T.copy() if upright else raster)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Query(image=grey(40)), Query(image=grey(220))),
        (Query(sketch=scan(upright=True)), Query(sketch=scan(upright=False))),
    ],
)
def test_references_of_the_same_size_are_distinguished_by_content(engine, first, second):
    expected = [engine.composer("duet").encode(query) for query in (first, second)]
    composed = [engine.compose(query) for query in (first, second)]
    assert not torch.allclose(composed[0].feature, composed[1].feature, atol=1e-3)
    for query, encoded in zip(composed, expected, strict=True):
        alone = engine.composer("duet").compose(encoded, "", 0.5)
        torch.testing.assert_close(query.feature, alone.feature)


def test_the_references_used_last_are_remembered(engine, monkeypatch):
    monkeypatch.setattr(tower_module, "NUM_CACHED_REFERENCES", 2)
    composer = engine.composer("duet")
    encode, encoded_queries = composer.encode, []
    monkeypatch.setattr(
        composer, "encode", lambda query: encoded_queries.append(query) or encode(query)
    )
    first, second, third = (Query(image=grey(level)) for level in (10, 20, 30))
    for query in (first, second, third):
        engine.compose(query)
    assert encoded_queries == [first, second, third]
    engine.compose(third)
    engine.compose(second)
    assert len(encoded_queries) == 3
    engine.compose(first)  # drops the third, which was used least recently
    assert len(encoded_queries) == 4
    engine.compose(second)
    assert len(encoded_queries) == 4
    engine.compose(third)
    assert len(encoded_queries) == 5


def test_a_gallery_on_milvus_says_what_to_install(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "retrieval.engines.milvus", None)
    with pytest.raises(GalleryError, match=r"pip install 'duet-studio\[cluster\]'"):
        engine.gallery("http://localhost:1")


def test_a_kit_without_a_trained_composer_composes_by_basic(tmp_path):
    folder = write_kit(tmp_path)
    kept = (folder / "kit.toml").read_text().split("[composers.duet]")[0]
    (folder / "kit.toml").write_text(kept)
    engine = Engine(load_kit(str(folder)))
    assert engine.default_composer == "basic"
    composer = ComposeOptions(composer=engine.default_composer)
    query = engine.compose(Query(sketch=SKETCH, text="red"), composer)
    assert query.fusion is not None
    index = index_gallery(write_gallery(tmp_path / "photos"), engine.backbone)
    assert len(engine.search(query, index, top_k=3).hits) == 3


def test_slerp_takes_the_kits_alpha(engine):
    assert engine.composer("slerp").settings.alpha == 0.7
    query = engine.compose(Query(sketch=SKETCH, text="red"), ComposeOptions(composer="slerp"))
    assert query.composer == "slerp"


def test_the_first_query_may_be_one_that_descends_gradients(tmp_path):
    engine = Engine(load_kit(str(write_kit(tmp_path))))
    query = engine.compose(Query(sketch=SKETCH), ComposeOptions(composer="inversion"))
    assert len(query.pseudo_tokens) == 1


def test_a_gallery_is_opened_once_and_searched(engine, tmp_path):
    index = index_gallery(write_gallery(tmp_path / "photos"), engine.backbone)
    query = engine.compose(Query(text="red"))
    assert len(engine.search(query, index, top_k=3).hits) == 3
    assert engine.gallery(index) is engine.gallery(index)


def test_a_kit_without_a_pipeline_does_not_draw(engine):
    query = engine.compose(Query(text="red"))
    with pytest.raises(PipelineError, match="searches but does not draw"):
        engine.generate(GenerateRequest(query=query))


def test_a_composer_without_tokens_draws_in_a_kit_without_a_converter(tmp_path):
    engine = Engine(load_kit(str(write_drawing_kit(tmp_path))))
    query = engine.compose(Query(sketch=SKETCH, text="red"), ComposeOptions(composer="slerp"))
    assert query.missing_tokens
    settings = DrawingSettings(num_inference_steps=2, height=64, width=64)
    request = GenerateRequest(query=query, settings=settings)

    def draw(asked):
        return np.asarray(engine.generate(asked).images[0].image)

    words = replace(request, query=engine.compose(Query(text="red")))
    assert np.array_equal(draw(request), draw(request))
    assert not np.array_equal(draw(request), draw(words))
