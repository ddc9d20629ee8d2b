from pathlib import Path

import pytest

from composer.training.words.wordnet import WordNet, read_examples
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet(write_wordnet(tmp_path))


def test_synsets_have_words_topic_parents_and_a_gloss_without_examples(wordnet: WordNet):
    owl, animal = wordnet.synsets["00000003"], wordnet.synsets["00000002"]
    assert (owl.topic, owl.words, owl.parents) == (
        "animal",
        ("owl", "bird of night"),
        ("00000002",),
    )
    assert (animal.gloss, animal.examples) == ("a living thing", ("wild animals",))


def test_senses_keep_their_order_and_nouns_alone_are_counted(wordnet: WordNet):
    assert wordnet.senses["crane"] == ("00000007", "00000006", "00000005")
    assert [wordnet.count("cabin", rank) for rank in range(3)] == [5, 3, 0]


def test_everything_below_and_above_is_reached(wordnet: WordNet):
    assert wordnet.below("00000003") == {"00000003", "00000004", "00000013"}
    assert wordnet.above("00000004") == {"00000004", "00000003", "00000002", "00000001"}


def test_examples_of_other_parts_of_speech_are_read(wordnet: WordNet):
    assert read_examples(wordnet.folder) == ["the sailor waits", "the sailor works on a ship"]


def test_a_folder_without_wordnet_is_refused(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"has no data\.noun; install the package wordnet-b"
    ):
        WordNet(tmp_path)
