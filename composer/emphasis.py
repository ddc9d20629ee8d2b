"""Emphasis in the words of a query, in the syntax of common drawing programs.

`(red:1.3)` weighs its words by 1.3, `((red))` by 1.1 for each pair of brackets, and `[red]` divides
their weight by 1.1. A single pair of round brackets without a number is plain text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import MAX_WORD_WEIGHT, ComposedQuery, interpolate
from composer.prompt import text_parts
from composer.strategies.protocol import Composer, EncodedReference

NETWORK: Final = re.compile(r"<(?:lora|lyco|hypernet|embedding|ti):[^<>]*>", re.IGNORECASE)
"""A model that other programs load by a word of the prompt."""
_NUMBER: Final = re.compile(r":\s*(\d+\.?\d*|\.\d+)\s*\Z")
_STEP: Final = 1.1
MAX_WEIGHT: Final = 3.0
_ROUND, _SQUARE = "()", "[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class EmphasisedText:
    """A text without the syntax of emphasis.

    Attributes:
        text: Its words.
        weights: One for each word, 1 for a plain one; empty where all are plain.
    """

    text: str
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Brackets:
    start: int
    end: int
    kind: str


def read_emphasis(text: str) -> EmphasisedText:
    """Separate the words of a text from their emphasis; a plain text is returned as it is.

    Names of models such as `<lora:oak:0.8>` are left out. Words in brackets with a number above 3
    are plain text, brackets included, and so are `[red|blue]` and `[red:blue:0.5]`.
    """
    cleaned = NETWORK.sub(" ", text)
    brackets = _find_brackets(cleaned)
    weights, is_syntax = [1.0] * len(cleaned), [False] * len(cleaned)
    for pair in brackets:
        inside = cleaned[pair.start + 1 : pair.end]
        factor, num_syntax = _factor(pair, inside, brackets)
        if factor is None:
            continue
        for i in range(pair.start, pair.end):
            weights[i] *= factor
        is_syntax[pair.start] = True
        is_syntax[pair.end - num_syntax : pair.end + 1] = [True] * (num_syntax + 1)
    if not any(is_syntax):
        return EmphasisedText(text=text if cleaned == text else cleaned.strip())
    kept = [(c, w) for c, w, gone in zip(cleaned, weights, is_syntax, strict=True) if not gone]
    words = [list(group) for is_blank, group in groupby(kept, _is_blank) if not is_blank]
    by_word = tuple(round(min(word[0][1], MAX_WORD_WEIGHT), 4) for word in words)
    return EmphasisedText(
        text=" ".join("".join(letter for letter, _ in word) for word in words),
        weights=by_word if any(weight != 1 for weight in by_word) else (),
    )


def _is_blank(letter: tuple[str, float]) -> bool:
    return letter[0].isspace()


def _find_brackets(text: str) -> list[_Brackets]:
    """Return the pairs of brackets of a text, inner ones first; escaped ones are letters."""
    stack: list[tuple[int, str]] = []
    found: list[_Brackets] = []
    for i, letter in enumerate(text):
        if letter not in _ROUND + _SQUARE or text[i - 1 : i] == "\\":
            continue
        kind = _ROUND if letter in _ROUND else _SQUARE
        if letter == kind[0]:
            stack.append((i, kind))
        elif stack and stack[-1][1] == kind:
            found.append(_Brackets(start=stack.pop()[0], end=i, kind=kind))
    return found


def _factor(
    pair: _Brackets, inside: str, brackets: Sequence[_Brackets]
) -> tuple[float | None, int]:
    """Return what a pair of brackets multiplies weights by, None for nothing.

    The second value is the length of the number at its end.
    """
    if not any(letter.isalpha() for letter in inside):
        return None, 0
    if pair.kind == _SQUARE:
        is_schedule = "|" in inside or ":" in inside  # words that take turns between steps
        return (None if is_schedule else 1 / _STEP), 0
    if number := _NUMBER.search(inside):
        weight = float(number[1])
        return (weight, len(number[0])) if weight <= MAX_WEIGHT else (None, 0)
    is_doubled = any(
        other.kind == _ROUND and abs(other.start - pair.start) == abs(other.end - pair.end) == 1
        for other in brackets
    )
    return (_STEP, 0) if is_doubled else (None, 0)


def spell_emphasis(text: str, weights: Sequence[float]) -> str:
    """Write words and their weights as one text, in the syntax with numbers."""
    if not weights:
        return text
    words = text.split()
    padded = [*weights, *[1.0] * (len(words) - len(weights))]
    runs = groupby(zip(words, padded, strict=False), lambda pair: pair[1])
    spelled = [(weight, " ".join(word for word, _ in run)) for weight, run in runs]
    return " ".join(run if weight == 1 else f"({run}:{weight:g})" for weight, run in spelled)


def compose_emphasised(
    composer: Composer, encoded: EncodedReference, text: str, balance: float
) -> ComposedQuery:
    """Compose a query whose words may be emphasised; a plain text is composed as ever.

    What an emphasised phrase changes in the feature of a query is multiplied by its weight: the
    difference from the query without the phrase, or with it alone nothing. The weights of the words
    are kept with the query, for the states that images are drawn from.

    Args:
        composer: The composer.
        encoded: The reference, if there is one.
        text: The words as they were typed.
        balance: As in `Composer.compose`.

    Raises:
        InputError: As in `Composer.compose`.
    """
    emphasised = read_emphasis(text)
    query = composer.compose(encoded, emphasised.text, balance)
    weights = emphasised.weights
    if not weights:
        return query
    words = emphasised.text.split()
    both, said, sides = query.both_feature, query.words_feature, query.fusion
    fused = None if sides is None else sides.words
    for first, last in _phrases(weights):
        rest = " ".join([*words[:first], *words[last:]])
        if not rest and query.reference_feature is None:
            continue
        less = composer.compose(encoded, rest, balance)
        gain = weights[first] - 1
        both = both + gain * (query.both_feature - less.both_feature)
        if said is not None and less.words_feature is not None:
            assert query.words_feature is not None
            said = said + gain * (query.words_feature - less.words_feature)
        if fused is not None and less.fusion is not None and less.fusion.words is not None:
            assert query.fusion is not None
            assert query.fusion.words is not None
            fused = fused + gain * (query.fusion.words - less.fusion.words)
    num_before = query.pseudo_positions[-1] if query.pseudo_positions else 0
    parts = text_parts(composer.backbone, emphasised.text, num_before)
    num_read = sum(part.num_words for part in parts)
    num_left = sum(part.num_tokens for part in parts)
    sizes: list[int] = []
    for word in words[:num_read]:  # the last one may be read in part
        sizes.append(min(_num_tokens(composer.backbone, word), num_left))
        num_left -= sizes[-1]
    both = functional.normalize(both, dim=-1)
    said = None if said is None else functional.normalize(said, dim=-1)
    return replace(
        query,
        both_feature=both,
        words_feature=said,
        feature=interpolate(both, query.reference_feature, said, balance),
        fusion=None if sides is None else replace(sides, words=_of_length(fused, sides.words)),
        word_weights=weights[:num_read],
        word_sizes=tuple(sizes),
    )


def _num_tokens(backbone: Backbone, word: str) -> int:
    return sum(map(len, backbone.word_ids(word)))


def _phrases(weights: Sequence[float]) -> list[tuple[int, int]]:
    """Return first and last (exclusive) word of each phrase of one weight other than 1."""
    borders = [i for i in range(1, len(weights)) if weights[i] != weights[i - 1]]
    return [(a, b) for a, b in pairwise([0, *borders, len(weights)]) if weights[a] != 1]


def _of_length(
    side: Float[Tensor, " d"] | None, like: Float[Tensor, " d"] | None
) -> Float[Tensor, " d"] | None:
    if side is None or like is None:
        return side
    return functional.normalize(side, dim=-1) * like.norm()
