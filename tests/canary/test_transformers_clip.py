"""transformers' CLIP text encoder: the layout and the calls that conditioning leans on."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.masking_utils import create_causal_mask

from tests.canary.conftest import CONTEXT_LENGTH, VOCAB

END = VOCAB - 1


def _ids() -> torch.Tensor:
    ids = torch.full((2, CONTEXT_LENGTH), END)
    ids[:, 0] = VOCAB - 2
    ids[0, 1:4] = torch.tensor([517, 515, 300])
    ids[1, 1:9] = torch.arange(8) + 40
    return ids


def _manual_forward(encoder: CLIPTextModel, token_embeddings: torch.Tensor) -> torch.Tensor:
    hidden = encoder.embeddings(inputs_embeds=token_embeddings)
    mask = create_causal_mask(
        config=encoder.config, inputs_embeds=hidden, attention_mask=None, past_key_values=None
    )
    out = encoder.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=True)
    return encoder.final_layer_norm(out.last_hidden_state)


def test_the_text_model_is_flat(text_encoder: CLIPTextModel):
    assert {name for name, _ in text_encoder.named_children()} == {
        "embeddings",
        "encoder",
        "final_layer_norm",
    }
    assert not hasattr(text_encoder, "text_model")
    table = text_encoder.get_input_embeddings()
    assert table is text_encoder.embeddings.token_embedding


def test_the_saved_keys_have_no_prefix(text_encoder: CLIPTextModel, tmp_path: Path):
    text_encoder.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        keys = set(file.keys())
    assert "embeddings.token_embedding.weight" in keys
    assert not any(key.startswith("text_model.") for key in keys)


@torch.no_grad()
def test_the_manual_path_equals_the_plain_forward(text_encoder: CLIPTextModel):
    ids = _ids()
    plain = text_encoder(ids)
    manual = _manual_forward(text_encoder, text_encoder.get_input_embeddings()(ids))
    assert (manual - plain.last_hidden_state).abs().max().item() == 0.0


@torch.no_grad()
def test_the_manual_path_is_causal_and_reads_the_embeddings(text_encoder: CLIPTextModel):
    embeddings = text_encoder.get_input_embeddings()(_ids())
    changed = embeddings.clone()
    changed[:, 5] += 1.0
    before = _manual_forward(text_encoder, embeddings)
    after = _manual_forward(text_encoder, changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().amax(dim=(0, 2)).min() > 0


@torch.no_grad()
def test_inputs_embeds_is_still_not_honoured(text_encoder: CLIPTextModel):
    embeddings = text_encoder.get_input_embeddings()(_ids())
    with pytest.raises((ValueError, TypeError)):
        text_encoder(inputs_embeds=embeddings)


@torch.no_grad()
def test_pooling_takes_the_first_end_of_text(text_encoder: CLIPTextModel):
    out = text_encoder(_ids())
    expected = out.last_hidden_state[torch.arange(2), torch.tensor([4, 9])]
    assert torch.equal(out.pooler_output, expected)


def test_the_tokenizer_reads_the_two_files(tokenizer: CLIPTokenizer, tokenizer_folder: Path):
    red, chair = 517, 515
    assert tokenizer("red chair").input_ids == [VOCAB - 2, red, chair, END]
    padded = tokenizer("red chair", padding="max_length").input_ids
    assert len(padded) == CONTEXT_LENGTH
    assert set(padded[3:]) == {END}
    assert json.loads((tokenizer_folder / "vocab.json").read_text())["<|endoftext|>"] == END
