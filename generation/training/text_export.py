"""Export of a CLIP text tower: open_clip weights in transformers' layout."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from composer.backbone import Backbone, end_positions
from composer.clip_files import MERGES_NAME
from generation.conditioning import encode_token_embeddings, tokenize
from generation.pipeline import TEXT_HASH_KEY

START, END = "<|startoftext|>", "<|endoftext|>"
_LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_PROBES = ("", "a red oak chair, 42 cm", "Größe! don't -- 7", "teapot " * 60)


class ExportError(ValueError):
    """A CLIP that cannot become a pipeline's text encoder; the message says why."""


def export_text_encoder(backbone: Backbone) -> CLIPTextModel:
    """Copy a backbone's text tower and check that hidden states agree.

    Raises:
        ExportError: the tower has another layout than CLIP's.
    """
    source: Any = getattr(backbone.model, "text", backbone.model)
    blocks = source.transformer.resblocks
    config = CLIPTextConfig(
        vocab_size=backbone.token_table().shape[0],
        hidden_size=backbone.token_width,
        intermediate_size=blocks[0].mlp.c_fc.out_features,
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        max_position_embeddings=backbone.context_length,
        hidden_act="gelu" if isinstance(blocks[0].mlp.gelu, torch.nn.GELU) else "quick_gelu",
        projection_dim=backbone.joint_dim,
        bos_token_id=backbone.start_id,
        eos_token_id=backbone.end_id,
        pad_token_id=backbone.end_id,
    )
    setattr(config, TEXT_HASH_KEY, backbone.text_hash)
    model = CLIPTextModel(config).eval().requires_grad_(False)
    tensors: dict[str, Tensor] = source.state_dict()
    missing, unexpected = model.load_state_dict(_rename(tensors, len(blocks)), strict=False)
    if unexpected or any("position_ids" not in name for name in missing):
        raise ExportError(f"The text tower is not CLIP's: {missing or unexpected} do not fit.")
    _check_same_hidden(backbone, model)
    return model


def export_tokenizer(backbone: Backbone, clip_folder: Path) -> CLIPTokenizer:
    """Build transformers' tokenizer from a CLIP folder's merges.txt and check that ids agree.

    Ids: 256 bytes, 256 bytes at a word's end, the merges, start, end.

    Raises:
        ExportError: merges.txt is missing or gives other ids than the backbone's tokenizer.
    """
    merges = read_merges(clip_folder)
    stock: Any = CLIPTokenizer  # takes pairs, whatever its type hints say
    tokenizer: CLIPTokenizer = stock(
        vocab=make_vocabulary(merges),
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=backbone.context_length,
    )
    ours, theirs = tokenize(tokenizer, _PROBES), backbone.tokenize(_PROBES).cpu()
    if not torch.equal(ours, theirs):
        raise ExportError("The pipeline's tokenizer gives other ids than the CLIP's.")
    return tokenizer


def read_merges(clip_folder: Path) -> list[tuple[str, str]]:
    """Read the merges of a CLIP folder, best first.

    Raises:
        ExportError: there is no merges.txt, or a line is not a pair.
    """
    path = clip_folder / MERGES_NAME
    if not path.is_file():
        raise ExportError(f"{clip_folder} has no {MERGES_NAME}.")
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    pairs = [tuple(line.split()) for line in lines if line]
    if any(len(pair) != 2 for pair in pairs):
        raise ExportError(f"{path.name} holds a line that is not a pair.")
    return [(pair[0], pair[1]) for pair in pairs]


def make_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Number the tokens as CLIP does."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = [chr(byte) for byte in printable]
    names += [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [*names, *(f"{name}</w>" for name in names)]
    tokens += ["".join(pair) for pair in merges]
    return {token: i for i, token in enumerate([*tokens, START, END])}


def write_classic_tokenizer(clip_folder: Path, folder: Path) -> None:
    """Write vocab.json and merges.txt for tools that do not read tokenizer.json."""
    merges = read_merges(clip_folder)
    vocabulary = json.dumps(make_vocabulary(merges), ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rename(tensors: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    renamed = {
        "embeddings.token_embedding.weight": tensors["token_embedding.weight"],
        "embeddings.position_embedding.weight": tensors["positional_embedding"],
        "final_layer_norm.weight": tensors["ln_final.weight"],
        "final_layer_norm.bias": tensors["ln_final.bias"],
    }
    for i in range(num_layers):
        old, new = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
        for leaf in ("weight", "bias"):
            joined = tensors[f"{old}.attn.in_proj_{leaf}"]
            for name, part in zip("qkv", joined.chunk(3), strict=True):
                renamed[f"{new}.self_attn.{name}_proj.{leaf}"] = part
            for theirs, ours in _LAYER_NAMES.items():
                renamed[f"{new}.{ours}.{leaf}"] = tensors[f"{old}.{theirs}.{leaf}"]
    return {name: tensor.detach().float().cpu() for name, tensor in renamed.items()}


@torch.no_grad()
def _check_same_hidden(backbone: Backbone, model: CLIPTextModel) -> None:
    ids = backbone.tokenize(_PROBES)
    embeddings = backbone.token_table()[ids]
    ends = end_positions(ids, backbone.end_id)
    theirs = backbone.encode_embeddings(embeddings, ends).hidden.float().cpu()
    ours = encode_token_embeddings(model, embeddings.float().cpu())
    difference = float((ours - theirs).abs().max())
    if difference > 1e-4 * max(1.0, float(theirs.abs().max())):
        raise ExportError(f"The exported text encoder differs from the CLIP's by {difference:.3g}.")
