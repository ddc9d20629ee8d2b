"""Names that no picture may be paired with: those of held-out classes, and their relatives.

A text tower that was taught with pictures of umbrellas says nothing about unseen names when
it is asked for umbrellas. What is withheld are the names themselves, their synonyms and the names
of everything that is a kind of them; as plain text without a picture they may be learned.
"""

import re
from collections.abc import Iterable

from composer.data import heldout
from composer.training.words.nouns import THINGS, split_words
from composer.training.words.wordnet import WordNet

# Spellings of Sketchy's folders that WordNet has under another one.
SPELLINGS = {"jack-o-lantern": "jack-o'-lantern", "hotdog": "hot dog", "couch": "sofa"}


class Withheld:
    """Tells which texts and synsets name a withheld class."""

    def __init__(self, wordnet: WordNet, class_names: Iterable[str]) -> None:
        """Take folder names of classes, such as "hermit_crab" and "car_(sedan)"."""
        self.offsets: set[str] = set()
        words: set[str] = set()
        for class_name in class_names:
            word = class_word(class_name)
            words |= {word, SPELLINGS.get(class_name, word)}
        for word in tuple(words):
            for offset in wordnet.senses.get(word, ()):
                if wordnet.synsets[offset].topic in THINGS:
                    self.offsets |= wordnet.below(offset)
        # Of what is a kind of a class, only names that first of all mean it: a "blue" is a
        # butterfly too.
        names = {w.lower() for o in self.offsets for w in wordnet.synsets[o].words}
        words |= {w for w in names if wordnet.senses.get(w, ("",))[0] in self.offsets}
        self._phrases = {tuple(split_words(word)) for word in words}
        self._longest = max((len(phrase) for phrase in self._phrases), default=0)

    def mentions(self, text: str) -> bool:
        """Tell whether a text names a withheld class, in the singular or a regular plural."""
        words = split_words(text)
        for size in range(1, self._longest + 1):
            for first in range(len(words) - size + 1):
                if self._is_named(words[first : first + size]):
                    return True
        return False

    def _is_named(self, words: list[str]) -> bool:
        *head, last = words
        return any((*head, form) in self._phrases for form in singular_forms(last))


def held_out_names(wordnet: WordNet) -> Withheld:
    """Return what must not be paired with pictures in any training."""
    return Withheld(wordnet, sorted(heldout.SKETCHY_CLASSES))


def class_word(class_name: str) -> str:
    """Return a folder name as words: "car_(sedan)" is "car", "hermit_crab" is "hermit crab"."""
    return re.sub(r"\(.*", "", class_name).replace("_", " ").strip()


def singular_forms(word: str) -> tuple[str, ...]:
    """Return a word and what it may be the regular plural of."""
    forms = [word]
    if word.endswith("s"):
        forms.append(word[:-1])
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    return tuple(forms)
