"""The trained parts as a diffusers pipeline: assembled and saved in fp16."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from composer.backbone import Backbone
from composer.files import atomic_folder
from generation.training.flow import make_scheduler
from generation.training.stock import move
from generation.training.text_export import (
    export_text_encoder,
    export_tokenizer,
    write_classic_tokenizer,
)


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
        _compact(part / "tokenizer" / "tokenizer.json")
        for config in part.glob("*/config.json"):
            _forget_origin(config)


def save_control_network(controlnet: ControlNetModel, folder: Path) -> None:
    """Write a control network in fp16, which it keeps; the folder appears whole or not at all."""
    move(controlnet, torch.float16)
    with atomic_folder(folder) as part:
        controlnet.save_pretrained(part)


def _forget_origin(config: Path) -> None:
    """Leave out the folder of this machine that a part was read from."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    if fields.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _compact(file: Path) -> None:
    """Write a JSON file on one line: a vocabulary takes half the space so."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    file.write_text(text + "\n", encoding="utf-8")


def _open_in_float32(config: Path) -> None:
    """Set the dtype of the text encoder to that of diffusers' parts, which open in float32."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields["dtype"] = "float32"
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
