"""Tokenizers and text encoders of pipelines."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file

from tests.replicas.layout import CONTEXT, HEADS, LAYERS, VOCABULARY, WIDTH, merges

SECOND_WIDTH = 40


def write_tokenizer(folder: Path, *, pad: str = "<|endoftext|>") -> None:
    """The four small files of a tokenizer, without a tokenizer.json."""
    folder.mkdir(parents=True)
    # open_clip calls the two special tokens otherwise.
    names = [*open_clip.tokenizer.SimpleTokenizer().encoder][:-2]
    tokens = {name: i for i, name in enumerate([*names, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges()]) + "\n", "utf-8")
    special = {
        name: {
            "content": content, "lstrip": False, "normalized": True, "rstrip": False,
            "single_word": False,
        }
        for name, content in (("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>"))
    }  # fmt: skip
    special["unk_token"] = special["eos_token"]
    (folder / "special_tokens_map.json").write_text(json.dumps({**special, "pad_token": pad}))
    typed = {name: {"__type": "AddedToken", **fields} for name, fields in special.items()}
    config = {
        **typed, "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
        "model_max_length": CONTEXT, "pad_token": pad, "tokenizer_class": "CLIPTokenizer",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _text_config(*, width: int, activation: str) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 4 * width,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT, "hidden_act": activation, "layer_norm_eps": 1e-5,
        "projection_dim": width, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip


def write_text_encoder(folder: Path, clip: Path, *, has_positions: bool) -> None:
    """The text tower of `openai/clip-vit-large-patch14` as a CLIPTextModel, in half precision."""
    folder.mkdir(parents=True)
    state = {
        name: tensor.half()
        for name, tensor in load_file(clip / "model.safetensors").items()
        if name.startswith("text_model.") and not name.endswith("position_ids")
    }
    if has_positions:
        state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    save_file(state, folder / "model.fp16.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["CLIPTextModel"], "model_type": "clip_text_model",
        **_text_config(width=WIDTH, activation="quick_gelu"),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def write_second_encoder(folder: Path) -> None:
    """SDXL's second text encoder: its table is a linear image of the first's, and some noise."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = _text_config(width=SECOND_WIDTH, activation="gelu")
    model = CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval().half()
    folder.mkdir(parents=True)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.fp16.safetensors", metadata={"format": "pt"})
    named = {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
    (folder / "config.json").write_text(json.dumps({**named, **config}))
