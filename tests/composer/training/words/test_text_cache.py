from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from composer.training.words import text_cache
from composer.training.words.text_cache import TextCache


class CountingEncoder:
    """Encodes a text as its length and its number of vowels, and remembers what it was asked."""

    width = 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.tensor([[len(t), sum(c in "aeiou" for c in t)] for t in texts]).float()


def test_texts_are_encoded_once_whatever_their_case():
    encoder = CountingEncoder()
    cache = TextCache(encoder)
    first = cache(["an owl", "Owls", "an owl"])
    assert first.tolist() == [[6, 2], [4, 1], [6, 2]]
    assert cache(["owls", "AN OWL", "a"]).tolist() == [[4, 1], [6, 2], [1, 1]]
    assert encoder.asked == ["an owl", "owls", "a"]


def test_a_folder_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_cache, "CHUNK", 2)
    TextCache(CountingEncoder(), tmp_path)(["one", "two", "three", "four", "five"])
    encoder = CountingEncoder()
    cache = TextCache(encoder, tmp_path)
    assert len(cache) == 5
    assert cache(["five", "six", "one"]).tolist() == [[4, 2], [3, 1], [3, 2]]
    assert encoder.asked == ["six"]
