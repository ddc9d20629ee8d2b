"""LoRA files merged into the models of a pipeline.

A kit's own LoRAs and those that a user adds take the same way: the file becomes a dictionary whose
strengths are part of its tensors, diffusers translates the names and peft adds the layers, which
are then merged, so that a LoRA costs nothing per step.
"""

import json
import math
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from composer.files import sha256_of
from composer.weights import WeightsError, read_safetensors
from generation.lora_header import LORA_DOWN, LoraError

MAX_LORA_SCALE: Final = 5.0
_ADAPTER = "merged"
_FACTORS: Final[Mapping[str, str]] = {
    "lora_down": "lora_up",
    "lora_A": "lora_B",
    ".down": ".up",
}
_PEFT_METADATA = "lora_adapter_metadata"  # as diffusers saves it
_BARE_UNET = ("down_blocks.", "mid_block.", "up_blocks.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSource:
    """A LoRA file and how strongly it acts; a negative scale acts the other way.

    Raises:
        LoraError: the scale is beyond `MAX_LORA_SCALE`, or no number.
    """

    file: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the scale."""
        if not abs(self.scale) <= MAX_LORA_SCALE:  # false for nan, too
            raise LoraError(
                f"The scale of {self.file.name} must be from -{MAX_LORA_SCALE:g} to "
                f"{MAX_LORA_SCALE:g}, got {self.scale:g}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedLora:
    """A LoRA that is part of a pipeline's weights.

    Attributes:
        name: of the file.
        sha256: of the file, in hex.
        scale: how strongly it acts.
    """

    name: str
    sha256: str
    scale: float


def merge_lora(base: Any, lora: LoraSource) -> MergedLora:  # noqa: ANN401  a pipeline of diffusers
    """Merge a LoRA into the models of a pipeline.

    Raises:
        LoraError: the file is damaged, or the pipeline lacks a layer of it.
    """
    try:
        weights = read_safetensors(lora.file)
    except WeightsError as error:
        raise LoraError(f"The LoRA {lora.file.name} cannot be used: {error}") from error
    with _translate_errors(lora.file.name):
        tensors = _with_strengths(weights.tensors, weights.metadata)
        base.load_lora_weights(tensors, adapter_name=_ADAPTER)
    expected = sum(bool(LORA_DOWN.search(name)) for name in tensors)
    adapted = sum(_num_adapted(model) for model in base.components.values())
    if not adapted or adapted != expected:
        raise LoraError(
            f"The LoRA {lora.file.name} changes {expected} layers, of which this pipeline has "
            f"{adapted}. It is for another family of models."
        )
    base.fuse_lora(components=_adapted_parts(base), lora_scale=lora.scale)
    base.unload_lora_weights()
    return MergedLora(name=lora.file.name, sha256=sha256_of(lora.file), scale=lora.scale)


def _with_strengths(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, Tensor]:
    """Multiply the second factor of each layer by what the file says about the layer's strength.

    The file says it by an `alpha` beside the factors (kohya) or in its metadata (peft). Left to
    diffusers, alphas that differ between layers would be lost for those of attention.
    """
    settings: Mapping[str, Any] = json.loads(metadata.get(_PEFT_METADATA, "{}"))
    scaled = {name: tensor for name, tensor in tensors.items() if not name.endswith(".alpha")}
    for name, down in tensors.items():
        if not (match := LORA_DOWN.search(name)):
            continue
        stem, rank = name[: match.start()].rstrip("."), down.shape[0]
        strength = _peft_strength(stem, rank, settings)
        if (alpha := tensors.get(f"{stem}.alpha")) is not None:
            strength = float(alpha) / rank
        if strength != 1.0:
            up = name[: match.start()] + _second_factor(match[0])
            scaled[up] = scaled[up].float() * strength
    return {_with_prefix(name): tensor for name, tensor in scaled.items()}


def _second_factor(first: str) -> str:
    return next(first.replace(down, up) for down, up in _FACTORS.items() if down in first)


def _with_prefix(name: str) -> str:
    """Return the name with the UNet's prefix, which the first LoRAs of diffusers lack."""
    return f"unet.{name}" if name.startswith(_BARE_UNET) else name


def _peft_strength(stem: str, rank: int, settings: Mapping[str, Any]) -> float:
    part, _, module = stem.partition(".")
    alpha = settings.get(f"{part}.lora_alpha")
    for pattern, other in (settings.get(f"{part}.alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = other
    if alpha is None:
        return 1.0
    return float(alpha) / (math.sqrt(rank) if settings.get(f"{part}.use_rslora") else rank)


def _adapted_parts(base: Any) -> list[str]:  # noqa: ANN401  a pipeline of diffusers
    return [name for name, model in base.components.items() if _num_adapted(model)]


def _num_adapted(model: object) -> int:
    if not isinstance(model, torch.nn.Module):
        return 0
    return sum(
        _ADAPTER in layers
        for module in model.modules()
        if isinstance(layers := getattr(module, "lora_A", None), torch.nn.ModuleDict)
    )


@contextmanager
def _translate_errors(name: str) -> Generator[None, None, None]:
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise LoraError(
            f"The LoRA {name} does not fit this pipeline; it is for another family of models "
            f"({reason})."
        ) from error
