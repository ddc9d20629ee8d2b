from pathlib import Path

import pytest
import torch

from composer.learned import LearnedNames
from composer.weights import WeightsError, write_safetensors


@pytest.fixture
def names() -> LearnedNames:
    features = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    return LearnedNames(
        ["Lizard", "snake", "serpent", "polar bear"],
        features,
        ["red", "a", "marine animal"],
        rows=[0, 1, 1, 2],
    )


def test_names_words_and_their_plurals_are_known(names: LearnedNames):
    known = ["lizard", "LIZARDS", "red", "polar bear", "polar bears", "marine animals"]
    assert [name for name in known if not names.knows(name)] == []
    assert [name for name in ("dragon", "bear", "polar", "re", "marine") if names.knows(name)] == []


def test_unknown_words_are_told_in_order_once(names: LearnedNames):
    assert names.unknown_words("a red Dragon, a polar bear and a dragon") == ("dragon", "and")
    assert names.unknown_words("polar lizards") == ("polar",)
    assert names.unknown_words("a marine animal") == ()
    assert names.unknown_words("") == ()


def test_the_closest_names_are_told_one_of_each_picture(names: LearnedNames):
    assert names.closest(torch.tensor([0.5, 2.0, 0.0]), count=2) == ("snake", "polar bear")
    assert names.closest(torch.tensor([9.0, 0.0, 0.0]), count=1) == ("lizard",)
    assert len(names.closest(torch.tensor([1.0, 1.0, 1.0]), count=9)) == 3


def test_what_is_too_unlike_is_not_called_close(names: LearnedNames):
    names.min_similarity = 0.7
    assert names.closest(torch.tensor([1.0, 0.2, 0.0]), count=3) == ("lizard",)
    assert names.closest(torch.tensor([1.0, 1.0, 1.0]), count=3) == ("polar bear",)


def test_the_table_comes_back_from_its_file(tmp_path: Path, names: LearnedNames):
    names.min_similarity = 0.25
    names.save(tmp_path / "names.safetensors")
    back = LearnedNames.load(tmp_path / "names.safetensors")
    assert back.min_similarity == 0.25
    assert (back.names, back.words, back.rows) == (names.names, names.words, names.rows)
    torch.testing.assert_close(back.features, names.features, atol=1e-3, rtol=0)


def test_broken_tables_are_refused(tmp_path: Path):
    path = tmp_path / "names.safetensors"
    tensors = {"features": torch.eye(2), "rows": torch.tensor([0, 7], dtype=torch.int32)}
    for metadata in (
        {"names": '["a", "b"]', "words": "[]"},
        {"names": "[1, 2]", "words": "[]"},
        {},
    ):
        write_safetensors(path, tensors, metadata)
        with pytest.raises(WeightsError, match="must give every name a feature"):
            LearnedNames.load(path)
    with pytest.raises(ValueError, match="got 2 names and 1 rows"):
        LearnedNames(["a", "b"], torch.eye(2), rows=[0])
