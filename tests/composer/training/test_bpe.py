"""The vocabulary reads alike in open_clip and transformers."""

import json

import pytest
import torch
from transformers import CLIPTokenizer

from composer.clip_files import load_tokenizer
from composer.training.bpe import (
    END,
    START,
    read_merges,
    train_merges,
    vocabulary,
    write_merges,
)

TEXTS = ["a red chair", "a blue armchair", "the chair's legs", "a low-poly lamp"] * 8


def test_frequent_words_become_one_symbol_and_specials_come_last():
    ids = vocabulary(train_merges(TEXTS, vocab_size=600))
    assert "chair</w>" in ids
    assert (ids[START], ids[END]) == (len(ids) - 2, len(ids) - 1)
    assert list(ids.values()) == list(range(len(ids)))
    assert ids["!"] == 0
    assert ids["!</w>"] == 256


def test_both_libraries_give_the_same_ids(tmp_path):
    merges = train_merges(TEXTS, vocab_size=560)
    write_merges(merges, tmp_path / "merges.txt")
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary(merges)), encoding="utf-8")
    ours = load_tokenizer(tmp_path, 40)
    theirs = CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), pad_token=END, unk_token=END
    )
    for text in ("A red chair", "the armchair's légs, 12", "low-poly"):
        ids = theirs(text, padding="max_length", max_length=40)["input_ids"]
        expected = ours([text])[0]
        length = int(expected.argmax()) + 1  # open_clip pads with zeros, we pad with the end
        assert torch.equal(torch.tensor(ids[:length]), expected[:length])


def test_merges_survive_the_file_and_bad_lines_are_named(tmp_path):
    merges = train_merges(TEXTS, vocab_size=540)
    write_merges(merges, tmp_path / "merges.txt")
    assert read_merges(tmp_path / "merges.txt") == merges
    (tmp_path / "bad.txt").write_text("#version\na b c")
    with pytest.raises(ValueError, match=r"bad\.txt line 2 must hold two symbols"):
        read_merges(tmp_path / "bad.txt")
    with pytest.raises(ValueError, match="at least 515, got 514"):
        train_merges(TEXTS, vocab_size=514)
