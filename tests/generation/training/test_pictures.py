import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from composer.backbone import Backbone
from composer.query import Query
from composer.strategies.protocol import EncodedReference
from composer.training.state import load_state
from composer.weights import WeightsError
from generation.generate import generate
from generation.model_files import PipelineSource
from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, GenerateRequest
from generation.sketchbook import FILE_NAME as SKETCHBOOK
from generation.sketchbook import Sketchbook
from generation.studio_light import FILE_NAME, StudioLight
from generation.training import pictures
from generation.training.loop import step_generator, train
from generation.training.picture_cache import Drops, PictureCache, build_cache
from generation.training.picture_model import Condition, PictureModel, make_small_control
from generation.training.pictures import (
    PicturesRecipe,
    PictureStage,
    cache_sources,
    load_pictures,
    train_pictures,
)
from generation.training.unet import UnetShape, make_unet
from tests.generation.training import world

FAST = replace(world.FAST, check_every_s=0.0, skips_non_finite=True, channels_last=False)
SMALL = PicturesRecipe(
    unet=UnetShape(block_out_channels=(8, 16)),
    conditioning_channels=(4, 4, 8, 8),
    size_px=128,
    num_conditions=2,
    optimisation=FAST,
)


@pytest.fixture(scope="module")
def viewed_folder(tmp_path_factory):
    return world.write_pack(tmp_path_factory.mktemp("viewed"), has_views=True)


def inputs_of(options, sources):
    return cache_sources(options, sources, SMALL, Backbone.load(sources.clip))


def make_model():
    unet = make_unet(SMALL.unet, 32, 16, 0)
    return PictureModel(unet, make_small_control(unet, SMALL.conditioning_channels, 0))


def test_the_kits_networks_keep_their_budgets():
    recipe = PicturesRecipe()
    unet = make_unet(recipe.unet, 256, 32, 0)
    control = make_small_control(unet, recipe.conditioning_channels, 0)
    assert sum(p.numel() for p in unet.parameters()) <= 17_000_000
    assert 2 * sum(p.numel() for p in control.parameters()) <= 10_000_000
    assert unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.heads == 4
    assert not hasattr(unet.down_blocks[0], "attentions")
    with pytest.raises(ValueError, match="at most 17000000 parameters"):
        make_unet(UnetShape(block_out_channels=(128, 256, 256)), 256, 32, 0)


def test_no_drawing_means_the_unet_alone():
    model = make_model()
    for block in (*model.controlnet.controlnet_down_blocks, model.controlnet.controlnet_mid_block):
        torch.nn.init.normal_(block.weight)
    noisy, states = torch.randn(3, 4, 16, 16), torch.randn(3, 5, 32)
    times, lines = torch.tensor([100.0, 500.0, 900.0]), torch.ones(3, 1, 128, 128)
    is_drawn = torch.tensor([True, False, True])
    with torch.no_grad():
        drawn = model(noisy, times, Condition(states=states, lines=lines, has_drawing=is_drawn))
        bare = model.unet(noisy, times, encoder_hidden_states=states).sample
    torch.testing.assert_close(drawn[1], bare[1], atol=1e-5, rtol=1e-4)
    assert float((drawn - bare)[is_drawn].abs().amax((1, 2, 3)).min()) > 1e-2


def test_the_studio_is_a_further_state_that_is_told_in_a_share_of_the_steps(
    sources, viewed_folder, tmp_path
):
    model = make_model()
    noisy, states = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 32)
    times, lines, is_not = torch.full((2,), 500.0), torch.zeros(2, 1, 128, 128), torch.zeros(2) > 0
    studio = torch.randn(2, 9)
    with torch.no_grad():
        told = model(
            noisy,
            times,
            Condition(states=states, lines=lines, has_drawing=is_not, studio=studio),
        )
        longer = torch.cat([states, model.studio(studio)[:, None]], dim=1)
        torch.testing.assert_close(
            told, model.unet(noisy, times, encoder_hidden_states=longer).sample
        )
    inputs = inputs_of(world.options(viewed_folder, tmp_path, 4), sources)
    cache = build_cache(tmp_path / "cache", inputs)
    for share, is_learned in ((0.0, False), (1.0, True)):
        stage = PictureStage(model, cache, replace(SMALL, studio_share=share))
        model.zero_grad()
        stage.loss(step_generator(0, 0)).total.backward()
        assert (model.studio.weight.grad is not None) == is_learned


def test_both_networks_learn_together(sources, viewed_folder, tmp_path):
    options = world.options(viewed_folder, tmp_path, 20)
    inputs = inputs_of(options, sources)
    cache, model = build_cache(tmp_path / "cache", inputs), make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = train(PictureStage(model, cache, SMALL), FAST, options.run("x")).last_losses
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    changed = {
        name for name, tensor in model.state_dict().items() if (tensor != before[name]).any()
    }
    assert any(name.startswith("unet.") for name in changed)
    assert "controlnet.controlnet_cond_embedding.conv_in.weight" in changed


def test_a_longer_budget_goes_on_with_whole_pictures(sources, viewed_folder, tmp_path):
    def states(part):
        return load_state(tmp_path / "pictures" / part / "state")

    def num_steps():
        metrics = json.loads((tmp_path / "pictures/metrics.json").read_text())
        return metrics["num_coarse_steps"], metrics["num_steps"]

    train_pictures(world.options(viewed_folder, tmp_path, 5), sources, SMALL)
    before, coarse = states(""), states("coarse")
    assert num_steps() == (2, 3)
    train_pictures(world.options(viewed_folder, tmp_path, 10), sources, SMALL)
    assert num_steps() == (2, 6)
    assert states("coarse").counters == coarse.counters
    name = "model.unet.conv_in.weight"
    assert not torch.equal(states("").tensors[name], before.tensors[name])
    sides = [
        PictureCache(tmp_path / "pictures" / part / "cache").draw(1, Drops(), step_generator(0, 0))
        for part in ("coarse", "")
    ]
    assert [batch.latents.shape[-1] for batch in sides] == [8, 16]


