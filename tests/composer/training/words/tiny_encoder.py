"""A sentence encoder of two layers and a few words, in the layout of the packaged one."""

import json
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "boat", "on", "the", "sea", "cat", "dog"]


def tiny_bert() -> BertModel:
    """Builds the network with fixed random weights."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        hidden_act="gelu",
    )
    return BertModel(config, add_pooling_layer=False).eval()


def write_encoder(path: Path, bert: BertModel) -> Path:
    """Writes `model.zip`."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("config.json", json.dumps(bert.config.to_dict()))
        files.writestr("tokenizer.json", tokenizer.to_str())
        files.writestr("model.safetensors", save(bert.state_dict()))
    return path
