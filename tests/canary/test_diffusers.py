"""diffusers: a tiny Stable Diffusion pipeline, prompt embeddings, flow matching, cancelling."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from tests.canary.conftest import CONTEXT_LENGTH, WIDTH


def _flow_scheduler() -> DPMSolverMultistepScheduler:
    # steps_offset only silences a warning of the Stable Diffusion pipelines: flow has no offset.
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1
    )


@pytest.fixture
def pipeline(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    torch.manual_seed(0)
    blocks = {"block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2}
    unet = UNet2DConditionModel(
        **blocks,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    vae = AutoencoderKL(
        block_out_channels=[4, 8, 8, 8],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=2,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=_flow_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _arguments(pipe: DiffusionPipeline, seed: int = 0) -> dict[str, Any]:
    embeds = torch.randn(2, CONTEXT_LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    return {
        "prompt_embeds": embeds[:1],
        "negative_prompt_embeds": embeds[1:],
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "generator": torch.Generator().manual_seed(7),
        "output_type": "pt",
    }


def test_prompt_embeds_give_images_and_matter(pipeline: StableDiffusionPipeline):
    first = pipeline(**_arguments(pipeline), height=64, width=64).images
    again = pipeline(**_arguments(pipeline), height=64, width=64).images
    other = pipeline(**_arguments(pipeline, seed=1), height=64, width=64).images
    assert first.shape == (1, 3, 64, 64)
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_prompt_and_prompt_embeds_together_are_refused(pipeline: StableDiffusionPipeline):
    with pytest.raises(ValueError, match="prompt_embeds"):
        pipeline("a chair", **_arguments(pipeline), height=64, width=64)


def test_the_flow_solver_walks_straight_to_the_target_of_a_perfect_model():
    """x_s = (1 - s) target + s noise has the constant velocity noise - target."""
    target, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = _flow_scheduler()
    scheduler.set_timesteps(6)
    assert scheduler.init_noise_sigma == 1.0
    assert scheduler.sigmas[-1] == 0.0
    velocity = noise - target
    latents = target + scheduler.sigmas[0] * velocity
    for step, timestep in enumerate(scheduler.timesteps):
        # The timestep the UNet sees is cut to a whole number.
        assert timestep.item() == pytest.approx(1000 * scheduler.sigmas[step].item(), abs=1.01)
        latents = scheduler.step(velocity, timestep, latents).prev_sample
        expected = target + scheduler.sigmas[step + 1] * velocity
        assert (latents - expected).abs().max() < 1e-5


def test_noise_is_added_on_the_same_straight_line():
    target, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = _flow_scheduler()
    scheduler.set_timesteps(6)
    noisy = scheduler.add_noise(target, noise, scheduler.timesteps[2:3])
    sigma = scheduler.sigmas[2]
    assert (noisy - ((1 - sigma) * target + sigma * noise)).abs().max() < 1e-6


def test_a_saved_folder_opens_again(pipeline: StableDiffusionPipeline, tmp_path: Path):
    pipeline.save_pretrained(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.suffix in {".bin", ".ckpt", ".pt"}]
    loaded = DiffusionPipeline.from_pretrained(tmp_path, use_safetensors=True)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is StableDiffusionPipeline
    assert loaded.scheduler.config.prediction_type == "flow_prediction"
    assert loaded.tokenizer.model_max_length == CONTEXT_LENGTH
    expected = pipeline(**_arguments(pipeline), height=64, width=64).images
    assert torch.equal(loaded(**_arguments(loaded), height=64, width=64).images, expected)


def test_control_and_image_to_image_share_the_weights(pipeline: StableDiffusionPipeline):
    torch.manual_seed(0)
    control = ControlNetModel.from_unet(
        pipeline.unet, conditioning_embedding_out_channels=(2, 4, 4, 4)
    )
    controlled = StableDiffusionControlNetPipeline.from_pipe(pipeline, controlnet=control)
    image_to_image = StableDiffusionImg2ImgPipeline.from_pipe(pipeline)
    assert controlled.unet is image_to_image.unet is pipeline.unet
    for pipe in (controlled, image_to_image):
        pipe.set_progress_bar_config(disable=True)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    drawn = controlled(image=picture, **_arguments(controlled)).images
    moved = image_to_image(image=picture, strength=0.5, **_arguments(image_to_image)).images
    assert drawn.shape == moved.shape == (1, 3, 64, 64)


def test_a_callback_stops_the_pipeline_after_one_step(pipeline: StableDiffusionPipeline):
    steps: list[int] = []

    def stop(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipe._interrupt = True
        return values

    arguments = {**_arguments(pipeline), "num_inference_steps": 6}
    pipeline(**arguments, height=64, width=64, callback_on_step_end=stop)
    assert steps == [0]