def test_finished_networks_are_trained_further_on_whole_pictures(sources, viewed_folder, tmp_path):
    first = train_pictures(world.options(viewed_folder, tmp_path / "a", 4), sources, SMALL)
    start = load_pictures(first).state_dict()
    options = world.options(viewed_folder, tmp_path / "b", 3)
    folder = train_pictures(options, sources, SMALL, start=first)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["num_coarse_steps"], metrics["num_steps"]) == (0, 3)
    assert not (folder / "coarse").exists()
    rate = FAST.learning_rate * 2 / 3  # AdamW moves no weight further than the rate a step
    moved = {
        name: float((tensor - start[name]).abs().max())
        for name, tensor in load_state(folder / "state").tensors.items()
        for name in [name.removeprefix("model.")]
        if name in start
    }
    assert 0 < moved["unet.conv_in.weight"] <= 3.5 * rate
    assert max(moved.values()) <= 3.5 * rate


def test_networks_that_cannot_be_trained_further_are_told_at_once(
    sources, viewed_folder, tmp_path, monkeypatch
):
    options = world.options(viewed_folder, tmp_path / "b", 3)
    empty = tmp_path / "empty"
    empty.mkdir()
    first = train_pictures(world.options(viewed_folder, tmp_path / "a", 2), sources, SMALL)
    unet = make_unet(SMALL.unet, 48, 16, 0)
    unet.save_pretrained(first / "pipeline/unet")
    make_small_control(unet, SMALL.conditioning_channels, 0).save_pretrained(first / "controlnet")
    light = StudioLight.load(first / "pipeline" / FILE_NAME)
    wider = replace(light, weight=torch.zeros(48, 9), bias=torch.zeros(48))
    wider.save(first / "pipeline" / FILE_NAME)
    monkeypatch.setattr(pictures, "collect_tokens", None)  # minutes of a large pack
    with pytest.raises(WeightsError, match="does not read the states of this CLIP"):
        train_pictures(options, sources, SMALL, start=first)
    with pytest.raises(WeightsError, match="holds no pipeline and controlnet to go on from"):
        train_pictures(options, sources, SMALL, start=empty)
    assert not (tmp_path / "b" / "pictures" / "state").exists()


def test_the_export_opens_and_draws_in_stock_diffusers_and_here(
    sources, viewed_folder, tmp_path, composer, pack
):
    import diffusers

    folder = train_pictures(world.options(viewed_folder, tmp_path, 4), sources, SMALL)
    files = PipelineSource(folder=folder / "pipeline", controlnet=folder / "controlnet")
    pipeline = ImagePipeline.load(files)
    assert pipeline.text_hash == composer.backbone.text_hash
    pipeline.check_token_table(composer.backbone.token_table())
    query = composer.compose(composer.encode(Query(sketch=pack.sketches[0].sketch)), "red")
    settings = DrawingSettings(num_inference_steps=2)
    result = generate(pipeline, GenerateRequest(query=query, settings=settings))
    assert result.images[0].image.size == (128, 128)
    index = json.loads((folder / "pipeline/model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert (folder / "pipeline/tokenizer/merges.txt").is_file()
    control = diffusers.ControlNetModel.from_pretrained(folder / "controlnet")
    stock = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        folder / "pipeline", controlnet=control, local_files_only=True, safety_checker=None
    )
    stock.set_progress_bar_config(disable=True)
    lines = torch.zeros(1, 3, 128, 128)
    drawn = stock("a red box", image=lines, num_inference_steps=2, output_type="np").images
    assert drawn.shape == (1, 128, 128, 3)
    assert (folder / "samples.png").is_file()
    model = load_pictures(folder)
    light = StudioLight.load(folder / "pipeline" / FILE_NAME)
    assert light.examples.shape[1] == 9
    raw = light.examples[:2]
    with torch.no_grad():
        expected = model.studio((raw - light.mean) / light.std)
    torch.testing.assert_close(light.states(raw), expected)
    assert torch.equal(light.of_seed(7), light.of_seed(7))
    studios = {tuple(one.tolist()) for one in light.examples}
    assert {tuple(light.of_seed(seed).tolist()) for seed in range(20)} == studios
    book = Sketchbook.load(folder / "pipeline" / SKETCHBOOK)
    trained = {item.design: item.kind for item in pack.items if item.split == "train"}
    assert sorted(book.kinds) == sorted(trained.values())
    for kind in set(book.kinds):
        words = composer.compose(EncodedReference(), f"a {kind}")
        assert {book.kind(words), book.kind(query)} == {kind, None}


def test_a_stopped_run_ends_as_one_that_never_stopped(
    sources, viewed_folder, tmp_path, monkeypatch
):
    whole = train_pictures(world.options(viewed_folder, tmp_path / "a", 6), sources, SMALL)
    loss, calls = PictureStage.loss, []

    def stopping(self, generator):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(self, generator)

    saving = replace(SMALL, optimisation=replace(FAST, save_every_s=0.0))
    monkeypatch.setattr(PictureStage, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_pictures(world.options(viewed_folder, tmp_path / "b", 6), sources, saving)
    train_pictures(world.options(viewed_folder, tmp_path / "b", 6), sources, saving)
    states = [load_state(f / "state") for f in (whole, tmp_path / "b" / "pictures")]
    for name, tensor in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], tensor, atol=0, rtol=0)
