"""What the balance between drawing and words does to a picture.

Towards the drawing the words fade: the states of the prompt move to those of the same prompt
without words, which is the drawing's alone. Towards the words the control network fades. In the
middle both are as composed.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from composer.composed import BALANCED, ComposedQuery
from generation.chunks import Negative
from generation.conditioning import GuidanceStates


def control_share(balance: float) -> float:
    """Return the share of the control's strength: all up to the middle, none at 1."""
    return min(1.0, (1.0 - balance) / BALANCED)


def words_share(balance: float) -> float:
    """Return the share of the words' strength: none at 0, all from the middle on."""
    return min(1.0, balance / BALANCED)


def balanced_states(
    encode: Callable[[ComposedQuery, Negative], GuidanceStates],
    query: ComposedQuery,
    negative: Negative,
) -> GuidanceStates:
    """Return the states of a query, the negative half first, with words as strong as its balance.

    A query of one side has nothing to weigh; its states are as composed.

    Args:
        encode: Returns the states of a query as composed.
        query: A query with tokens.
        negative: What to stay away from.
    """
    composed = encode(query, negative)
    share = words_share(query.balance)
    if share == 1 or not query.pseudo_positions or not query.text.strip():
        return composed
    drawn = encode(without_words(query), negative)
    hidden = torch.lerp(drawn.hidden, composed.hidden, share)
    if composed.pooled is None or drawn.pooled is None:
        return GuidanceStates(hidden=hidden)
    return GuidanceStates(hidden=hidden, pooled=torch.lerp(drawn.pooled, composed.pooled, share))


def without_words(query: ComposedQuery) -> ComposedQuery:
    """Return a query whose prompt ends behind its pseudo-words, in as many chunks as before."""
    prompt, first = query.require_tokens(), query.pseudo_positions[-1] + 1
    is_word = (prompt != prompt[0]).any(dim=1)  # all but the start of each chunk
    is_word[:first] = False
    return replace(
        query,
        prompt_embeddings=torch.where(is_word[:, None], prompt[query.end_position], prompt),
        end_position=first,
        text="",
        added=None,
        word_weights=(),
        word_sizes=(),
    )
