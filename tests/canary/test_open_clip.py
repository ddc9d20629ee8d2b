"""open_clip: local folders, its tokenizer, and the text tower taken apart by the backbone."""

import gzip
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import PatchDropout
from safetensors.torch import save_file

from tests.canary.conftest import CONTEXT_LENGTH, MERGES, VOCAB

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "width": 32,
        "layers": 2,
        "head_width": 16,
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": VOCAB,
        "width": 32,
        "heads": 4,
        "layers": 2,
    },
}
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@pytest.fixture
def model() -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(**CONFIG).eval()


@pytest.fixture
def folder(model: open_clip.CLIP, tmp_path: Path) -> Path:
    config = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    return tmp_path


def _ids() -> torch.Tensor:
    return torch.tensor(
        [[VOCAB - 2, 517, 515, VOCAB - 1, 0, 0], [VOCAB - 2, 7, VOCAB - 1, 0, 0, 0]]
    )


def test_a_local_folder_comes_back_bit_equal(model: open_clip.CLIP, folder: Path):
    loaded = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
    assert type(loaded) is open_clip.CLIP
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert loaded.visual.preprocess_cfg["mean"] == PREPROCESS["mean"]


def test_a_folder_without_weights_is_refused(folder: Path):
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises((RuntimeError, FileNotFoundError)):
        open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)


def test_the_tokenizer_takes_our_merges_and_ends_with_the_highest_id(tmp_path: Path):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["#version: 0.2", *MERGES]).encode()))
    tokenizer = SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)
    assert tokenizer.vocab_size == VOCAB
    assert (tokenizer.sot_token_id, tokenizer.eot_token_id) == (VOCAB - 2, VOCAB - 1)
    ids = tokenizer(["Red chair", "chair " * 60])
    assert ids.shape == (2, CONTEXT_LENGTH)
    assert ids[0, :4].tolist() == [VOCAB - 2, 517, 515, VOCAB - 1]
    assert ids[0, 4:].eq(0).all()
    assert ids[1, -1] == VOCAB - 1


def test_a_trailing_newline_in_merges_would_shift_the_special_ids(tmp_path: Path):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress(("\n".join(["#version: 0.2", *MERGES]) + "\n").encode()))
    assert SimpleTokenizer(bpe_path=str(path)).eot_token_id == VOCAB


@torch.no_grad()
def test_the_text_tower_taken_apart_equals_encode_text(model: open_clip.CLIP):
    ids = torch.nn.functional.pad(_ids(), (0, CONTEXT_LENGTH - 6))
    hidden = model.token_embedding(ids) + model.positional_embedding
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask))
    pooled = hidden[torch.arange(2), ids.argmax(dim=-1)] @ model.text_projection
    assert torch.equal(pooled, model.encode_text(ids))


@torch.no_grad()
def test_the_text_transformer_accepts_shorter_sequences(model: open_clip.CLIP):
    ids = torch.nn.functional.pad(_ids(), (0, CONTEXT_LENGTH - 6))
    hidden = model.token_embedding(_ids()) + model.positional_embedding[:6]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:6, :6])
    pooled = model.ln_final(hidden)[torch.arange(2), _ids().argmax(dim=-1)]
    difference = pooled @ model.text_projection - model.encode_text(ids)
    assert difference.abs().max() < 1e-5


def test_the_attention_mask_is_additive_and_causal(model: open_clip.CLIP):
    mask = model.attn_mask
    assert mask.shape == (CONTEXT_LENGTH, CONTEXT_LENGTH)
    allowed = torch.ones(CONTEXT_LENGTH, CONTEXT_LENGTH).tril().bool()
    assert mask[allowed].eq(0).all()
    assert mask[~allowed].eq(float("-inf")).all()
    assert "attn_mask" not in model.state_dict()


@torch.no_grad()
def test_intermediates_give_patch_maps_and_text_tokens(model: open_clip.CLIP):
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ids = torch.nn.functional.pad(_ids(), (0, CONTEXT_LENGTH - 6))
    out = model.forward_intermediates(image, ids, image_indices=1, text_indices=1)
    assert out["image_intermediates"][-1].shape == (2, 32, 2, 2)  # NCHW
    assert out["text_intermediates"][-1].shape == (2, CONTEXT_LENGTH, 32)  # NLC
    # Normalised by default, unlike encode_image.
    assert torch.allclose(
        out["image_features"], model.encode_image(image, normalize=True), atol=1e-6
    )


def test_patch_dropout_keeps_the_class_token_and_real_patches():
    tokens = torch.arange(2 * 17 * 1.0).reshape(2, 17, 1)
    dropout = PatchDropout(prob=0.5)
    kept = dropout.train()(tokens)
    assert kept.shape == (2, 9, 1)
    assert torch.equal(kept[:, 0], tokens[:, 0])
    for row, source in zip(kept[:, 1:, 0], tokens[:, 1:, 0], strict=True):
        assert len(set(row.tolist()) & set(source.tolist())) == 8
    assert dropout.eval()(tokens) is tokens


def test_the_vision_config_reaches_patch_dropout():
    vision = {**CONFIG["vision_cfg"], "patch_dropout": 0.5}
    model = open_clip.CLIP(**{**CONFIG, "vision_cfg": vision})
    assert isinstance(model.visual.patch_dropout, PatchDropout)
    assert model.visual.patch_dropout.prob == 0.5
