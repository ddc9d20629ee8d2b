"""A token file in this program and in diffusers: the same picture on both sides."""

from pathlib import Path

import numpy as np
import pytest
import torch

from composer.composed import ComposedQuery
from composer.exported import word_of_query
from composer.query import Query
from composer.sketch import Sketch
from composer.token_file import TokenFormat, read_token, write_token
from generation.request import DrawingSettings, GenerateRequest
from studio.engine import Engine
from studio.kits import load_kit
from tests.studio.page import HOUSE
from tests.studio.tiny_kit import write_kit

SETTINGS = DrawingSettings(seed=5, num_inference_steps=3, guidance_scale=3.0)


@pytest.fixture(scope="module", params=["tiny", pytest.param("mini", marks=pytest.mark.slow)])
def engine(request, tmp_path_factory):
    if request.param == "mini":
        return Engine(load_kit())
    return Engine(load_kit(str(write_kit(tmp_path_factory.mktemp("kit")))))


def drawn(engine: Engine, query: ComposedQuery) -> np.ndarray:
    result = engine.generate(GenerateRequest(query=query, settings=SETTINGS))
    return np.asarray(result.images[0].image)


def stock_pipeline(engine: Engine):
    from diffusers import DiffusionPipeline

    stock = DiffusionPipeline.from_pretrained(
        engine.kit.pipeline, use_safetensors=True, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    return stock


def export(engine: Engine, file: Path, layout=TokenFormat.A1111) -> ComposedQuery:
    """Write the token of a drawing; return the drawing's query."""
    query = engine.compose(Query(sketch=Sketch.from_json(HOUSE)))
    write_token(file, word_of_query(query, name=file.stem, kit=engine.kit.name), layout)
    return query


@pytest.mark.parametrize("layout", [TokenFormat.A1111, TokenFormat.DIFFUSERS])
def test_the_picture_that_diffusers_draws_from_the_name_is_ours(
    engine, tmp_path, layout, monkeypatch
):
    # Backdrop and lights, of which stock diffusers knows nothing, are left out.
    monkeypatch.setattr(engine.pipeline, "light", None)
    file = tmp_path / "house.safetensors"
    query = export(engine, file, layout)
    stock = stock_pipeline(engine)
    token = None if layout is TokenFormat.DIFFUSERS else "<house>"
    stock.load_textual_inversion(str(file), token=token)
    with torch.no_grad():
        theirs = stock.encode_prompt("<house>", "cpu", 1, True, "")
    ours = engine.pipeline.condition(query, "")
    for states, name in zip(theirs, ("prompt_embeds", "negative_prompt_embeds"), strict=True):
        torch.testing.assert_close(states, ours[name], rtol=0, atol=2e-6)
    call = {
        "num_inference_steps": SETTINGS.num_inference_steps,
        "guidance_scale": SETTINGS.guidance_scale,
    }
    pictures = [
        np.asarray(stock(**words, **call, generator=_generator()).images[0])
        for words in ({"prompt": "<house>", "negative_prompt": ""}, ours)
    ]
    expected = drawn(engine, query)
    # From the same states every byte is equal; their own differ by the size of a batch.
    assert np.array_equal(pictures[1], expected)
    assert np.abs(pictures[0].astype(int) - expected).max() <= 1


def _generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(SETTINGS.seed)


def test_the_file_that_comes_back_draws_and_searches_as_before(engine, tmp_path):
    file = tmp_path / "house.safetensors"
    query = export(engine, file)
    reader = engine.with_words([read_token(file)])
    again = reader.compose(Query(text="<house>"))
    assert torch.equal(again.prompt_embeddings, query.prompt_embeddings)
    assert np.array_equal(drawn(reader, again), drawn(engine, query))
    with torch.inference_mode():
        prompt = query.prompt_embeddings[None, : query.end_position + 1]
        end = torch.tensor([query.end_position])
        feature = engine.search_backbone.encode_embeddings(prompt, end).features[0]
    assert torch.equal(again.feature, feature)
    assert reader.pipeline is engine.pipeline
    # Words follow it as they follow the drawing.
    both = engine.compose(Query(sketch=Sketch.from_json(HOUSE), text="red oak"))
    named = reader.compose(Query(text="<house> red oak"))
    assert torch.equal(named.prompt_embeddings, both.prompt_embeddings)


def test_another_file_of_that_name_is_another_word(engine, tmp_path):
    file = tmp_path / "house.safetensors"
    export(engine, file)
    word = read_token(file)
    write_token(file, type(word)(name="house", vectors=-word.vectors), TokenFormat.A1111)
    one = engine.with_words([word]).compose(Query(text="<house>"))
    other = engine.with_words([read_token(file)]).compose(Query(text="<house>"))
    assert not torch.equal(one.feature, other.feature)
    assert not torch.equal(engine.compose(Query(text="<house>")).feature, one.feature)
