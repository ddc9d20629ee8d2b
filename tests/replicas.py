"""Tiny models with random weights, saved as the public repositories save theirs.

File names, variants, configs and names of tensors are those of the repositories that the shipped
kits name; only widths and depths are small. The vocabulary is the full one.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file

CLIP_L14 = "openai/clip-vit-large-patch14"
CLIP_B32 = "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"
WIDTH, HEADS, LAYERS, CONTEXT, VOCABULARY = 32, 4, 2, 77, 49408
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

Repository = dict[str, bytes]


def read_folder(folder: Path) -> Repository:
    """The files of a folder, as a hub serves them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def merges() -> tuple[str, ...]:
    """The merges of CLIP's vocabulary, from open_clip's own file."""
    path = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return tuple(lines[1 : VOCABULARY - 256 - 256 - 2 + 1])


def clip_config() -> dict[str, Any]:
    """A tiny CLIP in the config of transformers, all values written out as the hub's is."""
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": WIDTH,
    }
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": WIDTH,
        "text_config": {
            **shared, "model_type": "clip_text_model", "vocab_size": VOCABULARY,
            "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 2,
            "pad_token_id": 1,
        },
        "vision_config": {
            **shared, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8,
        },
    }  # fmt: skip


def write_clip_l14(folder: Path, *, seed: int = 0) -> Path:
    """`openai/clip-vit-large-patch14`: a CLIPModel of transformers."""
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = clip_config()
    model = CLIPModel(CLIPConfig.from_dict(config)).eval()
    with torch.no_grad():  # drawn small, the features of a tiny model hardly differ
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                parameter.mul_(4.0)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # The hub's file keeps the buffers that transformers has dropped since.
    state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    preprocess = {
        "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD,
        "resample": 3, "size": 32,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocess))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    return folder


def write_clip_b32(folder: Path, *, seed: int = 0) -> Path:
    """`laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K`: a folder of open_clip."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model_cfg: dict[str, Any] = {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "image_size": 32, "layers": LAYERS, "width": 32, "head_width": 8, "patch_size": 8,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": VOCABULARY, "width": WIDTH,
            "heads": HEADS, "layers": LAYERS,
        },
    }  # fmt: skip
    model = open_clip.CLIP(**model_cfg)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    )
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"a pickle that nobody needs")
    return folder


def state_of(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file."""
    return load_file(file)
