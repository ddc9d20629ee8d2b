"""The trained parts as a diffusers pipeline: assembled, sampled for inspection, saved in fp16."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.files import atomic_folder
from generation.training.command import contact_sheet
from generation.training.flow import make_scheduler
from generation.training.stock import move
from generation.training.text_export import (
    export_text_encoder,
    export_tokenizer,
    write_classic_tokenizer,
)

_NUM_SAMPLES = 16
_SAMPLES_PER_ROW = 8


def assemble_pipeline(
    vae: AutoencoderKL, unet: UNet2DConditionModel, backbone: Backbone, clip_folder: Path
) -> StableDiffusionPipeline:
    """Put the parts together, the text encoder carrying the CLIP's text tower.

    Raises:
        ExportError: the CLIP cannot become a text encoder.
    """
    stock: Any = StableDiffusionPipeline  # parts may be None, whatever its hints say
    pipeline: StableDiffusionPipeline = stock(
        vae=vae,
        text_encoder=export_text_encoder(backbone),
        tokenizer=export_tokenizer(backbone, clip_folder),
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(unet.device)


def save_pipeline(pipeline: StableDiffusionPipeline, clip_folder: Path, folder: Path) -> None:
    """Write a pipeline in fp16; the folder appears whole or not at all."""
    with atomic_folder(folder) as part:
        pipeline.to(torch.float16).save_pretrained(part, safe_serialization=True)
        pipeline.to(torch.float32)
        _open_in_float32(part / "text_encoder" / "config.json")
        write_classic_tokenizer(clip_folder, part / "tokenizer")


def save_control_network(controlnet: ControlNetModel, folder: Path) -> None:
    """Write a control network in fp16, which it keeps; the folder appears whole or not at all."""
    move(controlnet, torch.float16)
    with atomic_folder(folder) as part:
        controlnet.save_pretrained(part)


def _open_in_float32(config: Path) -> None:
    """Set the dtype of the text encoder to that of diffusers' parts, which open in float32."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields["dtype"] = "float32"
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def validation_sheet(
    pipeline: StableDiffusionPipeline, pack: CataloguePack, seed: int
) -> Image.Image:
    """Draw captions of validation designs, each row above a row of the real pictures."""
    rows = pack.rows(split="validation", domain=PHOTO)
    count = min(len(rows), _NUM_SAMPLES)
    rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    captions = [pack.items[row].caption for row in rows]
    with torch.inference_mode():
        output: Any = pipeline(
            captions,
            num_inference_steps=16,
            guidance_scale=2.5,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        )
    levels = (np.asarray(output.images) * 255).round().astype(np.uint8)
    truth = pack.pixels(rows)
    if levels.shape[1:] == truth.shape[1:]:
        levels = _interleave(levels, truth, _SAMPLES_PER_ROW)
    return contact_sheet(levels, _SAMPLES_PER_ROW)


def _interleave(above: np.ndarray, below: np.ndarray, width: int) -> np.ndarray:
    halves = [
        half
        for start in range(0, len(above), width)
        for half in (above[start : start + width], below[start : start + width])
    ]
    return np.concatenate(halves)
