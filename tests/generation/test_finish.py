"""Drawings that another denoiser finishes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from generation.control_networks import DEFAULT_CONTROL
from generation.finish import open_finisher
from generation.generate import generate, plan_generation
from generation.levers import DEFAULT, FAST, PLAIN
from generation.lora import LoraSource
from generation.lora_header import LoraError
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.provenance import (
    Provenance,
    ProvenanceError,
    describe,
    read_png,
    rebuild_request,
    write_png,
)
from generation.request import (
    DrawingSettings,
    GenerateRequest,
    RequestError,
    Scheduler,
    TransferRequest,
)
from generation.sample import call_arguments
from generation.transfer import transfer
from tests.generation import tiny
from tests.replicas import loras

STEPS = 4  # at 0.999, 0.749, 0.4995 and 0.25 of the noise
STEP_OF_FINISH = 2


@pytest.fixture(scope="module")
def source(base_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    base_pipeline.save_pretrained(folder / "pipeline")
    tiny.make_controlnet(base_pipeline.unet).save_pretrained(folder / "controlnet")
    factors = loras.unet_factors(base_pipeline.unet)
    file = loras.write_diffusers(folder / "jump.safetensors", factors, {}, alpha=2.0)
    return PipelineSource(
        folder=folder / "pipeline",
        controlnet=folder / "controlnet",
        text_hash=tiny.TEXT_HASH,
        finish=LoraSource(file=file),
    )


@pytest.fixture(scope="module")
def loaded(source):
    return ImagePipeline.load(source, levers=PLAIN)


@pytest.fixture
def pipeline(loaded):
    yield loaded
    loaded.set_levers(PLAIN)


def asked(*, has_control: bool = True, **settings) -> GenerateRequest:
    return GenerateRequest(
        query=tiny.make_query(),
        control_sketch=tiny.make_sketch() if has_control else None,
        settings=DrawingSettings(
            num_inference_steps=STEPS, **{"finish_noise": 0.5, "seed": 3, **settings}
        ),
    )


def moved(strength: float, *, is_faithful: bool = False, **settings) -> TransferRequest:
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return TransferRequest(
        query=tiny.make_query(),
        source=Image.fromarray(levels),
        strength=strength,
        is_faithful=is_faithful,
        settings=DrawingSettings(num_inference_steps=STEPS, **{"finish_noise": 0.5, **settings}),
    )


def drawn(pipeline, request) -> np.ndarray:
    make = generate if isinstance(request, GenerateRequest) else transfer
    return np.stack([np.asarray(one.image) for one in make(pipeline, request).images])


class Calls:
    """Counts the rows that models are called with."""

    def __init__(self, **models: torch.nn.Module) -> None:
        self.rows = {name: [] for name in models}
        for name, model in models.items():
            model.register_forward_pre_hook(self._counting(name), with_kwargs=True)

    def _counting(self, name):
        def count(_model, args, kwargs) -> None:
            self.rows[name].append(len(args[0] if args else kwargs["sample"]))

        return count


def expected(pipeline, request: GenerateRequest) -> np.ndarray:
    """Draw as a user of diffusers would: the first steps by the pipeline, then a jump."""
    base, finisher = pipeline._base, pipeline._finisher
    plain = replace(request, settings=replace(request.settings, finish_noise=0.0))
    plan, seen = plan_generation(pipeline, plain), {}

    def keep(pipe, step, _timestep, tensors):
        if step == STEP_OF_FINISH - 1:
            seen["latents"] = tensors["latents"].clone()
        return tensors

    with pipeline.slot:
        call = call_arguments(pipeline, plan, [request.settings.seed])
        pipeline.run(
            scheduler=plan.request.settings.scheduler,
            control_name=plan.control_name,
            use_image=False,
            callback_on_step_end=keep,
            **call,
        )
    scheduler = type(base.scheduler).from_config(base.scheduler.config)
    scheduler.set_timesteps(STEPS)
    timestep, share = scheduler.timesteps[STEP_OF_FINISH], scheduler.sigmas[STEP_OF_FINISH]
    latents, states = seen["latents"], call["prompt_embeds"]
    residuals = {}
    if plan.uses_control:
        lines = torch.from_numpy(plan.control)[None, None].float().expand(-1, 3, -1, -1) / 255
        down, middle = pipeline._controls.model(DEFAULT_CONTROL)(
            latents, timestep, encoder_hidden_states=states, controlnet_cond=lines,
            return_dict=False,
        )  # fmt: skip
        residuals = {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }
    with torch.no_grad():
        velocity = finisher(latents, timestep, encoder_hidden_states=states, **residuals).sample
        picture = base.vae.decode((latents - share * velocity) / base.vae.config.scaling_factor)
    levels = (picture.sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0)
    return (levels.numpy() * 255).round().astype(np.uint8)[None]


@pytest.mark.parametrize("has_control", [False, True])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("levers", [PLAIN, DEFAULT, FAST], ids=["plain", "default", "fast"])
def test_the_rest_is_drawn_in_one_step_without_guidance(pipeline, has_control, guidance, levers):
    request = asked(has_control=has_control, guidance_scale=guidance)
    wanted = expected(pipeline, request)
    pipeline.set_levers(levers)
    picture = drawn(pipeline, request).astype(int)
    assert np.abs(picture - wanted).max() <= 1
    alone = drawn(pipeline, tiny.vary(request, finish_noise=0.0)).astype(int)
    assert np.abs(picture - alone).max() > 3


def test_what_is_finished_costs_nothing_more(source):
    pipeline = ImagePipeline.load(source)
    unet, control = pipeline._base.unet, pipeline._controls.model(DEFAULT_CONTROL)
    calls = Calls(finisher=pipeline._finisher)
    steps = []
    for module, name in ((unet.conv_in, "unet"), (control.conv_in, "control")):
        module.register_forward_pre_hook(lambda _module, args, name=name: steps.append(name))
    generate(pipeline, asked())
    assert steps == ["control", "unet"] * STEP_OF_FINISH + ["control"]
    assert calls.rows["finisher"] == [1]


@pytest.mark.parametrize("levers", [PLAIN, DEFAULT], ids=["plain", "default"])
@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_a_transfer_is_finished_wherever_it_begins(pipeline, strength, levers):
    pipeline.set_levers(levers)
    calls = Calls(finisher=pipeline._finisher)
    picture = drawn(pipeline, moved(strength))
    assert calls.rows["finisher"] == [1]
    assert np.abs(picture.astype(int) - drawn(pipeline, moved(strength, finish_noise=0.0))).max()


@pytest.mark.parametrize("scheduler", list(Scheduler))
def test_every_sampler_is_finished_by_the_same_step(pipeline, scheduler):
    """From noise alone no sampler has gone a step yet."""
    settings = {"scheduler": scheduler, "finish_noise": 1.0}
    usual = drawn(pipeline, asked(**{**settings, "scheduler": Scheduler.KIT}))
    picture = drawn(pipeline, asked(**settings))
    assert np.abs(picture.astype(int) - usual).max() <= 2  # UniPC begins at 1.000 for 0.999


def test_what_is_followed_back_to_noise_is_not_finished(pipeline):
    one, other = (moved(0.75, is_faithful=True, finish_noise=share) for share in (0.5, 0.0))
    np.testing.assert_array_equal(drawn(pipeline, one), drawn(pipeline, other))


def test_without_it_a_kit_draws_as_before(source, pipeline):
    without = ImagePipeline.load(replace(source, finish=None), levers=PLAIN)
    plain = asked(finish_noise=0.0)
    np.testing.assert_array_equal(drawn(pipeline, plain), drawn(without, plain))
    hashes = {
        share: generate(pipeline, asked(finish_noise=share)).weights_hash for share in (0.0, 1.0)
    }
    assert hashes[0.0] == generate(without, plain).weights_hash
    assert hashes[1.0] != hashes[0.0]
    with pytest.raises(RequestError, match=r"^This kit has no finisher\. Set `finish_noise` to 0"):
        generate(without, asked())


def test_an_image_is_made_again_from_its_png(pipeline, tmp_path):
    for request in (asked(), asked(finish_noise=0.0)):
        result, path = generate(pipeline, request), tmp_path / "out.png"
        write_png(path, result.images[0].image, describe(result, 0))
        read = read_png(path)
        again = generate(pipeline, rebuild_request(read))
        assert again.images[0].image.tobytes() == result.images[0].image.tobytes()
        assert ("finish_noise" in read.fields) == (request.settings.finish_noise > 0)
    for forged in (1.5, -1, "0.5", None):
        with pytest.raises((ProvenanceError, RequestError)):
            rebuild_request(Provenance(fields={**read.fields, "finish_noise": forged}))


def test_a_finisher_needs_a_flow_and_a_lora_that_fits(source, base_pipeline, tmp_path):
    wide = loras.write_lora(tmp_path / "wide.safetensors", tiny.make_unet(width=64))
    with pytest.raises(LoraError, match=r"wide\.safetensors"):
        ImagePipeline.load(replace(source, finish=LoraSource(file=wide)))
    pipe = type(base_pipeline)(**base_pipeline.components, requires_safety_checker=False)
    pipe.scheduler = type(pipe.scheduler).from_config(
        pipe.scheduler.config, prediction_type="epsilon", use_flow_sigmas=False
    )
    with pytest.raises(PipelineError, match="`prediction_type` is flow_prediction"):
        open_finisher(pipe, ImagePipeline.load(source).family, source.finish)
