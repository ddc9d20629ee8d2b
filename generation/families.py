"""Families of diffusion models: which models each consists of, and diffusers' names for them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """Families by the class that `model_index.json` names."""

    SD = "StableDiffusionPipeline"
    SDXL = "StableDiffusionXLPipeline"
    SD3 = "StableDiffusion3Pipeline"


DENOISER: Final[Mapping[Family, str]] = {
    Family.SD: "unet",
    Family.SDXL: "unet",
    Family.SD3: "transformer",
}
"""The model that removes noise, by its name in the pipeline."""

DIFFUSERS_MODELS: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.SD: {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
    Family.SDXL: {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"},
    Family.SD3: {"transformer": "SD3Transformer2DModel", "vae": "AutoencoderKL"},
}
UNION_MODEL: Final = "ControlNetUnionModel"
"""Class of a control network that serves several kinds of control images."""

ADAPTER_MODEL: Final = "T2IAdapter"
"""Class of the adapters that may take the place of a control network beside a UNet."""

CONTROL_MODELS: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.SD: {"ControlNetModel": "ControlNetModel", ADAPTER_MODEL: ADAPTER_MODEL},
    Family.SDXL: {
        "ControlNetModel": "ControlNetModel",
        "ControlNetModel_Union": UNION_MODEL,
        UNION_MODEL: UNION_MODEL,
        ADAPTER_MODEL: ADAPTER_MODEL,
    },
    Family.SD3: {"SD3ControlNetModel": "SD3ControlNetModel"},
}
"""Classes of a family's control networks, by the name in their `config.json`; the usual first."""

TRANSFORMERS_MODELS: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.SD: {"text_encoder": "CLIPTextModel"},
    Family.SDXL: {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    },
    Family.SD3: {
        "text_encoder": "CLIPTextModelWithProjection",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "text_encoder_3": "T5EncoderModel",
    },
}
OPTIONAL_PARTS: Final[Mapping[Family, Mapping[str, tuple[str, ...]]]] = {
    Family.SD: {},
    Family.SDXL: {},
    Family.SD3: {"text_encoder_3": ("text_encoder_3", "tokenizer_3")},
}
"""What a kit may leave out, with everything that goes with it."""

SHARED_PARTS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.SD: ("vae", "text_encoder", "tokenizer", "unet", "scheduler"),
    Family.SDXL: (
        *("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
        *("unet", "scheduler"),
    ),
    Family.SD3: (
        *("vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
        *("tokenizer", "tokenizer_2", "tokenizer_3", "transformer", "scheduler"),
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
    Family.SD3: {"feature_extractor": None, "image_encoder": None},
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
    Family.SD3: {
        (False, False): "StableDiffusion3Pipeline",
        (False, True): "StableDiffusion3Img2ImgPipeline",
        (True, False): "StableDiffusion3ControlNetPipeline",
    },
}
"""Classes of diffusers, by whether the control network runs and whether an image is redrawn."""

UNION_PIPELINES: Final[Mapping[bool, str]] = {
    False: "StableDiffusionXLControlNetUnionPipeline",
    True: "StableDiffusionXLControlNetUnionImg2ImgPipeline",
}
"""Classes of diffusers that run a union control network, by whether an image is redrawn."""

CONTROL_ARGUMENT: Final[Mapping[Family, str]] = {
    Family.SD: "image",
    Family.SDXL: "image",
    Family.SD3: "control_image",
}
"""Name of the control image among the arguments of a call without an image to redraw."""

_NOISE_SCHEDULERS: Final = (
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
SCHEDULERS: Final[Mapping[Family, tuple[str, ...]]] = {
    Family.SD: _NOISE_SCHEDULERS,
    Family.SDXL: _NOISE_SCHEDULERS,
    Family.SD3: ("FlowMatchEulerDiscreteScheduler",),
}
"""Samplers that a kit may name in place of its pipeline's."""
