"""The nouns that pictures can show, each with all of its senses weighed."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from composer.training.words.wordnet import Synset, WordNet, read_examples

# How readily a picture shows what a lexicographer file holds.
PICTURABLE = {
    "animal": 1.0,
    "artifact": 1.0,
    "food": 1.0,
    "object": 1.0,
    "plant": 1.0,
    "body": 0.7,
    "person": 0.7,
    "phenomenon": 0.5,
    "substance": 0.5,
    "group": 0.4,
    "location": 0.4,
    "shape": 0.4,
    "communication": 0.3,
    "possession": 0.3,
    "event": 0.2,
    "act": 0.1,
}
# All words of these are taken, of the others only single words that texts use.
THINGS = frozenset({"animal", "artifact", "food", "object", "plant"})
MIN_USES = 3
MAX_WORDS = 3
MAX_GLOSS_WORDS = 16
_PLAIN = re.compile(r"[a-z]+(?:[ '-]+[a-z]+)*")
_SLUR = re.compile(r"slur|offensive|disparag|derogat|obscen|vulgar")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sense:
    """One meaning of a noun.

    Attributes:
        offset: Its synset.
        gloss: Its definition, lower case and cut to a few words.
        weight: Its share in the noun; the shares of a noun sum to one.
    """

    offset: str
    gloss: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Noun:
    """A noun, lower case, with its senses, the heaviest first.

    `num_uses` counts it in WordNet's definitions and examples; of a noun of several words, its
    rarest word.
    """

    word: str
    senses: tuple[Sense, ...]
    num_uses: int


def read_nouns(wordnet: WordNet) -> list[Noun]:
    """Read the nouns that pictures can show, in alphabetical order."""
    uses = count_uses(wordnet)
    nouns: list[Noun] = []
    for word, offsets in sorted(wordnet.senses.items()):
        synsets = [wordnet.synsets[offset] for offset in offsets]
        if not _is_plain(word, synsets):
            continue
        num_uses = min(uses[part] for part in split_words(word))
        senses = weigh_senses(wordnet, word, synsets)
        topics = {wordnet.synsets[sense.offset].topic for sense in senses}
        is_common = " " not in word and num_uses >= MIN_USES
        if topics & THINGS or (topics and is_common):
            nouns.append(Noun(word=word, senses=senses, num_uses=num_uses))
    return nouns


def count_uses(wordnet: WordNet) -> Counter[str]:
    """Count the words of all definitions and examples."""
    texts = [text for s in wordnet.synsets.values() for text in (s.gloss, *s.examples)]
    texts += read_examples(wordnet.folder)
    return Counter(word for text in texts for word in split_words(text))


def split_words(text: str) -> list[str]:
    """Split a text into its words, lower case."""
    return re.findall(r"[a-z]+", text.lower())


def weigh_senses(wordnet: WordNet, word: str, synsets: Sequence[Synset]) -> tuple[Sense, ...]:
    """Weigh the senses that pictures can show by use, rank and how readily one is pictured.

    The order of WordNet stands for frequency where the tagged texts do not tell. Left out are
    slurs, and proper names that are spelled alike but for their capital.
    """
    weighed = [
        (synset, PICTURABLE.get(synset.topic, 0.0) * (wordnet.count(word, rank) + 1 / (1 + rank)))
        for rank, synset in enumerate(synsets)
        if word in synset.words and not _SLUR.search(synset.gloss)
    ]
    total = math.fsum(weight for _, weight in weighed)
    senses = [
        Sense(offset=synset.offset, gloss=short_gloss(synset.gloss), weight=weight / total)
        for synset, weight in weighed
        if weight > 0
    ]
    return tuple(sorted(senses, key=lambda sense: -sense.weight))


def short_gloss(gloss: str) -> str:
    """Cut a definition to its first words, without what stands in brackets."""
    plain = re.sub(r"\s*\([^)]*\)", "", gloss.lower())
    return " ".join(plain.replace(";", ",").split()[:MAX_GLOSS_WORDS]).strip(" ,")


def _is_plain(word: str, synsets: Sequence[Synset]) -> bool:
    """Tell whether a word is no name: WordNet spells it in lower case in at least one sense."""
    if not _PLAIN.fullmatch(word) or len(word.split()) > MAX_WORDS or len(word) < 2:
        return False
    return any(word in synset.words for synset in synsets)
