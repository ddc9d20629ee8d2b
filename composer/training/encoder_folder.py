"""An encoder as a folder that open_clip opens: public trunk, trained heads, a text tower."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from composer.clip_files import CONFIG_NAME, WEIGHTS_NAME
from composer.files import write_bytes
from composer.learned import FILE_NAME as LEARNED_NAME
from composer.media import MEDIA_NAME, MediaHeads
from composer.training.encoder_heads import EncoderHeads
from composer.training.encoder_space import Space
from composer.training.public_trunk import MEAN, STD
from composer.training.trunk_features import TrunkFeatures
from composer.training.words.tower import put_into_clip
from composer.vision import norm_state
from composer.weights import read_metadata, read_safetensors, write_safetensors


def read_heads(path: Path, sets: Mapping[str, TrunkFeatures], space: Space) -> EncoderHeads:
    """Read the heads of a training's file; `sets` and `space` are what they were trained from.

    Raises:
        ValueError: The file is damaged or holds heads of another size.
    """
    trained = read_safetensors(path).tensors
    heads = EncoderHeads(space, sets)
    heads.restore(trained)
    return heads


def write_encoder(
    folder: Path,
    *,
    tower: nn.Module,
    trained: Path,
    sets: Mapping[str, TrunkFeatures],
    space: Space,
    text: Path,
) -> None:
    """Write an encoder's folder, weights in fp16.

    Args:
        folder: Made if it is missing.
        tower: The public tower that was trained on.
        trained: File of the training.
        sets: What the tower saw.
        space: Where the training started.
        text: Folder of the text tower that was trained on this space's photos, with its
            vocabulary and its table of learned names.

    Raises:
        ValueError: The file or the text tower does not fit.
    """
    heads = read_heads(trained, sets, space)
    photo = heads.photo_head()
    folder.mkdir(parents=True, exist_ok=True)
    visual: Any = tower
    trunk = {f"visual.trunk.{name}": t for name, t in visual.trunk.state_dict().items()}
    head = {f"visual.head.proj.{name}": t for name, t in photo.items()}
    written = {name: _half(tensor) for name, tensor in (trunk | head).items()}
    write_safetensors(folder / WEIGHTS_NAME, written)
    media = heads.media_heads()
    _give_norms(media, tower, trained)
    media.save(folder / MEDIA_NAME, half=True, notes=read_metadata(trained))
    facts = json.dumps(_config(len(photo["bias"]), visual), indent=2)
    write_bytes(folder / CONFIG_NAME, facts.encode())
    put_into_clip(text, folder)
    if (text / LEARNED_NAME).exists():
        shutil.copyfile(text / LEARNED_NAME, folder / LEARNED_NAME)


def _give_norms(media: MediaHeads, tower: nn.Module, trained: Path) -> None:
    found = read_safetensors(trained).tensors
    norms = {n: t for n, t in found.items() if n.startswith("layer_norms.")}
    if not norms:
        return
    media.give_norms(tower)
    state = media.own_state()
    with torch.no_grad():
        for name in norm_state(tower):
            state[name.replace("layer_norms.", "norms.", 1)].copy_(norms[name])


def _config(joint_dim: int, tower: nn.Module) -> dict[str, Any]:
    visual: Any = tower
    return {
        "model_cfg": {
            "embed_dim": joint_dim,
            "vision_cfg": {
                "timm_model_name": visual.trunk.pretrained_cfg["architecture"],
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "timm_proj_bias": True,
                "image_size": int(visual.image_size[0]),
            },
            "custom_text": True,
        },
        "preprocess_cfg": {
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
