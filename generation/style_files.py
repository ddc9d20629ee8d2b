"""Files of an IP-Adapter, and what their headers say about the models they were trained with."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from composer.weights import WeightsError, check_safetensors_header
from generation.configs import read_config


class StyleError(ValueError):
    """An IP-Adapter that cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleSource:
    """Files of an IP-Adapter.

    Attributes:
        weights: safetensors of the adapter.
        image_encoder: folder of the CLIP vision model of transformers that it was trained with.
    """

    weights: Path
    image_encoder: Path


_IMAGE, _LAYER = "image_proj.", re.compile(r"ip_adapter\.\d+\.to_k_ip\.weight")
_FACE_MARKS: Final = ("image_proj.perceiver_resampler.", "_lora.")
_INPUTS: Final[Mapping[str, str]] = {
    "image_proj.proj.weight": "projection_dim",
    "image_proj.proj_in.weight": "hidden_size",
    "image_proj.proj.0.weight": "hidden_size",
}
"""First layer of each kind (plain, plus, full face), and the width of what it reads."""


def check_style_files(source: StyleSource, unet_config: Mapping[str, Any]) -> None:
    """Check by headers and configs that an adapter, its image encoder and a UNet fit together.

    Raises:
        StyleError: a file is missing or damaged, or one is for other models.
    """
    name = source.weights.name
    try:
        header = check_safetensors_header(source.weights)
    except WeightsError as error:
        raise StyleError(f"The IP-Adapter {name} cannot be used: {error}") from error
    encoder = _read_encoder_config(source)
    if any(mark in key for key in header for mark in _FACE_MARKS):
        raise StyleError(f"{name} reads features of faces, which no part of a kit provides.")
    first = next((key for key in _INPUTS if key in header), None)
    layers = [key for key in header if _LAYER.fullmatch(key)]
    if first is None or not layers:
        raise StyleError(f"{name} is no IP-Adapter; its tensors have other names.")
    theirs, ours = int(header[first]["shape"][-1]), int(encoder.get(_INPUTS[first], 0))
    if theirs != ours:
        raise StyleError(
            f"{name} reads image features of width {theirs}, the image encoder in "
            f"{source.image_encoder.name} gives {ours}. Give the encoder it was trained with."
        )
    width = int(header[layers[0]]["shape"][-1])
    if width != unet_config.get("cross_attention_dim"):
        raise StyleError(
            f"{name} is for a UNet that reads text of width {width}, the kit's reads width "
            f"{unet_config.get('cross_attention_dim')}. Choose one of the same family."
        )


def num_layers_of(source: StyleSource) -> int:
    """Return how many cross-attention layers an adapter has weights for."""
    return sum(bool(_LAYER.fullmatch(key)) for key in check_safetensors_header(source.weights))


def num_weights_of(source: StyleSource) -> int:
    """Return how many weights an adapter has, without those of its image encoder."""
    header = check_safetensors_header(source.weights)
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")


def _read_encoder_config(source: StyleSource) -> Mapping[str, Any]:
    file = source.image_encoder / "config.json"
    if not file.is_file():
        raise StyleError(
            f"The IP-Adapter {source.weights.name} reads pictures through an image encoder, and "
            f"there is none in {source.image_encoder}. Fetch the kit again, or name the encoder's "
            "folder in the kit."
        )
    try:
        return read_config(file)
    except ValueError as error:
        raise StyleError(str(error)) from error
