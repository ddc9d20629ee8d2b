import json

import numpy as np
import pytest
import torch

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.query import Query
from composer.strategies.duet import DuetComposer
from composer.training.state import load_state
from composer.weights import read_safetensors
from generation.conditioning import encode_token_embeddings
from generation.generate import generate
from generation.pipeline import ImagePipeline, PipelineSource
from generation.request import DrawingSettings, GenerateRequest
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.diffusion import (
    DiffusionRecipe,
    DiffusionStage,
    add_flow_noise,
    make_scheduler,
    make_unet,
    prepare,
    train_diffusion,
)
from generation.training.loop import step_generator, train
from generation.training.text_export import export_text_encoder, export_tokenizer
from tests.generation.training import world


@pytest.fixture(scope="module")
def pack(pack_folder):
    return CataloguePack.open(pack_folder)


@pytest.fixture(scope="module")
def composer(sources):
    return DuetComposer.load(sources.duet, Backbone.load(sources.clip))


@pytest.fixture(scope="module")
def tokens(composer, pack):
    return collect_tokens(composer, pack, "train")


def test_the_text_encoder_is_the_clip_text_tower(composer, sources):
    backbone = composer.backbone
    model = export_text_encoder(backbone)  # compares hidden states itself
    assert model.config.duet_text_hash == backbone.text_hash
    table = backbone.token_table()
    assert torch.equal(model.get_input_embeddings().weight, table)
    tokenizer = export_tokenizer(backbone, sources.clip)
    assert tokenizer("red chair").input_ids == [
        i for i in backbone.tokenize(["red chair"])[0].tolist() if i != backbone.end_id
    ] + [backbone.end_id]


def test_training_prompts_are_the_composers_prompts(composer, pack, tokens):
    conditioner = Conditioner(composer.backbone, pack, tokens, Shares())
    sketch = next(s for s in pack.sketches if s.split == "train")
    query = composer.compose(composer.encode(Query(sketch=sketch.sketch)), "red oak chair")
    row = tokens.of_sketches[sketch.design][0]
    ours = conditioner.splice(tokens.tokens[row][None], ["red oak chair"])[0]
    torch.testing.assert_close(ours, query.prompt_embeddings, atol=1e-6, rtol=0)


def test_hidden_states_in_training_are_those_of_the_pipeline(composer, pack, tokens):
    backbone = composer.backbone
    conditioner = Conditioner(backbone, pack, tokens, Shares())
    embeddings = conditioner.splice(tokens.tokens[:2], ["red", ""])
    ends = torch.tensor([0, 0])
    theirs = backbone.encode_embeddings(embeddings, ends).hidden
    ours = encode_token_embeddings(export_text_encoder(backbone), embeddings)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_conditions_keep_their_shares(composer, pack, tokens):
    seen = {"plain": 0, "empty": 0, "token": 0, "words": 0}

    class Counting(Conditioner):
        def _encode(self, count, plain, spliced):
            seen["empty"] += sum(text == "" for text in plain.values())
            seen["plain"] += sum(text != "" for text in plain.values())
            seen["token"] += sum(words == "" for _, words in spliced.values())
            seen["words"] += sum(words != "" for _, words in spliced.values())
            return torch.zeros(count, 1, 1)

    conditioner = Counting(composer.backbone, pack, tokens, Shares())
    rows = pack.rows(split="train", domain="photo")
    for step in range(60):
        conditioner.draw(rows, step_generator(0, step))
    total = sum(seen.values())
    assert seen["empty"] / total == pytest.approx(0.1, abs=0.03)
    assert seen["plain"] / total == pytest.approx(0.4, abs=0.04)
    assert seen["words"] / total == pytest.approx(0.4, abs=0.04)
    assert seen["token"] / total == pytest.approx(0.1, abs=0.03)


def test_only_train_designs_are_used(pack, tokens):
    rows = usable_rows(pack, "train")
    assert {pack.items[row].split for row in rows} == {"train"}
    assert set(tokens.of_sketches) == {f"design-{n}" for n in range(8)}
    assert set(tokens.of_photos) == set(tokens.of_sketches)


def test_flow_noise_meets_its_ends():
    latents = torch.randn(512, 4, 2, 2, generator=step_generator(0, 0))
    noisy = add_flow_noise(latents, step_generator(0, 1))
    share = (noisy.timesteps / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy.latents - share * noisy.velocity, latents)
    assert 0 < noisy.timesteps.min() < 100
    assert 900 < noisy.timesteps.max() < 1000
    assert float(noisy.timesteps.median()) == pytest.approx(500, abs=40)


def test_the_scheduler_walks_a_known_flow_home():
    """With the true velocity of one picture every sampler step must lead to that picture."""
    target, scheduler = torch.full((1, 4, 2, 2), 0.7), make_scheduler()
    scheduler.set_timesteps(8)
    latents = torch.randn(1, 4, 2, 2, generator=step_generator(0, 0))
    assert scheduler.timesteps[0] > 990
    for timestep in scheduler.timesteps:
        share = scheduler.sigmas[scheduler.step_index or 0]
        latents = scheduler.step((latents - target) / share, timestep, latents).prev_sample
    torch.testing.assert_close(latents, target, atol=1e-3, rtol=0)


def test_the_kits_unet_keeps_its_budget():
    unet = make_unet(DiffusionRecipe(), 256, 16, 0)
    assert sum(p.numel() for p in unet.parameters()) <= 17_000_000
    assert unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.heads == 4
    assert not hasattr(unet.down_blocks[0], "attentions")
    with pytest.raises(ValueError, match="at most 17000000 parameters"):
        make_unet(DiffusionRecipe(block_out_channels=(128, 256, 256)), 256, 16, 0)


def test_twenty_steps_lower_the_loss(sources, small_unet, pack_folder, tmp_path):
    ready = prepare(world.options(pack_folder, tmp_path, 20), sources, small_unet.shares)
    unet = make_unet(small_unet, ready.backbone.token_width, 16, 0)
    stage = DiffusionStage(unet, ready.latents, ready.rows, ready.conditioner, 8)
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
    name = "module.conv_in.weight"
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
