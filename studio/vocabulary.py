"""Words of a text that a kit's vocabulary holds or lacks."""

import re

from composer.backbone import Backbone

_WORD = re.compile(r"[^\W\d_]{2,}")


def unknown_words(backbone: Backbone, text: str) -> tuple[str, ...]:
    """Return the words that the kit's vocabulary lacks as whole words, in order, each once."""
    return tuple(word for word in _words(text) if _num_ids(backbone, word) > 1)


def knows_any_word(backbone: Backbone, text: str) -> bool:
    """Tell whether the kit's vocabulary holds at least one of the words."""
    return any(_num_ids(backbone, word) == 1 for word in _words(text))


def _words(text: str) -> tuple[str, ...]:
    """Return the words in order, each once."""
    return tuple(dict.fromkeys(_WORD.findall(text.lower())))


def _num_ids(backbone: Backbone, word: str) -> int:
    return sum(len(ids) for ids in backbone.word_ids(word))
