"""The plain diffusers call on the same folder, for comparison of timings."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from generation.request import GenerateRequest


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
