"""CLIP in the layout of transformers, with its tensors renamed as open_clip names them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from composer.weights import WeightsError, read_safetensors

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
PREPROCESS_NAME = "preprocessor_config.json"

# What transformers leaves out of a config that has its default value.
_TEXT_DEFAULTS: Final = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
}
_VISION_DEFAULTS: Final = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
}
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_INTERPOLATIONS: Final = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_BLOCK: Final = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_VISION: Final = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
_TEXT: Final = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HfConfig:
    """Settings of a CLIP as open_clip takes them.

    Attributes:
        model_cfg: Arguments of `open_clip.CLIP`.
        preprocess_cfg: How images are prepared.
    """

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class HfClip:
    """A CLIP as open_clip takes it.

    Attributes:
        config: Its settings.
        state: The weights by open_clip's names.
    """

    config: HfConfig
    state: dict[str, Tensor]


def is_hf_clip(folder: Path) -> bool:
    """Tell whether a folder holds a CLIP in the layout of transformers."""
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "clip"


def read_hf_clip(folder: Path) -> HfClip:
    """Read a CLIP in the layout of transformers.

    Raises:
        WeightsError: The weights are missing or damaged, or lack a tensor.
        ValueError: A setting contradicts another.
        OSError: A file cannot be read.
    """
    config = read_hf_config(folder)
    num_layers = [config.model_cfg[tower]["layers"] for tower in ("text_cfg", "vision_cfg")]
    # Positions are numbered anew; older files list them.
    tensors = {
        name: tensor
        for name, tensor in read_safetensors(folder / WEIGHTS_NAME).tensors.items()
        if not name.endswith(".position_ids")
    }
    renamed = _Renamed(tensors)
    try:
        state = _rename(renamed, *num_layers)
    except KeyError as error:
        raise WeightsError(f"{WEIGHTS_NAME} lacks the tensor {error.args[0]}.") from error
    if unused := tensors.keys() - renamed.taken:
        raise WeightsError(f"{WEIGHTS_NAME} has an unexpected tensor {min(unused)[:80]}.")
    return HfClip(config=config, state=state)


def read_hf_config(folder: Path) -> HfConfig:
    """Read the settings of a CLIP in the layout of transformers.

    Raises:
        ValueError: A setting contradicts another.
        OSError: A file cannot be read.
    """
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    text = _TEXT_DEFAULTS | config.get("text_config", {})
    vision = _VISION_DEFAULTS | config.get("vision_config", {})
    return HfConfig(
        model_cfg=_model_cfg(int(config.get("projection_dim", 512)), text, vision),
        preprocess_cfg=_preprocess_cfg(folder, int(vision["image_size"])),
    )


def _model_cfg(
    joint_dim: int, text: Mapping[str, Any], vision: Mapping[str, Any]
) -> dict[str, Any]:
    activations = {text["hidden_act"], vision["hidden_act"]}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise ValueError(f"the activation must be gelu or quick_gelu, got {sorted(activations)}")
    return {
        "embed_dim": joint_dim,
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            **_sizes(vision),
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
            **_sizes(text),
        },
    }


def _sizes(tower: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": tower["hidden_size"],
        "layers": tower["num_hidden_layers"],
        "mlp_ratio": tower["intermediate_size"] / tower["hidden_size"],
    }


def _preprocess_cfg(folder: Path, image_px: int) -> dict[str, Any]:
    path = folder / PREPROCESS_NAME
    named = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {
        "size": image_px,
        "mean": tuple(named.get("image_mean", _MEAN)),
        "std": tuple(named.get("image_std", _STD)),
        "interpolation": _INTERPOLATIONS[int(named.get("resample", 3))],
        "resize_mode": "shortest",
    }


class _Renamed:
    """Tensors by name, and the names that were taken."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors, self.taken = tensors, set[str]()

    def __getitem__(self, name: str) -> Tensor:
        """Take a tensor."""
        self.taken.add(name)
        return self._tensors[name]


def _rename(tensors: _Renamed, num_text_layers: int, num_vision_layers: int) -> dict[str, Tensor]:
    state = {
        "logit_scale": tensors["logit_scale"],
        "visual.proj": tensors["visual_projection.weight"].T,
        "text_projection": tensors["text_projection.weight"].T,
    }
    state |= {f"visual.{ours}": tensors[f"vision_model.{name}"] for name, ours in _VISION.items()}
    state |= {ours: tensors[f"text_model.{name}"] for name, ours in _TEXT.items()}
    for theirs, ours, num_layers in (
        ("vision_model", "visual.", num_vision_layers),
        ("text_model", "", num_text_layers),
    ):
        for layer in range(num_layers):
            state |= _rename_block(
                tensors,
                f"{theirs}.encoder.layers.{layer}",
                f"{ours}transformer.resblocks.{layer}",
            )
    return {name: tensor.float() for name, tensor in state.items()}


def _rename_block(tensors: _Renamed, theirs: str, ours: str) -> dict[str, Tensor]:
    block: dict[str, Tensor] = {}
    for leaf in ("weight", "bias"):
        block[f"{ours}.attn.in_proj_{leaf}"] = torch.cat(
            [tensors[f"{theirs}.self_attn.{one}_proj.{leaf}"] for one in "qkv"]
        )
        for name, renamed in _BLOCK.items():
            block[f"{ours}.{renamed}.{leaf}"] = tensors[f"{theirs}.{name}.{leaf}"]
    return block
