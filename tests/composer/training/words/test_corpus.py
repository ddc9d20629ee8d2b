from pathlib import Path

import numpy as np
import pytest
import torch

from composer.training.words.corpus import (
    CorpusRecipe,
    CorpusText,
    LessonSource,
    build_corpus,
    commonest,
    exchange_words,
    noun_questions,
    plural,
)
from composer.training.words.lessons import STEP_SHARES, LessonOrder, Lessons, ask_teacher
from composer.training.words.nouns import read_nouns
from composer.training.words.wordnet import WordNet
from tests.composer.training.words.tiny_wordnet import write_wordnet
from tests.composer.training.words.tiny_world import sentences

CAPTIONS = ("a red owl on the beach", "two men walking")
RECIPE = CorpusRecipe(
    num_media=6, num_phrases=40, num_lacking=4, num_scenes=10, num_captions=6, num_words=8
)


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet(write_wordnet(tmp_path))


@pytest.fixture
def corpus(wordnet: WordNet) -> list[CorpusText]:
    return build_corpus(wordnet, read_nouns(wordnet), CAPTIONS, RECIPE)


def test_a_noun_asks_for_itself_and_for_its_senses_by_weight(wordnet: WordNet):
    nouns = {noun.word: noun for noun in read_nouns(wordnet)}
    assert noun_questions(nouns["cabin"]) == (
        ("a photo of a cabin", 1.0),
        ("cabin: a small room on a ship", pytest.approx(6 / 9.5)),
        ("cabin: a small house built of wood", pytest.approx(3.5 / 9.5)),
    )


def test_the_corpus_has_every_source_and_each_text_once(corpus: list[CorpusText]):
    texts = [item.text for item in corpus]
    assert len(texts) == len(set(texts))
    assert {item.source for item in corpus} == set(LessonSource)
    assert {"owl", "a photo of an owl", "a night bird of prey", *CAPTIONS} <= set(texts)
    assert "the sailor works on a ship" in texts


def test_the_corpus_is_a_function_of_its_seed(wordnet: WordNet, corpus: list[CorpusText]):
    nouns = read_nouns(wordnet)
    assert build_corpus(wordnet, nouns, CAPTIONS, RECIPE) == corpus
    other = CorpusRecipe(num_phrases=40, seed=1)
    assert build_corpus(wordnet, nouns, CAPTIONS, other) != corpus


def test_what_a_thing_lacks_is_taken_off(corpus: list[CorpusText]):
    for item in corpus:
        if item.source is LessonSource.LACKING:
            assert item.questions[0][1] > 0
            assert item.questions[-1][1] < 0


def test_the_commonest_nouns_come_first(wordnet: WordNet):
    nouns = read_nouns(wordnet)
    assert commonest(wordnet, nouns, CAPTIONS, 2)[0].word == "cabin"  # eight times in tagged texts
    assert commonest(wordnet, nouns, ("an owl",) * 20, 1)[0].word == "owl"


def test_captions_change_words_within_their_kind():
    rng = np.random.default_rng(0)
    found = {exchange_words("a red dog", rng) for _ in range(60)}
    assert "a red dog" in found
    assert len(found) > 10
    assert all(text.startswith("a ") and len(text.split()) == 3 for text in found)
    assert exchange_words("some unusual words", rng) == "some unusual words"


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("owl", "owls"),
        ("box", "boxes"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("glass", "glasses"),
    ],
)
def test_plurals(noun: str, expected: str):
    assert plural(noun) == expected


def test_answers_are_the_weighed_sums_of_those_to_the_questions(tmp_path: Path):
    asked: list[list[str]] = []

    def teacher(texts: list[str]) -> torch.Tensor:
        asked.append(texts)
        return sentences(texts)

    corpus = [
        CorpusText(
            text="owl", source=LessonSource.NOUN, questions=(("an owl", 1.0), ("a bird", 0.5))
        ),
        CorpusText(text="no owl", source=LessonSource.LACKING, questions=(("an owl", -0.3),)),
    ]
    lessons = ask_teacher(corpus, teacher)
    assert asked == [["an owl", "a bird"]]
    owl, bird = sentences(["an owl", "a bird"])
    expected = torch.nn.functional.normalize(owl + 0.5 * bird, dim=0)
    torch.testing.assert_close(lessons.targets[0], expected)
    torch.testing.assert_close(lessons.targets[1], -owl)
    lessons.save(tmp_path)
    back = Lessons.load(tmp_path)
    assert (back.texts, back.sources) == (lessons.texts, lessons.sources)
    torch.testing.assert_close(back.targets, lessons.targets, atol=1e-3, rtol=0)


def test_each_lesson_comes_once_before_any_comes_again():
    num = 2 * STEP_SHARES[LessonSource.WORD] + 4
    lessons = Lessons(
        texts=tuple(str(i) for i in range(num)),
        sources=(LessonSource.WORD,) * num,
        targets=torch.zeros(num, 2),
    )
    order = LessonOrder(lessons, seed=3)
    steps = [order.rows(step) for step in range(5)]
    assert sorted([row for rows in steps for row in rows][:num]) == list(range(num))
    again = LessonOrder(lessons, seed=3)
    assert [again.rows(4), again.rows(1)] == [steps[4], steps[1]]
    assert LessonOrder(lessons, seed=4).rows(0) != steps[0]
