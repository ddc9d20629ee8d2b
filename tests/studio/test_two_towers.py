"""A kit that searches with one tower and draws with another: a query is composed once for both."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import load_composer
from composer.strategies.drawable import SETTINGS
from composer.strategies.inversion import invert
from generation.request import DrawingSettings, GenerateRequest
from retrieval.evidence import explain
from retrieval.indexing.encode import index_folder
from studio.cli import main
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.kits import KitError, load_kit
from tests.composer.tiny import write_trunk_clip
from tests.studio.tiny import write_gallery
from tests.studio.tiny_kit import write_kit

SEARCH = """
[search]
path = "search"
[search.composers.slerp]
alpha = 0.6
"""
HOUSE = Sketch.from_strokes([[[0.2, 0.8], [0.2, 0.4], [0.5, 0.1], [0.8, 0.4], [0.8, 0.8]]])
QUERY = Query(sketch=HOUSE, text="a red chair")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = write_kit(tmp_path_factory.mktemp("kit"))
    write_trunk_clip(folder / "search", seed=3)
    with (folder / "kit.toml").open("a") as file:
        file.write(SEARCH)
    return folder


@pytest.fixture(scope="module")
def engine(folder) -> Engine:
    return Engine(load_kit(str(folder)))


@pytest.fixture(scope="module")
def index(folder, engine) -> Path:
    photos = write_gallery(folder / "photos")
    index_folder(photos, photos / ".duet", engine.search_backbone, kit="tiny")
    return photos / ".duet"


def test_each_tower_composes_its_part(engine):
    searching = load_composer("slerp", engine.search_backbone, engine.kit.search.composers["slerp"])
    drawing = load_composer("duet", engine.backbone, engine.kit.composers["duet"])
    composed = engine.compose(QUERY, ComposeOptions(composer="slerp"))
    found = searching.compose(searching.encode(QUERY), QUERY.text, 0.5)
    drawn = drawing.compose(drawing.encode(QUERY), QUERY.text, 0.5)
    torch.testing.assert_close(composed.feature, found.feature)
    torch.testing.assert_close(composed.patch_features, found.patch_features)
    torch.testing.assert_close(composed.prompt_embeddings, drawn.prompt_embeddings)
    assert composed.gallery_hash == engine.search_backbone.gallery_hash != drawn.gallery_hash
    assert composed.text_hash == engine.backbone.text_hash != found.text_hash
    assert composed.composer == "slerp"


def test_a_composed_query_comes_back_with_both_parts(engine, tmp_path):
    composed = engine.compose(QUERY, ComposeOptions(composer="slerp"))
    composed.save(tmp_path / "query.safetensors")
    again = ComposedQuery.load(tmp_path / "query.safetensors")
    assert again.digest == composed.digest
    assert again.drawing_feature is not None
    torch.testing.assert_close(again.drawing_feature, composed.drawing_feature)


def test_the_gallery_and_its_evidence_belong_to_the_tower_that_searches(engine, index):
    composed = engine.compose(QUERY, ComposeOptions(composer="slerp"))
    ranking = engine.search(composed, index, 3)
    with Image.open(ranking.hits[0].file) as opened:
        picture = opened.convert("RGB")
    feature = engine.search_backbone.encode_image(
        engine.search_backbone.preprocess([picture])
    ).features[0]
    similarity = float(composed.feature @ feature)
    assert similarity == pytest.approx(ranking.hits[0].similarity, abs=2e-3)
    assert explain(engine.search_backbone, composed, picture, HOUSE).words


def test_it_draws_with_the_tokens_of_the_tower_that_draws(engine):
    composed = engine.compose(QUERY, ComposeOptions(composer="slerp"))
    settings = DrawingSettings(num_inference_steps=1)
    assert engine.generate(GenerateRequest(query=composed, settings=settings)).images


def test_missing_tokens_are_found_in_the_space_that_draws(folder):
    text = (folder / "kit.toml").read_text()
    bare = folder.parent / "bare"
    bare.mkdir()
    for name in ("clip", "search", "pipeline", "controlnet"):
        (bare / name).symlink_to(folder / name)
    start, end = text.index("[composers.duet]"), text.index("[pipeline]")
    (bare / "kit.toml").write_text(text[:start] + text[end:])
    engine = Engine(load_kit(str(bare)))
    composed = engine.compose(QUERY, ComposeOptions(composer="slerp"))
    assert composed.missing_tokens
    drawable = engine.drawable(composed)
    tokens = invert(engine.backbone, composed.drawing_feature[None], SETTINGS).tokens[0]
    torch.testing.assert_close(drawable.pseudo_tokens, tokens)


def test_index_and_search_by_command(folder, tmp_path, capsys):
    photos = write_gallery(tmp_path / "photos")
    kit = ["--kit", str(folder)]
    assert main(["index", str(photos), *kit]) == 0
    assert main(["search", "--text", "a chair", "--index", str(photos / ".duet"), *kit]) == 0
    assert "1  " in capsys.readouterr().out


def test_a_missing_search_tower_is_named(folder, tmp_path):
    text = (folder / "kit.toml").read_text().replace('path = "search"', 'path = "gone"')
    (tmp_path / "kit.toml").write_text(text)
    for name in ("clip", "pipeline", "controlnet", "composers"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises((KitError, UsageError), match="gone"):
        load_kit(str(tmp_path))
