from pathlib import Path

import pytest

from composer.data import heldout
from composer.training.words.withheld import Withheld, class_word, held_out_names
from composer.training.words.wordnet import WordNet
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture
def owls(tmp_path: Path) -> Withheld:
    return Withheld(WordNet(write_wordnet(tmp_path)), ["owl"])


@pytest.mark.parametrize(
    "text", ["an owl", "two owls at night", "a photo of a Barn Owl", "a bird of night", "owl-like"]
)
def test_names_synonyms_kinds_and_plurals_are_withheld(owls: Withheld, text: str):
    assert owls.mentions(text)


@pytest.mark.parametrize("text", ["an animal", "a crane", "a bowl", "a barn", "a blue sky", ""])
def test_other_words_are_not(owls: Withheld, text: str):
    """Not even "blue", which names a kind of owl but first of all a colour."""
    assert not owls.mentions(text)


def test_the_synsets_of_the_class_and_its_kinds_are_known(owls: Withheld):
    assert owls.offsets == {"00000003", "00000004", "00000013"}


def test_every_held_out_class_is_withheld_by_its_own_name(tmp_path: Path):
    withheld = held_out_names(WordNet(write_wordnet(tmp_path)))
    names = [class_word(name) for name in sorted(heldout.SKETCHY_CLASSES)]
    assert [name for name in names if not withheld.mentions(f"a photo of a {name}")] == []
    assert class_word("car_(sedan)") == "car"
