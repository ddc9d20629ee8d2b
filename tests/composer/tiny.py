"""A complete CLIP folder with small random weights, for tests of what stands on one."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import open_clip
import torch
from safetensors.torch import save_file

from composer.backbone import Backbone
from composer.media import MEDIA_NAME, MediaHeads

MERGES = ("c h", "a i", "ch ai", "chai r</w>", "r e", "re d</w>", "o a", "oa k</w>", "l u", "b lu")
TRUNK = "test_efficientnet"
TEXT_WIDTH, JOINT_DIM, CONTEXT, IMAGE_PX = 32, 24, 24, 64
TEXT_CONFIG = {
    "context_length": CONTEXT, "vocab_size": 512 + len(MERGES) + 2,
    "width": TEXT_WIDTH, "heads": 2, "layers": 2,
}  # fmt: skip


def write_clip(
    folder: Path, *, custom_text: bool = False, seed: int = 0, image_px: int = IMAGE_PX
) -> Path:
    config = {
        "embed_dim": JOINT_DIM,
        "vision_cfg": {
            "image_size": image_px, "layers": 2, "width": 48, "head_width": 16, "patch_size": 16,
        },
        "text_cfg": TEXT_CONFIG,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = (open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)(**config)
    # CLIP draws its projections small; larger ones make the features of a tiny model differ more.
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(2.0)
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    return _write_folder(folder, model, {**config, "custom_text": custom_text}, preprocess)


def _write_folder(
    folder: Path, model: torch.nn.Module, config: dict[str, Any], preprocess: dict[str, Any]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {**preprocess, "interpolation": "bicubic", "resize_mode": "shortest"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


@cache
def tiny_backbone(*, custom_text: bool = False, seed: int = 0) -> Backbone:
    with TemporaryDirectory() as folder:
        return Backbone.load(write_clip(Path(folder), custom_text=custom_text, seed=seed))


def write_trunk_clip(
    folder: Path, *, seed: int = 0, with_media: bool = True, image_px: int = IMAGE_PX
) -> Path:
    """A CLIP whose vision tower is a small convolutional trunk of timm with random weights."""
    config = {
        "embed_dim": JOINT_DIM,
        "vision_cfg": {
            "timm_model_name": TRUNK, "timm_model_pretrained": False, "timm_pool": "avg",
            "timm_proj": "linear", "timm_proj_bias": True, "image_size": image_px,
        },
        "text_cfg": TEXT_CONFIG,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = open_clip.CustomTextCLIP(**config)
    visual = cast(Any, model.visual)
    for norm in visual.trunk.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            torch.nn.init.normal_(norm.running_mean, std=0.1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    _write_folder(folder, model, {**config, "custom_text": True}, preprocess)
    if with_media:
        media = MediaHeads.for_tower(model.visual)
        media.give_norms(model.visual)
        with torch.no_grad():
            for name, tensor in media.own_state().items():
                tensor.add_(0.2 * torch.randn_like(tensor) if "weight" in name else 0.1)
        media.save(folder / MEDIA_NAME)
    return folder


@cache
def tiny_trunk_backbone(*, seed: int = 0, with_media: bool = True) -> Backbone:
    with TemporaryDirectory() as folder:
        return Backbone.load(write_trunk_clip(Path(folder), seed=seed, with_media=with_media))


# One of each family of vision towers.
FAMILIES = {"vit": tiny_backbone, "trunk": tiny_trunk_backbone}
