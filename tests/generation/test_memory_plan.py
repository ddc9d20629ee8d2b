"""Plans for the memory of a card, and models that leave it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from composer.hardware import Memory
from generation import memory_plan
from generation.controls import Control
from generation.families import Family
from generation.generate import generate
from generation.levers import DEFAULT, FAST
from generation.memory_plan import (
    GIB,
    Footprint,
    MemoryPlan,
    MemoryPlanError,
    Offload,
    available_bytes,
    choose_plan,
    footprint,
    plan_for,
    plans,
)
from generation.model_files import Models, PipelineSource
from generation.pipeline import ImagePipeline
from generation.request import DrawingSettings, GenerateRequest
from generation.style_files import StyleError, StyleSource
from studio.engine import Engine
from studio.kits import load_kit
from studio.random_kit import random_kit
from tests.generation import tiny
from tests.replicas import clips, pipelines
from tests.replicas.adapters import write_ip_adapter
from tests.studio.tiny_kit import write_kit

NEED = Footprint(
    text_bytes=2 * GIB, step_models_bytes=7 * GIB, denoiser_bytes=5 * GIB, decoder_bytes=GIB // 4,
    step_bytes=GIB // 2, decode_bytes=2 * GIB, tile_bytes=GIB // 2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("free_gib", "offload", "tiles"),
    [(16, "none", False), (11.5, "none", True), (9, "model", False), (3, "sequential", False)],
)
def test_the_fastest_plan_that_fits_is_chosen(free_gib, offload, tiles):
    plan = choose_plan(NEED, int(free_gib * GIB))
    assert (plan.offload, plan.tiles) == (offload, tiles)
    assert plan.peak_bytes <= free_gib * GIB


def test_plans_are_ordered_and_text_stays_off_a_card_it_would_fill():
    peaks = [plan.peak_bytes for plan in plans(NEED)]
    assert peaks == sorted(peaks, reverse=True)
    by_name = {plan.offload: plan for plan in plans(NEED)}
    assert by_name[Offload.MODEL].has_text_on_card
    assert not by_name[Offload.SEQUENTIAL].has_text_on_card


@pytest.mark.parametrize(
    ("wanted", "advice"),
    [
        ("auto", r"close other programs, draw with another device or a smaller kit\."),
        ("none", "let it choose with --offload auto, or draw with another device"),
    ],
)
def test_too_little_memory_is_one_sentence_with_what_to_do(wanted, advice):
    with pytest.raises(
        MemoryPlanError, match=rf"needs [\d.]+ GiB .* 0\.5 GiB are free: .*{advice}"
    ):
        choose_plan(NEED, GIB // 2, Offload(wanted))


def test_a_named_plan_is_kept_where_a_faster_one_would_fit():
    assert choose_plan(NEED, 100 * GIB, Offload.SEQUENTIAL).offload is Offload.SEQUENTIAL


def source_of(kit) -> PipelineSource:
    return PipelineSource(folder=kit.pipeline, controlnet=kit.controlnet)


@pytest.mark.parametrize(
    ("name", "dtype", "expected_gib", "on_8"),
    [("sd15", torch.float16, 3.7, "none"), ("sdxl", torch.bfloat16, 11.7, "sequential")],
)
def test_the_footprint_of_full_kits_comes_from_their_configs(
    tmp_path, name, dtype, expected_gib, on_8
):
    kit = random_kit(name, tmp_path)
    need = footprint(source_of(kit), dtype)
    weights = (need.text_bytes, need.step_models_bytes, need.decoder_bytes)
    counts = {"sd15": 1_427_514_427, "sdxl": 4_719_852_027}[name]
    assert sum(weights) == 2 * counts
    assert plans(need)[0].peak_bytes / GIB == pytest.approx(expected_gib, abs=0.1)
    assert choose_plan(need, 8 * GIB).offload == on_8


def test_further_control_networks_take_room_only_where_all_models_stay(tmp_path):
    kit = random_kit("sd15", tmp_path)
    further = shutil.copytree(kit.controlnet, tmp_path / "lineart")
    alone = footprint(source_of(kit), torch.float16)
    twice = shutil.copytree(kit.controlnet, tmp_path / "canny")
    source = replace(source_of(kit), further_controls=(further, twice, further))
    both = footprint(source, torch.float16)
    assert (alone.idle_bytes, both.idle_bytes) == (0, 2 * 2 * 361_279_120)
    assert plans(both)[0].peak_bytes == plans(alone)[0].peak_bytes + int(1.1 * both.idle_bytes)
    taking_turns = [
        [plan for plan in plans(need) if plan.offload is not Offload.NONE] for need in (alone, both)
    ]
    assert taking_turns[0] == taking_turns[1]
    only = footprint(
        PipelineSource(folder=kit.pipeline, further_controls=(further,)), torch.float16
    )
    assert (only.step_models_bytes, only.idle_bytes) == (alone.step_models_bytes, 0)


def test_an_ip_adapter_and_its_image_encoder_are_planned_for(tmp_path):
    clip = clips.write_clip_l14(tmp_path / "clip")
    plain = PipelineSource(folder=pipelines.write_sd15(tmp_path / "sd15", clip))
    adapters = write_ip_adapter(tmp_path / "adapters")
    style = StyleSource(
        weights=adapters / "models" / "ip-adapter_sd15.safetensors",
        image_encoder=adapters / "models" / "image_encoder",
    )
    need = footprint(replace(plain, style=style), torch.float16)
    weights = load_file(style.weights).values()
    assert need.style_bytes == 2 * sum(tensor.numel() for tensor in weights)
    encoder = load_file(style.image_encoder / "model.safetensors")
    del encoder["vision_model.embeddings.position_ids"]
    assert need.style_encoder_bytes == 2 * sum(tensor.numel() for tensor in encoder.values())
    missing = replace(style, image_encoder=adapters / "none")
    with pytest.raises(StyleError, match="reads pictures through an image encoder"):
        footprint(replace(plain, style=missing), torch.float16)
    large = replace(need, style_bytes=GIB, style_encoder_bytes=100 * GIB)
    before, after = plans(need), plans(large)
    assert after[0].peak_bytes > before[0].peak_bytes + 100 * GIB
    assert after[-1] == before[-1]  # layer by layer, such a picture is refused


def test_the_control_networks_of_a_kit_are_planned_for(tmp_path, monkeypatch):
    folder = write_kit(tmp_path / "kit")
    kit = load_kit(str(folder))
    need = footprint(source_of(kit), torch.float32)
    least = min(plan.peak_bytes for plan in plans(need) if plan.offload is Offload.NONE)
    monkeypatch.setattr(memory_plan, "_LARGE_BYTES", 0)
    monkeypatch.setattr(memory_plan, "available_bytes", lambda _: least)
    assert Engine(kit).pipeline.has_control
    shutil.copytree(kit.controlnet, folder / "lineart")
    text = (folder / "kit.toml").read_text()
    (folder / "kit.toml").write_text(f'{text}\n[controls.lineart]\npath = "lineart"\n')
    with pytest.raises(MemoryPlanError, match="of memory on the device to draw"):
        _ = Engine(load_kit(str(folder))).pipeline


def test_on_a_cpu_only_large_kits_are_checked_and_nothing_can_leave(tmp_path, monkeypatch):
    kit = random_kit("sd15", tmp_path)
    source = PipelineSource(folder=kit.pipeline, controlnet=kit.controlnet)
    cpu = torch.device("cpu")
    assert plan_for(source, cpu, torch.float32, Offload.AUTO) is None  # no weights, so small
    large = PipelineSource(
        folder=kit.pipeline, controlnet=kit.controlnet, random_around=torch.zeros(1, 1)
    )
    monkeypatch.setattr(memory_plan, "available_bytes", lambda _: 4 * GIB)
    sentence = r"of which 4\.0 GiB are free: close other programs, draw with another device"
    with pytest.raises(MemoryPlanError, match=sentence):
        plan_for(large, cpu, torch.float32, Offload.AUTO)
    with pytest.raises(MemoryPlanError, match="--offload model moves models away from a GPU"):
        plan_for(source, cpu, torch.float32, Offload.MODEL)


def test_all_of_main_memory_but_what_the_process_uses_may_be_filled(monkeypatch):
    memory = Memory(total_bytes=8 * GIB, free_bytes=GIB)
    monkeypatch.setattr(memory_plan, "memory_of", lambda _: memory)
    monkeypatch.setattr(memory_plan, "used_bytes", lambda _: 3 * GIB)
    assert available_bytes(torch.device("cpu")) == 5 * GIB
    assert available_bytes(torch.device("cuda")) == GIB
    monkeypatch.setattr(memory_plan, "used_bytes", lambda _: 9 * GIB)
    assert available_bytes(torch.device("cpu")) == 0
    unknown = Memory(total_bytes=None, free_bytes=None)
    monkeypatch.setattr(memory_plan, "memory_of", lambda _: unknown)
    assert available_bytes(torch.device("cpu")) is None


def request(**settings) -> GenerateRequest:
    return GenerateRequest(
        query=tiny.make_query(), settings=DrawingSettings(num_inference_steps=2, **settings)
    )


def drawn(pipeline, asked: GenerateRequest) -> np.ndarray:
    return np.stack([np.asarray(one.image) for one in generate(pipeline, asked).images])


@pytest.mark.parametrize("offload", [Offload.MODEL, Offload.SEQUENTIAL])
@pytest.mark.parametrize("has_text_on_card", [True, False])
def test_models_that_leave_and_return_draw_the_same(tmp_path, offload, has_text_on_card):
    base = tiny.make_pipeline(tmp_path)
    controlnet = tiny.make_controlnet(base.unet)
    plain = ImagePipeline.from_parts(base, controlnet, tiny.TEXT_HASH)
    asked = [
        GenerateRequest(
            query=tiny.make_query(),
            control_sketch=tiny.make_sketch(),
            settings=DrawingSettings(num_inference_steps=2, num_images=2),
        ),
        request(),
    ]
    expected = [drawn(plain, one) for one in asked]
    plan = MemoryPlan(offload=offload, tiles=False, has_text_on_card=has_text_on_card, peak_bytes=0)
    models = Models(family=Family.SD, base=base, control=Control(model=controlnet))
    moving = ImagePipeline._of_models(models, tiny.TEXT_HASH, torch.device("cpu"), plan)
    moving.set_levers(FAST)
    assert moving.levers.names == ("reuse_text", "channels_last")
    moving.set_levers(DEFAULT)
    for _ in range(2):  # from one pipeline to the other and back
        for one, before in zip(asked, expected, strict=True):
            np.testing.assert_allclose(drawn(moving, one).astype(int), before, atol=1)
    assert base.vae.use_slicing
    assert moving.weights_hash == plain.weights_hash
    assert moving.device_name == "cpu/float32"


def test_tiles_are_half_the_native_side(tmp_path):
    base = tiny.make_pipeline(tmp_path)
    plan = MemoryPlan(offload=Offload.NONE, tiles=True, has_text_on_card=True, peak_bytes=0)
    models = Models(family=Family.SD, base=base, control=None)
    tiled = ImagePipeline._of_models(models, tiny.TEXT_HASH, torch.device("cpu"), plan)
    assert base.vae.use_tiling
    assert base.vae.tile_sample_min_size == 32
    assert drawn(tiled, request()).shape == (1, 64, 64, 3)


def test_the_config_of_the_mini_kit_is_understood():
    kit = load_kit()
    need = footprint(source_of(kit), torch.float32)
    assert kit.pipeline is not None
    vae = json.loads((kit.pipeline / "vae" / "config.json").read_text())
    assert need.tile_bytes * 4 == need.decode_bytes
    assert need.decode_bytes == 6 * vae["block_out_channels"][0] * 256 * 256 * 4
