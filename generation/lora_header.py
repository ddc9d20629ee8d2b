"""What the header of a LoRA file says: which model it changes, and by which method."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from composer.weights import WeightsError, check_safetensors_header


class LoraError(ValueError):
    """A LoRA that cannot be used; the message says why."""


LORA_DOWN: Final = re.compile(r"(lora_down|lora_A|lora(_linear_layer)?\.down)\.weight$")
"""The first of the two factors that a LoRA has for each layer, in any style of names."""

_OTHER_METHODS: Final[Mapping[str, str]] = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "LoCon with a Tucker decomposition",
    "oft_": "OFT",
    "on_input": "IA3",
    ".diff": "full difference of weights",
}
"""Methods that diffusers does not add, or only in part, by a mark in the names of their tensors."""

_FLUX, _SD3 = "FLUX or a model like it", "Stable Diffusion 3"
_UNET_NAME, _TRANSFORMER = "a UNet", "a transformer"
_OTHER_MODELS: Final[Mapping[str, str]] = {
    r"double_blocks|single_blocks|single_transformer_blocks": _FLUX,
    r"joint_blocks|^transformer\..*add_[qkv]_proj": _SD3,
    r"^transformer\.|^diffusion_model\.(?!input_|middle_|output_)|^lora_unet_(layers|blocks)_": (
        _TRANSFORMER
    ),
}
_UNET: Final = re.compile(
    r"^(lora_unet_|unet\.|diffusion_model\.)?"
    r"(down_blocks|mid_block|up_blocks|input_blocks|middle_block|output_blocks)|^(lora_unet_|unet\.)"
)
_TEXT: Final = re.compile(r"^(lora_te\d?_|text_encoder)")
_TEXT_PROJECTION: Final = re.compile(r"attn2[._](processor[._])?to_[kv][._].*")
_BY_TEXT_WIDTH: Final[Mapping[int, str]] = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "the refiner of Stable Diffusion XL",
    2048: "Stable Diffusion XL",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingModel:
    """What a LoRA must fit.

    Attributes:
        text_width: width of the states that the UNet attends to; None for the transformer of
            Stable Diffusion 3, whose LoRAs the names of their layers tell.
    """

    text_width: int | None

    def __str__(self) -> str:
        """Return the model's name for the user."""
        return _SD3 if self.text_width is None else unet_name(self.text_width)


def unet_name(text_width: int) -> str:
    """Return the name of a model by the width of the states that its UNet attends to."""
    known = _BY_TEXT_WIDTH.get(text_width)
    name = "a UNet that reads text" if known is None else f"{known}, which reads text"
    return f"{name} of width {text_width}"


def check_lora_header(file: Path, model: DrawingModel) -> None:
    """Check by its header that a file is a plain LoRA for a model; a few milliseconds.

    A header may leave the family open; then the load, which counts layers, decides.

    Raises:
        LoraError: the file is no LoRA, one of another method, or one for another model.
    """
    try:
        header = check_safetensors_header(file)
    except WeightsError as error:
        raise LoraError(f"The LoRA {file.name} cannot be used: {error}") from error
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    for mark, method in _OTHER_METHODS.items():
        if any(mark in name for name in shapes):
            raise LoraError(
                f"{file.name} is a {method}, which is not supported; the kit takes plain LoRAs "
                f"for {model}."
            )
    changed = _changed_model(shapes)
    if changed is None:
        raise LoraError(
            f"{file.name} is no LoRA, as it has no pair of factors for a layer; the kit takes "
            f"LoRAs for {model}."
        )
    width = _text_width(shapes) if changed == _UNET_NAME else None
    may_fit = (_UNET_NAME,) if model.text_width is not None else (_SD3, _TRANSFORMER)
    if changed not in may_fit or (width is not None and width != model.text_width):
        theirs = changed if width is None else unet_name(width)
        raise LoraError(f"{file.name} is a LoRA for {theirs}; the kit draws with {model}.")


def _changed_model(shapes: Mapping[str, Any]) -> str | None:
    """Return which model a LoRA changes; None where the tensors are those of no LoRA."""
    layers = [name for name in shapes if LORA_DOWN.search(name)]
    if not layers:
        return None
    for pattern, model in _OTHER_MODELS.items():
        if any(re.search(pattern, name) for name in layers):
            return model
    if any(_UNET.search(name) for name in layers):
        return _UNET_NAME
    if all(_TEXT.search(name) for name in layers):
        return "text encoders alone"
    return "an unknown model"


def _text_width(shapes: Mapping[str, Any]) -> int | None:
    for name, shape in shapes.items():
        if _TEXT_PROJECTION.search(name) and LORA_DOWN.search(name) and len(shape) >= 2:
            return int(shape[1])
    return None
