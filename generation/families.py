"""Families of diffusion models: which models each consists of, and diffusers' names for them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """Families by the class that `model_index.json` names."""

    SD = "StableDiffusionPipeline"
    SDXL = "StableDiffusionXLPipeline"


DENOISER: Final[Mapping[Family, str]] = {Family.SD: "unet", Family.SDXL: "unet"}
"""The model that removes noise, by its name in the pipeline."""

DIFFUSERS_MODELS: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.SD: {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
    Family.SDXL: {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
}
TRANSFORMERS_MODELS: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.SD: {"text_encoder": "CLIPTextModel"},
    Family.SDXL: {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
}
SHARED_PARTS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.SD: ("vae", "text_encoder", "tokenizer", "unet", "scheduler"),
    Family.SDXL: (
        *("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
        *("unet", "scheduler"),
    ),
}
"""What the pipelines of a family share."""

ABSENT_PARTS: Final[Mapping[Family, Mapping[str, object]]] = {
    Family.SD: {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    },
    Family.SDXL: {"feature_extractor": None, "add_watermarker": False},
}
"""What a pipeline is made without, as arguments."""

PIPELINES: Final[Mapping[Family, Mapping[tuple[bool, bool], str]]] = {
    Family.SD: {
        (False, False): "StableDiffusionPipeline",
        (False, True): "StableDiffusionImg2ImgPipeline",
        (True, False): "StableDiffusionControlNetPipeline",
        (True, True): "StableDiffusionControlNetImg2ImgPipeline",
    },
    Family.SDXL: {
        (False, False): "StableDiffusionXLPipeline",
        (False, True): "StableDiffusionXLImg2ImgPipeline",
        (True, False): "StableDiffusionXLControlNetPipeline",
        (True, True): "StableDiffusionXLControlNetImg2ImgPipeline",
    },
}
"""Classes of diffusers, by whether the control network runs and whether an image is redrawn."""

SCHEDULERS: Final = frozenset(
    {
        "DDIMScheduler",
        "DPMSolverMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "LCMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    }
)
"""Samplers that a kit may name in place of its pipeline's."""
