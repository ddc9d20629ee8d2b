import json

import numpy as np
import pytest
import torch

from composer.query import Query
from composer.training.state import load_state
from composer.weights import read_safetensors
from generation.generate import generate
from generation.model_files import PipelineSource
from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, GenerateRequest
from generation.training.diffusion import (
    DiffusionRecipe,
    DiffusionStage,
    make_unet,
    train_diffusion,
)
from generation.training.inputs import prepare
from generation.training.loop import train
from tests.generation.training import world


def test_the_kits_unet_keeps_its_budget():
    unet = make_unet(DiffusionRecipe(), 256, 16, 0)
    assert sum(p.numel() for p in unet.parameters()) <= 17_000_000
    assert unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.heads == 4
    assert not hasattr(unet.down_blocks[0], "attentions")
    with pytest.raises(ValueError, match="at most 17000000 parameters"):
        make_unet(DiffusionRecipe(block_out_channels=(128, 256, 256)), 256, 16, 0)


def test_twenty_steps_lower_the_loss(sources, small_unet, pack_folder, tmp_path):
    inputs = prepare(world.options(pack_folder, tmp_path, 20), sources, small_unet.shares)
    unet = make_unet(small_unet, inputs.backbone.token_width, 16, 0)
    stage = DiffusionStage(unet, inputs.latents, inputs.rows, inputs.conditioner, 8)
    run = world.options(pack_folder, tmp_path, 20).run("diffusion")
    losses = train(stage, world.FAST, run).last_losses
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])


def test_the_first_part_learns_from_pictures_of_half_the_size(
    sources, small_unet, pack_folder, tmp_path
):
    options = world.options(pack_folder, tmp_path, 4)
    train_diffusion(options, sources, small_unet)
    whole, half = (
        read_safetensors(path).tensors["latents"]
        for path in (
            tmp_path / "latents.safetensors",
            tmp_path / "diffusion/coarse/latents.safetensors",
        )
    )
    assert half.shape == (len(whole), 4, whole.shape[2] // 2, whole.shape[3] // 2)
    metrics = json.loads((tmp_path / "diffusion" / "metrics.json").read_text())
    assert (metrics["num_coarse_steps"], metrics["num_steps"]) == (2, 2)

    def weights(state):
        return {k: t for k, t in load_state(state).tensors.items() if k.startswith("average.")}

    coarse, fine = (weights(tmp_path / "diffusion" / part) for part in ("coarse/state", "state"))
    start = make_unet(small_unet, 32, whole.shape[-1], options.seed).state_dict()
    moved = {
        n: float((t - start[n.removeprefix("average.")]).abs().max()) for n, t in coarse.items()
    }
    assert max(moved.values()) > 0
    # The second part goes on from the first: it is nearer to it than to the start.
    name = max(moved, key=lambda name: moved[name])
    assert float((fine[name] - coarse[name]).abs().max()) < moved[name]


def test_a_longer_budget_goes_on_with_whole_pictures(sources, small_unet, pack_folder, tmp_path):
    def states(part):
        return load_state(tmp_path / "diffusion" / part / "state")

    train_diffusion(world.options(pack_folder, tmp_path, 4), sources, small_unet)
    before, coarse = states(""), states("coarse")
    train_diffusion(world.options(pack_folder, tmp_path, 8), sources, small_unet)
    metrics = json.loads((tmp_path / "diffusion" / "metrics.json").read_text())
    assert (metrics["num_coarse_steps"], metrics["num_steps"]) == (2, 4)
    assert states("coarse").counters == coarse.counters
    name = "model.conv_in.weight"
    assert not torch.equal(states("").tensors[name], before.tensors[name])


def test_the_export_opens_in_stock_diffusers_and_here(
    sources, small_unet, pack_folder, tmp_path, composer, pack
):
    import diffusers

    folder = train_diffusion(world.options(pack_folder, tmp_path, 2), sources, small_unet)
    stock = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert type(stock.scheduler).__name__ == "DPMSolverMultistepScheduler"
    stock.set_progress_bar_config(disable=True)
    bare = stock("a red chair", num_inference_steps=2, output_type="np").images
    assert bare.shape == (1, 128, 128, 3)
    assert (folder / "tokenizer" / "vocab.json").is_file()
    assert (folder / "tokenizer" / "merges.txt").is_file()
    index = json.loads((folder / "model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    pipeline = ImagePipeline.load(PipelineSource(folder=folder))
    assert pipeline.text_hash == composer.backbone.text_hash
    pipeline.check_token_table(composer.backbone.token_table())
    query = composer.compose(composer.encode(Query(sketch=pack.sketches[0].sketch)), "red")
    result = generate(
        pipeline, GenerateRequest(query=query, settings=DrawingSettings(num_inference_steps=2))
    )
    assert result.images[0].image.size == (128, 128)
    assert (tmp_path / "diffusion" / "samples.png").is_file()
