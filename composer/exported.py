"""Words made of queries, to be left in a file."""

from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from composer.added_words import AddedWord
from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.strategies.inversion import InversionSettings, invert

NUM_RESTARTS: Final = 2
TOLERANCE: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorbedWord:
    """A word found by inversion.

    Attributes:
        word: The word.
        cosine: Mean cosine of its text features, in the prompts it was found in, and the feature.
    """

    word: AddedWord
    cosine: float


def word_of_query(query: ComposedQuery, *, name: str, kit: str) -> AddedWord:
    """Return the drawing's part of a query's prompt: the learned prompt and the pseudo-words.

    Alone, the word is then the very prompt of the drawing, and the words of a query follow it as
    they do in the query.

    Args:
        query: A query with tokens.
        name: What the word is called.
        kit: Name of the kit.

    Raises:
        InputError: The query has no reference, or the name cannot stand in a text.
    """
    prompt = query.require_tokens()
    if not query.pseudo_positions:
        raise InputError(
            "Words alone need no token: write them where you want them. Give a drawing or a photo, "
            "or absorb the words into tokens: --absorb-text."
        )
    return AddedWord(
        name=name,
        vectors=prompt[1 : query.pseudo_positions[-1] + 1].detach().float().cpu(),
        opens_prompt=True,
        kit=kit,
        text_hash=query.text_hash,
    )


def absorbing(num_tokens: int) -> InversionSettings:
    """Return how tokens are searched for: with more patience than a search has.

    Raises:
        ValueError: The number of tokens is out of range.
    """
    return InversionSettings(num_tokens=num_tokens, num_restarts=NUM_RESTARTS, tolerance=TOLERANCE)


def absorb(
    backbone: Backbone, feature: Float[Tensor, " d"], num_tokens: int, *, name: str, kit: str
) -> AbsorbedWord:
    """Find tokens that alone say what a composed feature says, its words included.

    Costs up to some hundred passes through the text tower.

    Args:
        backbone: The CLIP whose tokens are searched.
        feature: In its joint space.
        num_tokens: Number of tokens.
        name: What the word is called.
        kit: Name of the kit.

    Raises:
        InputError: The name cannot stand in a text, or a prompt has no room for the tokens.
    """
    try:
        found = invert(backbone, feature[None], absorbing(num_tokens))
    except ValueError as error:
        raise InputError(str(error)) from error
    word = AddedWord(
        name=name,
        vectors=found.tokens[0].detach().float().cpu(),
        kit=kit,
        text_hash=backbone.text_hash,
    )
    return AbsorbedWord(word=word, cosine=float(found.cosines[0]))
