"""The kit, gallery and examples that ship: they belong together and do what the page promises."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import end_positions
from composer.query import Query
from composer.sketch import Sketch
from generation.benchmark import CONDITIONS
from generation.control import control_image, sketch_agreement
from generation.judge import Judge
from generation.request import DrawingSettings, GenerateRequest, settings_of
from retrieval.confidence import Confidence
from studio.cli import main
from studio.commands import bench_generation, bench_tokens
from studio.engine import ComposeOptions, Engine
from studio.kits import load_kit
from studio.ui.examples import load_examples

EXAMPLES = load_examples()


@pytest.fixture(scope="module")
def engine():
    return Engine(load_kit())


def compose(engine, example, **how):
    sketch = Sketch.from_json(example.strokes)
    return engine.compose(Query(sketch=sketch, text=example.words), ComposeOptions(**how))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_an_example_finds_its_kind(engine, example):
    hits = engine.search(compose(engine, example), top_k=10).hits
    kinds = [hit.metadata["kind"] for hit in hits]
    assert kinds.count(example.title) >= 3, kinds


@pytest.mark.parametrize("name", load_kit().composers)
def test_every_composer_of_the_kit_searches_and_can_draw(engine, name):
    chair = EXAMPLES[0]
    query = compose(engine, chair, composer=name)
    assert query.composer == name
    assert len(query.require_tokens()) == engine.backbone.context_length
    kinds = [hit.metadata["kind"] for hit in engine.search(query, top_k=20).hits]
    assert chair.title in kinds


@pytest.mark.parametrize(("colour", "material"), [("red", "leather"), ("navy", "fabric")])
def test_words_decide_what_the_drawing_leaves_open(engine, colour, material):
    example = dataclasses.replace(EXAMPLES[0], words=f"with a {colour} {material} seat")

    def count(balance: float) -> int:
        ranking = engine.search(compose(engine, example, balance=balance), top_k=5)
        return sum(colour in str(hit.metadata["caption"]).split() for hit in ranking.hits)

    counts = [count(balance) for balance in (0.0, 0.5, 0.75, 1.0)]
    assert counts == sorted(counts), counts
    assert counts[2] >= 1
    assert counts[3] >= 4


def test_nothing_matches_only_words_that_came_with_pictures(engine):
    def confidence(words: str) -> Confidence | None:
        query = engine.compose(Query(text=words))
        return engine.confidence(query, engine.search(query, top_k=1))

    learned = confidence("a photo of a zebra")
    assert learned is not None
    assert not learned.matches
    # No picture was ever paired with this word, so that its scores say little.
    assert confidence("a photo of a butterfly") is None


def test_stock_diffusers_opens_the_pipeline(engine):
    from diffusers import DiffusionPipeline

    stock = DiffusionPipeline.from_pretrained(
        engine.kit.pipeline, use_safetensors=True, local_files_only=True
    )
    stock.set_progress_bar_config(disable=True)
    text = "a photo of a red leather armchair"
    padded = stock.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    ids = engine.backbone.tokenize([text])
    stop = int(end_positions(ids, engine.backbone.end_id)[0]) + 1  # padding is never read
    assert torch.equal(padded[0, :stop], ids[0, :stop])
    image = stock(text, num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 256, 256, 3)


def test_words_colour_the_pictures(engine):
    def middle(words: str) -> np.ndarray:
        query = engine.compose(Query(text=words))
        drawn = engine.generate(
            GenerateRequest(query=query, settings=DrawingSettings(num_inference_steps=12))
        )
        return np.asarray(drawn.images[0].image)[96:160, 80:176].astype(float).mean((0, 1))

    red, green = middle("a red fabric sofa"), middle("a green fabric sofa")
    assert red[0] - red[1] > 15 + green[0] - green[1]


def test_the_fast_kit_draws_what_is_drawn_in_one_step(engine):
    fast = Engine(load_kit(engine.kit.fast))
    assert fast.kit.name == "mini-fast"
    assert (fast.kit.drawing.num_inference_steps, fast.kit.drawing.guidance_scale) == (1, 1.0)
    judge = Judge.load(engine.kit.judge)
    named = []
    for example in EXAMPLES[:4]:
        request = GenerateRequest(
            query=compose(fast, example),
            control_sketch=Sketch.from_json(example.strokes),
            settings=settings_of(fast.kit.drawing, num_images=2),
        )
        pictures = [one.image for one in fast.generate(request).images]
        kinds = [verdict.kind for verdict in judge.assess(pictures, ["body"] * 2)]
        named.append(kinds.count(example.title))
    assert sum(named) >= 7, named


@pytest.mark.slow
def test_control_keeps_to_the_drawing(engine):
    drawings = [Sketch.from_json(example.strokes) for example in EXAMPLES[:4]]
    controls = [control_image(drawing, 256, 256) for drawing in drawings]

    def agreements(drawing: Sketch) -> list[float]:
        request = GenerateRequest(
            query=engine.compose(Query(sketch=drawing)),
            control_sketch=drawing,
            settings=DrawingSettings(num_inference_steps=12, num_images=4),
        )
        pictures = [np.asarray(picture.image) for picture in engine.generate(request).images]
        return [
            float(np.mean([sketch_agreement(picture, control) for picture in pictures]))
            for control in controls
        ]

    table = np.array([agreements(drawing) for drawing in drawings])
    # Pictures agree most with their own drawing; one of four may not, the kit being a draft.
    assert (table.argmax(axis=1) == np.arange(4)).sum() >= 3


@pytest.mark.slow
def test_generation_is_measured_beside_real_pictures(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench_generation, "NUM_VARIED", 2)
    sheet = tmp_path / "sheet.png"
    asked = ["bench", "generation", "--count", "2", "--sheet", str(sheet), "--json"]
    assert main(asked) == 0
    every = json.loads(capsys.readouterr().out)["rows"]
    rows = [row for row in every if "query" in row]
    assert [row["query"] for row in rows] == ["real", *CONDITIONS]
    assert all(row["num_queries"] == 2 for row in rows)
    assert rows[0]["kind"] > 0
    with Image.open(sheet) as drawn:
        assert drawn.width >= 9 * 140  # the drawing, a real picture, seven conditions


@pytest.mark.slow
def test_tokens_are_measured_beside_their_queries(monkeypatch, capsys):
    monkeypatch.setattr(bench_tokens, "NUM_ABSORBED", 1)
    monkeypatch.setattr(bench_tokens, "NUMS_OF_TOKENS", (1,))
    assert main(["bench", "tokens", "--count", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["num_queries"] for row in rows] == [2, 2, 2, 1, 1]
    same, alone, *others = rows
    assert (same["same_ten"], same["overlap@10"]) == (1.0, 1.0)
    assert all(0 < row["overlap@10"] <= 1 and 0.8 < row["cosine"] <= 1.001 for row in others)
    # A drawing alone searches with twice its own feature beside the token's: the token is less.
    assert 0 < alone["overlap@10"] <= 1
    assert 0.6 < alone["cosine"] <= 1.001
