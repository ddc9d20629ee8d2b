"""Texts without pictures for the text tower, and what the teacher is asked about each.

The answer to a text is the weighed sum of the teacher's answers to its questions. A noun is asked
for as it stands and by the definition of each of its senses, so that a name inherits what its
definition tells; a noun in a longer phrase brings its definitions along.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from composer.data.wording import with_article
from composer.training.words import everyday, forms
from composer.training.words.nouns import THINGS, Noun, Sense, short_gloss
from composer.training.words.wordnet import WordNet, read_examples

MIN_SENSE_WEIGHT = 0.12
GLOSS_WEIGHT = 1.0  # of all definitions together, beside the noun as it stands
PHRASE_GLOSS_WEIGHT = 0.5
LACKING_WEIGHT = -0.3
_VISIBLE = THINGS | {"person", "body"}
_CREATURES = frozenset({"animal", "person"})

Question = tuple[str, float]


class LessonSource(StrEnum):
    """What a text of the corpus is."""

    NOUN = "noun"  # a noun of WordNet in one of its forms
    MEDIUM = "medium"  # a noun in a medium
    PHRASE = "phrase"  # a noun with a colour, a material, a place, another noun
    LACKING = "lacking"  # a noun without another
    GLOSS = "gloss"  # a definition
    SCENE = "scene"  # who does what where
    CAPTION = "caption"  # a caption, with words exchanged
    EXAMPLE = "example"  # a sentence of WordNet
    WORD = "word"  # any other word


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusText:
    """A text and the questions whose weighed answers are its own."""

    text: str
    source: LessonSource
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusRecipe:
    """How many texts of each source there are at most.

    Attributes:
        num_nouns: The commonest nouns; each comes in four forms.
        seed: Of all that is drawn; the corpus is a function of the recipe and the inputs.
    """

    num_nouns: int = 36_000
    num_media: int = 8_000
    num_phrases: int = 24_000
    num_lacking: int = 2_000
    num_glosses: int = 12_000
    num_scenes: int = 10_000
    num_captions: int = 8_000
    num_examples: int = 6_000
    num_words: int = 4_000
    seed: int = 0


def build_corpus(
    wordnet: WordNet, nouns: Sequence[Noun], captions: Sequence[str], recipe: CorpusRecipe
) -> list[CorpusText]:
    """Build the corpus, each text once.

    Args:
        wordnet: For definitions and examples.
        nouns: All nouns; the commonest are taken.
        captions: Captions that training may see.
        recipe: How many of each.
    """
    rng = np.random.default_rng(recipe.seed)
    common = commonest(wordnet, nouns, captions, recipe.num_nouns)
    picker = NounPicker(wordnet, common)
    parts = (
        _noun_texts(common, rng),
        _media(picker, recipe.num_media, rng),
        _phrases(picker, recipe.num_phrases, rng),
        _lacking(picker, recipe.num_lacking, rng),
        _glosses(common, recipe.num_glosses),
        _scenes(recipe.num_scenes, rng),
        _captions(captions, recipe.num_captions, rng),
        _examples(wordnet, recipe.num_examples, rng),
        _words(wordnet, captions, recipe.num_words),
    )
    by_text: dict[str, CorpusText] = {}
    for item in (item for part in parts for item in part):
        by_text.setdefault(item.text, item)
    return list(by_text.values())


def commonest(
    wordnet: WordNet, nouns: Sequence[Noun], captions: Sequence[str], count: int
) -> list[Noun]:
    """Return the nouns of things that texts use most, those of several words later."""
    said: dict[str, int] = {}
    for caption in captions:
        for word in re.findall(r"[a-z]+", caption):
            said[word] = said.get(word, 0) + 1

    def key(noun: Noun) -> tuple[float, str]:
        num_words = noun.word.count(" ") + 1
        tagged = sum(wordnet.count(noun.word, rank) for rank in range(12))
        uses = 1 + noun.num_uses / num_words**2 + 3 * tagged + 3 * said.get(noun.word, 0)
        things = sum(
            sense.weight for sense in noun.senses if wordnet.synsets[sense.offset].topic in _VISIBLE
        )
        return (-uses * (0.1 + things), noun.word)

    return sorted(nouns, key=key)[:count]


class NounPicker:
    """Draws nouns, the commoner the likelier."""

    def __init__(self, wordnet: WordNet, nouns: Sequence[Noun]) -> None:
        """Take nouns, the commonest first."""
        self._nouns = list(nouns)
        self._reach = np.cumsum(1 / (200 + np.arange(len(nouns))))
        self._topics = [wordnet.synsets[noun.senses[0].offset].topic for noun in nouns]

    def draw(self, rng: np.random.Generator) -> tuple[Noun, str]:
        """Draw a noun and the topic of its heaviest sense."""
        index = int(np.searchsorted(self._reach, rng.random() * self._reach[-1]))
        return self._nouns[index], self._topics[index]


def noun_questions(noun: Noun, *, gloss_weight: float = GLOSS_WEIGHT) -> tuple[Question, ...]:
    """Ask for a noun as it stands and by the definitions of its senses."""
    plain = (forms.say(forms.PHOTO, noun.word), 1.0)
    return (plain, *_gloss_questions(noun, gloss_weight))


def _gloss_questions(noun: Noun, weight: float) -> tuple[Question, ...]:
    heavy = [s for s in noun.senses if s.weight >= MIN_SENSE_WEIGHT] or list(noun.senses[:1])
    total = sum(sense.weight for sense in heavy)
    return tuple((defined(noun.word, s), weight * s.weight / total) for s in heavy)


def defined(word: str, sense: Sense) -> str:
    """A noun with one of its definitions."""
    return f"{word}: {sense.gloss}"


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _noun_texts(nouns: Sequence[Noun], rng: np.random.Generator) -> Iterator[CorpusText]:
    for noun in nouns:
        questions = noun_questions(noun)
        chosen = (
            forms.BARE,
            forms.PHOTO,
            _pick(rng, forms.PARAPHRASES),
            _pick(rng, forms.DRAWINGS),
        )
        for form in chosen:
            text = forms.say(form, noun.word)
            yield CorpusText(text=text, source=LessonSource.NOUN, questions=questions)


def _media(picker: NounPicker, count: int, rng: np.random.Generator) -> Iterator[CorpusText]:
    for _ in range(count):
        noun, _topic = picker.draw(rng)
        text = forms.say(_pick(rng, everyday.MEDIA), noun.word)
        questions = ((text, 1.0), *_gloss_questions(noun, PHRASE_GLOSS_WEIGHT))
        yield CorpusText(text=text, source=LessonSource.MEDIUM, questions=questions)


def _phrases(picker: NounPicker, count: int, rng: np.random.Generator) -> Iterator[CorpusText]:
    for _ in range(count):
        noun, topic = picker.draw(rng)
        other, _topic = picker.draw(rng)
        phrase = _phrase(noun.word, other.word, topic, rng)
        text = phrase if rng.random() < 0.6 else f"a photo of {phrase}"
        questions = ((text, 1.0), *_gloss_questions(noun, PHRASE_GLOSS_WEIGHT))
        yield CorpusText(text=text, source=LessonSource.PHRASE, questions=questions)


def _phrase(word: str, other: str, topic: str, rng: np.random.Generator) -> str:
    colour, material = _pick(rng, everyday.COLOURS), _pick(rng, everyday.MATERIALS)
    quality, place = _pick(rng, everyday.QUALITIES), _pick(rng, everyday.PLACES)
    action = _pick(rng, everyday.CREATURE_ACTIONS)
    options = (
        with_article(f"{colour} {word}"),
        with_article(f"{quality} {word}"),
        with_article(f"{quality} {colour} {word}"),
        f"{with_article(word)} {place}",
        f"{with_article(f'{colour} {word}')} {place}",
        f"{_pick(rng, everyday.COUNTS)} {plural(word)}",
        f"{with_article(word)} {_pick(rng, everyday.RELATIONS)} {with_article(other)}",
        f"{with_article(f'{quality} {word}')} with {with_article(f'{colour} {other}')}",
    )
    made = (
        with_article(f"{material} {word}"),
        f"{with_article(word)} made of {_pick(rng, everyday.SUBSTANCES)}",
        with_article(f"{colour} {material} {word}"),
    )
    alive = (
        f"{with_article(word)} {action}",
        f"{with_article(f'{colour} {word}')} {action} {place}",
        f"{with_article(word)} {action} {place}",
    )
    return _pick(rng, options + (alive if topic in _CREATURES else made))


def _lacking(picker: NounPicker, count: int, rng: np.random.Generator) -> Iterator[CorpusText]:
    for _ in range(count):
        noun, _topic = picker.draw(rng)
        other, _topic = picker.draw(rng)
        lacks = _pick(rng, everyday.LACKS)
        missing = other.word if "no" in lacks.split() else with_article(other.word)
        missed = (forms.say(forms.PHOTO, other.word), LACKING_WEIGHT)
        yield CorpusText(
            text=f"{with_article(noun.word)} {lacks} {missing}",
            source=LessonSource.LACKING,
            questions=(*noun_questions(noun, gloss_weight=PHRASE_GLOSS_WEIGHT), missed),
        )


def _glosses(nouns: Sequence[Noun], count: int) -> Iterator[CorpusText]:
    """Yield the definitions of the commonest nouns, answered together with the noun itself."""
    for noun in nouns[:count]:
        sense = noun.senses[0]
        questions = ((sense.gloss, 1.0), (defined(noun.word, sense), 1.0))
        yield CorpusText(text=sense.gloss, source=LessonSource.GLOSS, questions=questions)


def _scenes(count: int, rng: np.random.Generator) -> Iterator[CorpusText]:
    for _ in range(count):
        is_person = rng.random() < 0.75
        who = _pick(rng, everyday.PEOPLE if is_person else everyday.ANIMALS)
        does = _pick(rng, everyday.PERSON_ACTIONS if is_person else everyday.ANIMAL_ACTIONS)
        worn = f" {_pick(rng, everyday.WEARING)}" if is_person and rng.random() < 0.4 else ""
        place = f" {_pick(rng, everyday.PLACES)}" if rng.random() < 0.7 else ""
        verb = "" if rng.random() < 0.6 else " are" if is_many(who) else " is"
        yield _as_it_stands(f"{who}{worn}{verb} {does}{place}", LessonSource.SCENE)


def is_many(who: str) -> bool:
    """Tell whether a phrase for people or animals is in the plural."""
    return not who.startswith(("a ", "an ")) or who.startswith("a group of")


def _captions(
    captions: Sequence[str], count: int, rng: np.random.Generator
) -> Iterator[CorpusText]:
    """Yield captions as they stand, then with words exchanged for others of their kind."""
    for caption in captions:
        yield _as_it_stands(caption, LessonSource.CAPTION)
    for _ in range(count if captions else 0):
        caption = captions[int(rng.integers(len(captions)))]
        yield _as_it_stands(exchange_words(caption, rng), LessonSource.CAPTION)


_EXCHANGED = (
    ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"),
    ("man", "woman", "boy", "girl", "child", "person", "lady", "guy", "teenager"),
    ("men", "women", "boys", "girls", "children", "people", "kids"),
    ("dog", "cat", "horse", "puppy", "bird", "cow"),
    ("shirt", "jacket", "dress", "hat", "sweater", "coat"),
    ("beach", "street", "field", "park", "forest", "snow", "grass", "water", "pool", "yard"),
    ("ball", "frisbee", "stick", "toy", "rope"),
    ("bike", "bicycle", "motorcycle", "skateboard", "horse", "scooter"),
    ("running", "jumping", "walking", "standing", "sitting", "playing"),
    ("two", "three", "four", "several"),
)


def exchange_words(caption: str, rng: np.random.Generator) -> str:
    """Exchange about half of the colours, people, places and actions of a caption."""
    words = caption.split()
    for index, word in enumerate(words):
        for group in _EXCHANGED:
            if word in group and rng.random() < 0.5:
                words[index] = _pick(rng, group)
                break
    return " ".join(words)


def _examples(wordnet: WordNet, count: int, rng: np.random.Generator) -> Iterator[CorpusText]:
    texts = [t.lower() for t in read_examples(wordnet.folder) if 3 <= len(t.split()) <= 12]
    for index in rng.permutation(len(texts))[:count].tolist():
        yield _as_it_stands(texts[index].rstrip(" .!?;"), LessonSource.EXAMPLE)


def _words(wordnet: WordNet, captions: Sequence[str], count: int) -> Iterator[CorpusText]:
    """Yield the words that captions and definitions use most, whatever they are."""
    uses: dict[str, int] = {}
    glosses = (short_gloss(synset.gloss) for synset in wordnet.synsets.values())
    for text in (*captions, *glosses):
        for word in re.findall(r"[a-z]{2,}", text):
            uses[word] = uses.get(word, 0) + 1
    for word in sorted(uses, key=lambda w: (-uses[w], w))[:count]:
        yield _as_it_stands(word, LessonSource.WORD)


def _as_it_stands(text: str, source: LessonSource) -> CorpusText:
    text = " ".join(text.split())
    return CorpusText(text=text, source=source, questions=((text, 1.0),))


def plural(noun: str) -> str:
    """Put a noun into its regular plural."""
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
