"""Words of a text that a kit has not learned."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from composer.backbone import Backbone
from composer.learned import LearnedNames

_WORD = re.compile(r"[^\W\d_]{2,}")
_MAX_NAMED_WORDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownWord:
    """A word that a kit has not learned, and what it takes it for.

    Attributes:
        word: In lower case.
        closest: Learned names that the kit's text tower puts it closest to, the closest first.
    """

    word: str
    closest: tuple[str, ...] = ()


def unknown_words(
    backbone: Backbone, text: str, learned: LearnedNames | None = None
) -> tuple[UnknownWord, ...]:
    """Return the words that the kit has not learned, in order, each once.

    Args:
        backbone: The kit's CLIP.
        text: What is asked for.
        learned: What the kit learned with pictures; without it, words count as unknown that the
            vocabulary lacks as whole words.
    """
    if learned is None:
        words = [word for word in _words(text) if _num_ids(backbone, word) > 1]
        return tuple(UnknownWord(word=word) for word in words)
    words = learned.unknown_words(text)
    if not words:
        return ()
    features = backbone.encode_text([f"a photo of {word}" for word in words])
    return tuple(
        UnknownWord(word=word, closest=learned.closest(feature))
        for word, feature in zip(words, features, strict=True)
    )


def unread_words(backbone: Backbone, text: str, num_before: int = 0) -> tuple[str, ...]:
    """Return the words at the end of a text that a prompt has no room for, in order.

    Args:
        backbone: The CLIP that reads the prompt.
        text: Its words.
        num_before: Tokens between the start and the words.
    """
    room = backbone.context_length - 2 - num_before
    unread: list[str] = []
    for word, ids in zip(backbone.words(text), backbone.word_ids(text), strict=True):
        room -= len(ids)
        if room < 0:
            unread.append(word)
    return tuple(unread)


def unread_words_line(words: Sequence[str]) -> str:
    """Return the sentence about words that are not read; empty without such words."""
    if not words:
        return ""
    first = " ".join(words[:_MAX_NAMED_WORDS])
    more = " ..." if len(words) > _MAX_NAMED_WORDS else ""
    return f"The text is too long for this kit: from “{first}{more}” on it is not read."


def unknown_words_line(words: Sequence[UnknownWord], *, has_table: bool = False) -> str:
    """Return the sentence that names words the kit does not know; empty without such words.

    Args:
        words: What `unknown_words` returned.
        has_table: Whether it had a table of what the kit learned with pictures; other words may
            have been learned from text alone.
    """
    if not words:
        return ""
    named = ", ".join(_named(word) for word in words[:_MAX_NAMED_WORDS])
    rest = len(words) - _MAX_NAMED_WORDS
    more = f" and {rest} more" if rest > 0 else ""
    if has_table:
        return f"This kit learned {named}{more} without pictures, so results may be off."
    verb = "is" if len(words) == 1 else "are"
    return f"{named}{more} {verb} unknown to this kit, so results may be off."


def knows_any_word(backbone: Backbone, text: str) -> bool:
    """Tell whether the kit's vocabulary holds at least one of the words."""
    return any(_num_ids(backbone, word) == 1 for word in _words(text))


def _named(word: UnknownWord) -> str:
    closest = f" (closest: {', '.join(word.closest)})" if word.closest else ""
    return f"“{word.word}”{closest}"


def _words(text: str) -> tuple[str, ...]:
    """Return the words in order, each once."""
    return tuple(dict.fromkeys(_WORD.findall(text.lower())))


def _num_ids(backbone: Backbone, word: str) -> int:
    return sum(len(ids) for ids in backbone.word_ids(word))
