"""The text tower that learns: CLIP's own shape, so that open_clip and diffusers read it."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn import functional

from composer.clip_files import CONFIG_NAME, MERGES_NAME, load_tokenizer
from composer.clip_files import WEIGHTS_NAME as CLIP_WEIGHTS_NAME
from composer.files import write_bytes
from composer.prompt import encode_by_length
from composer.training.bpe import WORD_END, train_merges, write_merges
from composer.weights import read_safetensors, write_safetensors

CONTEXT = 40
WIDTH = 256
LAYERS = 6
HEADS = 4
VOCAB_SIZE = 20_000
WEIGHTS_NAME = "text.safetensors"
LOG_SCALE = "logit_scale"
MAX_REPEATS = 60


class TextTower(nn.Module):
    """open_clip's causal text transformer with the scale of its cosines."""

    def __init__(
        self, vocab_size: int, *, dim: int = WIDTH, num_layers: int = LAYERS, seed: int = 0
    ) -> None:
        """Build it with the seed's random weights."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.transformer: Any = TextTransformer(
                context_length=CONTEXT,
                vocab_size=vocab_size,
                width=WIDTH,
                heads=HEADS,
                layers=num_layers,
                output_dim=dim,
            )
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(self, ids: Int[Tensor, "n l"]) -> Float[Tensor, "n d"]:
        """Encode token ids to unit vectors; texts of like length go through together."""
        lengths = ids.argmax(dim=-1) + 1  # the end of text has the highest id
        features = encode_by_length(lengths, lambda group, most: self._encode(ids[group, :most]))
        return functional.normalize(features.float(), dim=-1)

    def _encode(self, ids: Int[Tensor, "n l"]) -> Float[Tensor, "n d"]:
        tower, length = self.transformer, ids.shape[1]
        hidden = tower.token_embedding(ids) + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        pooled = hidden[torch.arange(len(ids)), ids.argmax(dim=-1)]
        return tower.ln_final(pooled) @ tower.text_projection

    def save(self, folder: Path) -> None:
        """Write the weights in half precision, named as open_clip names them."""
        tensors = {n: t.half() for n, t in self.transformer.state_dict().items()}
        write_safetensors(folder / WEIGHTS_NAME, {**tensors, LOG_SCALE: self.log_scale.half()})

    @classmethod
    def load(cls, folder: Path) -> "TextTower":
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is missing, damaged or holds another tower.
        """
        tensors = read_safetensors(
            folder / WEIGHTS_NAME,
            {"token_embedding.weight": (None, WIDTH), "text_projection": (WIDTH, None), "*": ()},
        ).tensors
        table, projection = tensors["token_embedding.weight"], tensors["text_projection"]
        num_layers = _count_layers(tensors)
        tower = cls(len(table), dim=projection.shape[1], num_layers=num_layers)
        tower.log_scale.data = tensors.pop(LOG_SCALE).float()
        tower.transformer.load_state_dict({n: t.float() for n, t in tensors.items()})
        return tower.eval().requires_grad_(False)


def learn_words(word_counts: Iterable[tuple[str, int]], folder: Path) -> None:
    """Learn the byte-level BPE from words and how often they are used; write `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = (word for word, count in word_counts for _ in range(min(count, MAX_REPEATS)))
    write_merges(train_merges(texts, vocab_size=VOCAB_SIZE), folder / MERGES_NAME)


def read_tokenizer(folder: Path) -> SimpleTokenizer:
    """Read the tokenizer of a folder that `learn_words` wrote."""
    return load_tokenizer(folder, CONTEXT)


def tokenize(tokenizer: SimpleTokenizer, texts: Sequence[str]) -> Int[Tensor, "n l"]:
    """Tokenise texts as int32, padded with the end of text, cut to the context."""
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    rows = torch.full((len(texts), CONTEXT), end, dtype=torch.int32)
    for row, text in zip(rows, texts, strict=True):
        ids = [start, *tokenizer.encode(text)[: CONTEXT - 2]]
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int32)
    return rows


def text_encoder(
    tower: TextTower, tokenizer: SimpleTokenizer
) -> Callable[[Sequence[str]], Float[Tensor, "n d"]]:
    """Return how a tower encodes texts, whatever their case, some hundreds at a time."""

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Float[Tensor, "n d"]:
        parts = tokenize(tokenizer, [text.lower() for text in texts]).long().split(256)
        return torch.cat([tower(part) for part in parts])

    return encode


@torch.no_grad()
def start_words(
    tower: TextTower,
    tokenizer: SimpleTokenizer,
    sentences: Callable[[Sequence[str]], Float[Tensor, "n w"]],
) -> int:
    """Start the rows of whole words from the teacher's sentence features; return how many.

    Their principal axes, scaled to the spread that random rows have.
    """
    words = whole_words(tokenizer)
    features = sentences(list(words.values()))
    centred = features - features.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)
    rows = centred @ axes.flip(1)[:, :WIDTH]
    table = tower.transformer.token_embedding.weight
    spread = float(table.detach().std()) / float(rows.std())
    table[list(words), : rows.shape[1]] = rows * spread
    return len(words)


def whole_words(tokenizer: SimpleTokenizer) -> dict[int, str]:
    """Return the ids that stand for whole words of at least two letters."""
    return {
        index: token.removesuffix(WORD_END)
        for token, index in tokenizer.encoder.items()
        if token.endswith(WORD_END)
        and len(token) > len(WORD_END) + 1
        and token.removesuffix(WORD_END).isascii()
        and token.removesuffix(WORD_END).isalpha()
    }


def put_into_clip(text_folder: Path, clip_folder: Path) -> None:
    """Give a CLIP folder this text tower in place of its own, with its vocabulary.

    Raises:
        ValueError: The two have joint spaces of different dimensions.
        WeightsError: A file is missing or damaged.
    """
    tensors = read_safetensors(text_folder / WEIGHTS_NAME).tensors
    log_scale = tensors.pop(LOG_SCALE)
    vocab_size, layers = len(tensors["token_embedding.weight"]), _count_layers(tensors)
    config_path = clip_folder / CONFIG_NAME
    config = json.loads(config_path.read_text(encoding="utf-8"))
    model = config["model_cfg"]
    dim = tensors["text_projection"].shape[1]
    if dim != model["embed_dim"]:
        raise ValueError(
            f"The text tower has a joint space of {dim} dimensions, the CLIP has "
            f"{model['embed_dim']}; train the one for the other."
        )
    clip = read_safetensors(clip_folder / CLIP_WEIGHTS_NAME)
    prefix = "text." if model.get("custom_text") else ""
    kept = {n: t for n, t in clip.tensors.items() if n.startswith("visual.")}
    kept |= {prefix + name: tensor for name, tensor in tensors.items()}
    kept["logit_scale"] = log_scale
    model["text_cfg"] = {
        "context_length": CONTEXT,
        "vocab_size": vocab_size,
        "width": WIDTH,
        "heads": HEADS,
        "layers": layers,
    }
    write_bytes(clip_folder / MERGES_NAME, (text_folder / MERGES_NAME).read_bytes())
    write_bytes(config_path, (json.dumps(config, indent=2) + "\n").encode())
    write_safetensors(clip_folder / CLIP_WEIGHTS_NAME, kept, {"format": "pt"})


def _count_layers(tensors: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[2] for name in tensors if name.startswith("transformer.resblocks")})
