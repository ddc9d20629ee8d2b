"""Tiny kits with the blocks of SD 1.5, SDXL and SD 3.5, as configs alone."""

import json
from pathlib import Path
from typing import Any

from studio.kit_file import read_kit_file
from studio.random_kit import read_shapes

WIDTH, SECOND_WIDTH = 32, 48
_TEXT: dict[str, Any] = {
    "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "projection_dim": WIDTH,
}  # fmt: skip
_SD = {
    "sample_size": 8, "block_out_channels": [8, 8, 16, 16], "layers_per_block": 1,
    "cross_attention_dim": WIDTH, "attention_head_dim": 2, "norm_num_groups": 2,
}  # fmt: skip
_SDXL = {
    "sample_size": 8, "block_out_channels": [8, 8, 16], "layers_per_block": 1,
    "transformer_layers_per_block": [1, 1, 2], "attention_head_dim": [1, 2, 4],
    "cross_attention_dim": WIDTH + SECOND_WIDTH, "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": SECOND_WIDTH + 6 * 8, "norm_num_groups": 2,
}  # fmt: skip
_SD3 = {
    "sample_size": 8, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2,
    "joint_attention_dim": WIDTH + SECOND_WIDTH + 8, "caption_projection_dim": 16,
    "pooled_projection_dim": WIDTH + SECOND_WIDTH, "pos_embed_max_size": 12,
    "dual_attention_layers": [0],
}  # fmt: skip
_T5 = {
    "vocab_size": 128, "d_model": WIDTH + SECOND_WIDTH + 8, "d_kv": 8, "d_ff": 64,
    "num_layers": 2, "num_heads": 4,
}  # fmt: skip
_VAE = {"block_out_channels": [4, 4, 8, 8], "norm_num_groups": 2, "layers_per_block": 1}
_CONTROL = {"conditioning_embedding_out_channels": [4, 4, 4, 4]}


def write_tiny_kit(folder: Path, base: str) -> Path:
    """A kit based on a shipped one, whose models have its blocks and a few thousand weights."""
    shapes: Any = json.loads(json.dumps(read_shapes(read_kit_file(base))))
    clip, pipeline = shapes["CLIP"]["config.json"], shapes["pipeline"]
    clip["projection_dim"] = WIDTH
    clip["text_config"] |= _TEXT
    clip["vision_config"] |= {**_TEXT, "image_size": 32, "patch_size": 8}
    pipeline["text_encoder/config.json"] |= _TEXT
    if "transformer/config.json" in pipeline:
        pipeline["transformer/config.json"] |= _SD3
        pipeline["text_encoder_3/config.json"] |= _T5
        shapes["control network"]["config.json"] |= {**_SD3, "num_layers": 1}
    else:
        unet = _SDXL if "text_encoder_2/config.json" in pipeline else _SD
        pipeline["unet/config.json"] |= unet
        control = {name: value for name, value in unet.items() if name != "sample_size"}
        shapes["control network"]["config.json"] |= control | _CONTROL
    pipeline["vae/config.json"] |= _VAE
    if "text_encoder_2/config.json" in pipeline:
        second = {**_TEXT, "hidden_size": SECOND_WIDTH, "projection_dim": SECOND_WIDTH}
        pipeline["text_encoder_2/config.json"] |= second
    folder.mkdir(parents=True)
    (folder / "shapes.json").write_text(json.dumps(shapes))
    (folder / "kit.toml").write_text(f'base = "{base}"\nname = "tiny-{base}"\n')
    return folder
