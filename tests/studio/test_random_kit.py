"""Kits of random weights: the shapes that ship, and a whole query through tiny ones."""

import json

import numpy as np
import open_clip
import pytest
import torch

from composer.hf_clip import read_hf_config
from composer.query import Query
from composer.random_weights import count_parameters, make_random
from composer.sketch import Sketch
from generation.model_files import parameter_counts
from generation.request import DrawingSettings, GenerateRequest
from studio.engine import ComposeOptions, Engine
from studio.kit_contents import KitError
from studio.kit_file import read_kit_file
from studio.kits import load_kit
from studio.random_kit import random_kit, read_shapes
from studio.speed import SKETCH
from tests.studio.tiny_shapes import write_tiny_kit

CLIP_L14, CLIP_L14_TEXT, CLIP_G14_TEXT = 427_616_513, 123_060_480, 694_659_840
EXPECTED = {
    "sd15": {
        "unet": 859_520_964, "vae": 83_653_863, "text_encoder": CLIP_L14_TEXT,
        "control network": 361_279_120,
    },
    "sdxl": {
        "unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": CLIP_L14_TEXT,
        "text_encoder_2": CLIP_G14_TEXT, "control network": 1_251_014_160,
    },
    "sd35-medium": {
        "transformer": 2_243_171_520, "vae": 83_819_683, "text_encoder": CLIP_L14_TEXT + 768**2,
        "text_encoder_2": CLIP_G14_TEXT, "text_encoder_3": 4_762_310_656,
        "control network": 2_238_455_680,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_shapes_that_ship_have_the_parameters_of_the_public_models(tmp_path, name):
    kit = random_kit(name, tmp_path)
    config = read_hf_config(kit.backbone).model_cfg
    assert count_parameters(lambda: open_clip.CLIP(**config)) == CLIP_L14
    assert parameter_counts(kit.pipeline, kit.controlnet) == EXPECTED[name]


def test_every_kit_that_draws_has_shapes():
    for name in ("sd15-lcm", "sd15-hyper", "sdxl-lcm", "sdxl-hyper", "sdxl-lightning"):
        assert {"CLIP", "pipeline", "control network"} <= read_shapes(read_kit_file(name)).keys()
    turbo = read_shapes(read_kit_file("sdxl-turbo"))["pipeline"]
    assert turbo["unet/config.json"]["sample_size"] == 64


@pytest.mark.parametrize("base", ["sd15", "sdxl", "sd35-medium", "sd35-medium-clip"])
def test_a_query_with_a_sketch_and_words_is_drawn_with_random_weights(tmp_path, base):
    kit = random_kit(str(write_tiny_kit(tmp_path / "kit", base)), tmp_path / "files")
    engine = Engine(kit, has_random_weights=True)
    sketch = Sketch.from_strokes([np.array(stroke) for stroke in SKETCH])
    query = Query(sketch=sketch, text="a red chair")
    composed = engine.compose(query, ComposeOptions(composer=engine.default_composer))
    settings = DrawingSettings(num_inference_steps=2)
    request = GenerateRequest(query=composed, control_sketch=sketch, settings=settings)
    image = np.asarray(engine.generate(request).images[0].image)
    assert image.shape == (64, 64, 3)
    assert image.std() > 0


def test_random_weights_keep_the_scale_of_their_input_and_norms_do_nothing():
    model = make_random(lambda: torch.nn.Linear(512, 256), torch.float32)
    spread = model(torch.randn(64, 512, generator=torch.Generator().manual_seed(1))).std()
    assert float(spread) == pytest.approx(1.0, abs=0.05)
    assert not model.bias.any()
    norm = make_random(lambda: torch.nn.LayerNorm(8), torch.float16)
    assert norm.weight.dtype is torch.float16
    assert bool((norm.weight == 1).all())


def test_weights_that_are_tied_stay_tied():
    def build() -> torch.nn.Module:
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model

    model = make_random(build, torch.float32)
    assert model[1].weight is model[0].weight
    assert bool(model[0].weight.any())


def test_a_kit_without_known_shapes_is_refused(tmp_path):
    with pytest.raises(KitError, match="shapes of the models of 'siglip2-b32' are not known"):
        random_kit("siglip2-b32", tmp_path)


def test_without_being_asked_for_no_weights_are_random(tmp_path):
    folder = write_tiny_kit(tmp_path / "kit", "sd15")
    kit = random_kit(str(folder), tmp_path / "files")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Engine(kit).compose(Query(text="red"), ComposeOptions(composer="slerp"))
    fields = json.loads((folder / "shapes.json").read_text())
    assert fields.keys() == {"CLIP", "pipeline", "control network", "parameters"}
    with pytest.raises(KitError):
        load_kit(str(folder))
