"""diffusers' textual inversion loader: the decision table that `duet export-token` writes for."""

from pathlib import Path

import pytest
import torch
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from tests.canary.conftest import VOCAB, WIDTH


class Holder(TextualInversionLoaderMixin):
    """The least a pipeline needs to load a textual inversion."""

    hf_device_map = None

    def __init__(self, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.text_encoder, self.tokenizer = text_encoder, tokenizer
        self.components = {"text_encoder": text_encoder, "tokenizer": tokenizer}


@pytest.fixture
def holder(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Holder:
    return Holder(text_encoder, tokenizer)


def _save(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, metadata={"origin": "canary"})
    return path


def _vectors(num_vectors: int, width: int = WIDTH) -> torch.Tensor:
    return torch.randn(num_vectors, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num_vectors", [1, 8])
def test_emb_params_load_under_the_given_token(holder: Holder, tmp_path: Path, num_vectors: int):
    vectors = _vectors(num_vectors)
    path = _save(tmp_path / "t.safetensors", emb_params=vectors)
    holder.load_textual_inversion(str(path), token="<duet>")
    ids = holder.tokenizer.encode(
        holder.maybe_convert_prompt("<duet>", holder.tokenizer), add_special_tokens=False
    )
    assert ids == list(range(VOCAB, VOCAB + num_vectors))
    table = holder.text_encoder.get_input_embeddings().weight
    assert torch.equal(table[VOCAB:], vectors)


def test_without_a_token_the_key_becomes_the_name(holder: Holder, tmp_path: Path):
    holder.load_textual_inversion(str(_save(tmp_path / "t.safetensors", emb_params=_vectors(1))))
    assert holder.tokenizer.convert_tokens_to_ids("emb_params") == VOCAB


def test_the_two_encoder_file_is_refused(holder: Holder, tmp_path: Path):
    path = _save(tmp_path / "t.safetensors", clip_l=_vectors(1), clip_g=_vectors(1, 2 * WIDTH))
    with pytest.raises(ValueError, match="state dictionary is incorrect"):
        holder.load_textual_inversion(str(path), token="<duet>")


def test_another_width_is_refused(holder: Holder, tmp_path: Path):
    path = _save(tmp_path / "t.safetensors", emb_params=_vectors(1, 2 * WIDTH))
    with pytest.raises((ValueError, RuntimeError)):
        holder.load_textual_inversion(str(path), token="<duet>")
