from pathlib import Path

import pytest

from composer.training.words.nouns import Noun, read_nouns, short_gloss
from composer.training.words.wordnet import WordNet
from tests.composer.training.words.tiny_wordnet import write_wordnet


@pytest.fixture
def nouns(tmp_path: Path) -> dict[str, Noun]:
    return {noun.word: noun for noun in read_nouns(WordNet(write_wordnet(tmp_path)))}


def test_all_senses_are_weighed_by_use_and_rank(nouns: dict[str, Noun]):
    weights = {sense.gloss: sense.weight for sense in nouns["cabin"].senses}
    # Counts 5 and 3, and 1 / rank for what the counts do not tell: 6 against 3.5.
    assert weights == pytest.approx(
        {"a small room on a ship": 6 / 9.5, "a small house built of wood": 3.5 / 9.5}
    )


def test_proper_names_spelled_alike_do_not_count(nouns: dict[str, Noun]):
    assert {sense.offset for sense in nouns["crane"].senses} == {"00000005", "00000006"}
    assert "stephen crane" not in nouns


def test_things_are_taken_and_of_people_those_that_texts_speak_of(nouns: dict[str, Noun]):
    assert {"owl", "barn owl", "animal", "beast", "cabin", "crane"} <= set(nouns)
    assert "idea" not in nouns
    assert "sailor" not in nouns  # named in two examples only
    assert "baddie" not in nouns  # an insult


def test_glosses_lose_their_brackets_and_their_end():
    assert short_gloss("A ship's room (for sleeping); small") == "a ship's room, small"
    assert len(short_gloss("word " * 40).split()) == 16
