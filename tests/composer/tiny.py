"""A complete CLIP folder with small random weights, for tests of what stands on one."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import torch
from safetensors.torch import save_file

from composer.backbone import Backbone

MERGES = ("c h", "a i", "ch ai", "chai r</w>", "r e", "re d</w>", "o a", "oa k</w>", "l u", "b lu")
TEXT_WIDTH, JOINT_DIM, CONTEXT, IMAGE_PX = 32, 24, 24, 64


def write_clip(
    folder: Path, *, custom_text: bool = False, seed: int = 0, image_px: int = IMAGE_PX
) -> Path:
    config = {
        "embed_dim": JOINT_DIM,
        "vision_cfg": {
            "image_size": image_px, "layers": 2, "width": 48, "head_width": 16, "patch_size": 16,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": 512 + len(MERGES) + 2,
            "width": TEXT_WIDTH, "heads": 2, "layers": 2,
        },
        "custom_text": custom_text,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    sizes = {key: value for key, value in config.items() if key != "custom_text"}
    model = kind(**sizes)
    # CLIP draws its projections small; larger ones make the features of a tiny model differ more.
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(2.0)
    preprocess = {
        "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28],
        "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
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
