"""Words of a text that a kit has not learned."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from composer.added_words import AddedWord
from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.emphasis import NETWORK, read_emphasis
from composer.learned import LearnedNames
from composer.prompt import words_beyond

_WORD = re.compile(r"[^\W\d_]{2,}")
_MAX_NAMED_WORDS = 3
_FIRST_ARROW = "\N{LEFTWARDS ARROW}"  # symbols such as the degree sign come before
_MARK = re.compile(r"<[A-Za-z0-9][A-Za-z0-9_.-]*>")
_EMPHASIS = re.compile(
    r"\([^()]*:\s*-?\d*[.,]?\d+\s*\)|\({2,}[^()]+\){2,}|\[[^\[\]]+\]|\{[^{}]+\}|\S+[+]{2,}(?!\S)"
)


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
    text = unicodedata.normalize("NFC", backbone.without_added_words(text))
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


def query_notes(
    drawing: Backbone,
    searching: Backbone,
    query: ComposedQuery,
    learned: LearnedNames | None,
    *,
    typed: str = "",
) -> tuple[str, ...]:
    """Return sentences about what a query's words will not do.

    Args:
        drawing: The CLIP that the pipeline draws with.
        searching: The CLIP that galleries are searched with.
        query: The query.
        learned: What the one that searches learned with pictures; None where that is not known.
        typed: The words as they were typed, with their emphasis; empty for those of the query.
    """
    num_before = query.pseudo_positions[-1] if query.pseudo_positions else 0
    plain = drawing.without_added_words(query.text)
    unknown = unknown_words(searching, query.text, learned)
    lines = (
        unknown_words_line(unknown, has_table=learned is not None),
        script_line(drawing, plain),
        syntax_line(typed or query.text, known=(*drawing.added_words, *searching.added_words)),
        drawn_alone_line(drawing, searching, query.text),
        unread_words_line(unread_words(drawing, query.text, num_before)),
    )
    return tuple(line for line in lines if line)


def unread_words(backbone: Backbone, text: str, num_before: int = 0) -> tuple[str, ...]:
    """Return the words at the end of a text that are beyond what is read in parts, in order.

    Args:
        backbone: The CLIP that reads the prompts.
        text: Its words.
        num_before: Tokens between the start and the words.
    """
    return words_beyond(backbone, text, num_before)


def syntax_line(text: str, *, weighs: bool = True, known: Sequence[AddedWord] = ()) -> str:
    """Return the sentence about syntax of other programs in a text; empty without it.

    Args:
        text: The words as they were typed.
        weighs: Whether emphasis is honoured where it is understood.
        known: Words of token files.
    """
    marks = {word.mark.lower() for word in known}
    sentences: list[str] = []
    if found := NETWORK.search(text):
        sentences.append(f"“{found[0]}” is left out: a LoRA is chosen by its file, with --lora.")
    rest = read_emphasis(text).text if weighs else NETWORK.sub("", text)
    if found := _EMPHASIS.search(rest):
        sentences.append(
            f"“{found[0]}” is read as plain words: brackets and numbers add no weight here."
        )
    if found := next((m for m in _MARK.finditer(text) if m[0].lower() not in marks), None):
        sentences.append(
            f"“{found[0]}” is read as plain words: a token file of that name is added with --token."
        )
    return " ".join(sentences)


def drawn_alone_line(drawing: Backbone, searching: Backbone, text: str) -> str:
    """Return the sentence about words of token files that only the tower that draws knows."""
    marks = {word.mark.lower() for word in drawing.added_words}
    known = {word.mark.lower() for word in searching.added_words}
    named = [mark for mark in dict.fromkeys(drawing.words(text)) if mark in marks - known]
    if not named:
        return ""
    verb = "is" if len(named) == 1 else "are"
    return (
        f"{', '.join(named)} {verb} drawn with, not searched with: this kit has a tower for each."
    )


def script_line(backbone: Backbone, text: str) -> str:
    """Return the sentence about other scripts than Latin and emoji; empty without such words.

    Kits without token embeddings may have learned many languages and are believed.
    """
    if not backbone.has_tokens:
        return ""
    words = [word for word in text.split() if any(map(_is_of_other_script, word))]
    if not words:
        return ""
    more = " ..." if len(words) > _MAX_NAMED_WORDS else ""
    named = ", ".join(f"“{word}”" for word in words[:_MAX_NAMED_WORDS])
    return f"This kit reads words in Latin letters; {named}{more} may mean nothing to it."


def _is_of_other_script(letter: str) -> bool:
    if letter.isalpha():
        return not unicodedata.name(letter, "LATIN").startswith("LATIN")
    return letter >= _FIRST_ARROW and unicodedata.category(letter) == "So"  # emoji


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
    """Tell whether the kit's vocabulary holds at least one of the words, or a token file does."""
    marks = {word.mark.lower() for word in backbone.added_words}
    if marks.intersection(backbone.words(text)):
        return True
    return any(_num_ids(backbone, word) == 1 for word in _words(text))


def _named(word: UnknownWord) -> str:
    closest = f" (closest: {', '.join(word.closest)})" if word.closest else ""
    return f"“{word.word}”{closest}"


def _words(text: str) -> tuple[str, ...]:
    """Return the words in order, each once."""
    return tuple(dict.fromkeys(_WORD.findall(text.lower())))


def _num_ids(backbone: Backbone, word: str) -> int:
    return sum(len(ids) for ids in backbone.word_ids(word))
