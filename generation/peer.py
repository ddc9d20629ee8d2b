"""Plain calls of diffusers, for comparison of timings."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from generation.generate import plan_generation
from generation.levers import PLAIN
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest
from generation.sample import call_arguments


def plain_call(folder: Path, request: GenerateRequest) -> Callable[[], Image.Image]:
    """Open a kit's pipeline as any user of diffusers would, on the CPU, without control network.

    Args:
        folder: diffusers folder of a Stable Diffusion pipeline.
        request: its words, steps, guidance scale and seed are used; its tokens are not.

    Returns:
        A function that draws one image of the kit's native size.
    """
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)

    def draw() -> Image.Image:
        output = pipe(
            request.query.text,
            num_inference_steps=request.settings.num_inference_steps,
            guidance_scale=request.settings.guidance_scale,
            generator=torch.Generator().manual_seed(request.settings.seed),
        )
        return output.images[0]  # pyright: ignore[reportAttributeAccessIssue]

    return draw


def plain_images(
    pipeline: ImagePipeline, request: GenerateRequest
) -> Callable[[], list[Image.Image]]:
    """Return the call of diffusers that a request comes down to, on the same models.

    All levers are off. Text is encoded at each call, as a user of diffusers would have it.

    Raises:
        RequestError: the request does not fit the pipeline.
    """
    plan = plan_generation(pipeline, request)
    settings = request.settings
    seeds = [settings.seed + number for number in range(settings.num_images)]
    with pipeline.slot:
        pipeline.set_levers(PLAIN)

    def draw() -> list[Image.Image]:
        with pipeline.slot:
            return pipeline.run(
                scheduler=settings.scheduler,
                control_name=plan.control_name,
                use_image=False,
                **call_arguments(pipeline, plan, seeds),
            )

    return draw
