"""Small real objects that the canaries share, built in memory or in a temporary folder."""

import json
from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import bytes_to_unicode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

MERGES = ("c h", "a i", "ai r</w>", "ch air</w>", "r e", "re d</w>")
CONTEXT_LENGTH = 40
WIDTH = 32
VOCAB = 512 + len(MERGES) + 2


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vocab.json and merges.txt in CLIP's file format, end-of-text last."""
    folder = tmp_path_factory.mktemp("tokenizer")
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [merge.replace(" ", "") for merge in MERGES]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]))
    return folder


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer(
        str(tokenizer_folder / "vocab.json"),
        str(tokenizer_folder / "merges.txt"),
        model_max_length=CONTEXT_LENGTH,
    )


@pytest.fixture
def text_encoder() -> CLIPTextModel:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_act="gelu",
        bos_token_id=VOCAB - 2,
        eos_token_id=VOCAB - 1,
        pad_token_id=VOCAB - 1,
    )
    return CLIPTextModel(config).eval()
