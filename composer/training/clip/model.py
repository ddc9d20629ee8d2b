"""The mini CLIP: its towers, how they encode while they train, its folder.

What the towers compute is open_clip's; only padding and positions are handled here.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip import CLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from composer.backbone import end_positions
from composer.clip_files import CONFIG_NAME, WEIGHTS_NAME
from composer.files import write_bytes, write_text
from composer.prompt import encode_by_length
from composer.splice import take_positions
from composer.training.clip.recipe import ClipTraining

MEAN = (0.48145466, 0.4578275, 0.40821073)

STD = (0.26862954, 0.26130258, 0.27577711)

CONTEXT = 40

EMBED_DIM = 256

VOCAB_SIZE = 7424  # as many as keep the fp16 file below its share of the assets, 34 MB

_VISION_KEYS = {"layers", "width", "head_width", "patch_size", "image_size"}

_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers"}


def vision_config(recipe: ClipTraining) -> CLIPVisionCfg:
    """Return the mini vision tower: 128 px, patch 16, as wide and deep as the recipe says."""
    return CLIPVisionCfg(
        layers=recipe.vision_layers,
        width=recipe.vision_width,
        head_width=64,
        patch_size=16,
        image_size=128,
        patch_dropout=0.5,  # each phase sets its own; with 0 the module would be missing
    )


def text_config(vocab_size: int) -> CLIPTextCfg:
    """Return the mini text tower: width 256, 6 layers, context 40."""
    return CLIPTextCfg(context_length=CONTEXT, vocab_size=vocab_size, width=256, heads=4, layers=6)


def build_mini_clip(vocab_size: int, recipe: ClipTraining) -> CLIP:
    """Build the mini CLIP with random weights from the recipe's seed.

    What the vision tower's blocks add starts small, as open_clip has it for text towers.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(recipe.seed)
        model = CLIP(EMBED_DIM, vision_config(recipe), text_config(vocab_size))
        tower: Any = model.visual
        for block in tower.transformer.resblocks:
            block.attn.out_proj.weight.normal_(0, 0.01)
            block.mlp.c_proj.weight.normal_(0, 0.01)
        model.logit_scale.fill_(math.log(1 / 0.07))
    return model


def build_word_head(recipe: ClipTraining, num_words: int) -> torch.nn.Linear:
    """Build the head with random weights: zeros would first give all pictures the same scores."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return torch.nn.Linear(recipe.vision_width, num_words)


def encode_text(model: CLIP, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
    """Encode texts in groups of like length, each cut to its longest; open_clip pads them all."""
    ends = end_positions(ids, model.vocab_size - 1)  # the last id of a vocabulary ends texts
    return encode_by_length(
        ends + 1, lambda group, most: _encode_cut(model, ids[group, :most], ends[group])
    )


def encode_pixels(
    model: CLIP, pixels: Float[Tensor, "b 3 s s"]
) -> tuple[Float[Tensor, "b w"], Float[Tensor, "b d"]]:
    """Encode pictures of any size that patches divide; positions are averaged for smaller ones.

    Returns the pooled features before the projection, and the normalised joint features.
    """
    visual: Any = model.visual
    patches = visual.conv1(pixels)
    positions = visual.positional_embedding[1:].T.unflatten(1, visual.grid_size)
    positions = functional.adaptive_avg_pool2d(positions, patches.shape[-2:])
    hidden = (patches + positions).flatten(2).transpose(1, 2)
    first = visual.class_embedding + visual.positional_embedding[0]
    hidden = torch.cat([first.expand(len(hidden), 1, -1), hidden], dim=1)
    hidden = visual.transformer(visual.ln_pre(visual.patch_dropout(hidden)))
    pooled = visual.ln_post(hidden[:, 0])
    return pooled, functional.normalize(pooled @ visual.proj, dim=-1)


def export_clip(model: CLIP, recipe: ClipTraining, folder: Path) -> None:
    """Write `open_clip_config.json` and fp16 `open_clip_model.safetensors`."""
    vision = {k: v for k, v in asdict(vision_config(recipe)).items() if k in _VISION_KEYS}
    vocab_size = model.vocab_size
    text = {k: v for k, v in asdict(text_config(vocab_size)).items() if k in _TEXT_KEYS}
    config = {
        "model_cfg": {"embed_dim": EMBED_DIM, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {
            "mean": list(MEAN),
            "std": list(STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    write_text(folder / CONFIG_NAME, json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(folder / WEIGHTS_NAME, save(weights, metadata={"format": "pt"}), is_durable=True)


def _encode_cut(
    model: CLIP, ids: Int[Tensor, "b l"], ends: Int[Tensor, " b"]
) -> Float[Tensor, "b d"]:
    tower: Any = model  # its modules are set by name, which the type checker cannot follow
    length = ids.shape[1]
    hidden = tower.token_embedding(ids) + tower.positional_embedding[:length]
    hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
    pooled = take_positions(tower.ln_final(hidden), ends)
    return functional.normalize(pooled @ tower.text_projection, dim=-1)
