"""Emphasis of words in the states that a denoiser attends to.

The state of a word of weight w becomes `empty + w * (state - empty)`, where `empty` is the state of
a prompt without words at the same position. Pooled features are left as they are.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from composer.composed import ComposedQuery
from generation.conditioning import Tokenizer


def weigh_states(
    states: Float[Tensor, "1 l w"], empty: Float[Tensor, "1 l w"], weights: Float[Tensor, " l"]
) -> Float[Tensor, "1 l w"]:
    """Weigh states against those of an empty prompt; a weight of 1 keeps every bit."""
    by_state = weights.to(states)[None, :, None]
    return torch.where(by_state == 1, states, empty + by_state * (states - empty))


def token_weights(query: ComposedQuery) -> tuple[float, ...]:
    """Return the weight of each token of a query's words, as its CLIP splits them."""
    pairs = zip(query.word_weights, query.word_sizes, strict=True)
    return tuple(weight for weight, size in pairs for _ in range(size))


def weights_as_read(query: ComposedQuery, tokenizer: Tokenizer) -> tuple[float, ...]:
    """Return the weight of each token of a query's words, as another tokenizer splits them."""
    words = query.text.split()[: len(query.word_weights)]
    return tuple(
        weight
        for word, weight in zip(words, query.word_weights, strict=True)
        for _ in tokenizer(word, add_special_tokens=False).input_ids
    )


def prompt_weights(
    weights: Sequence[float], ends: Sequence[int], context: int
) -> Float[Tensor, " l"]:
    """Lay out the weights of a query's words over its prompt.

    Args:
        weights: Of the words' tokens, in order.
        ends: Index of the end of text within each chunk. The last words before it are the user's:
            all in the further chunks, what remains in the first.
        context: Tokens of a chunk.
    """
    laid = torch.ones(len(ends) * context)
    remaining = list(weights)
    for number in reversed(range(len(ends))):
        room = ends[number] - 1
        count = min(room, len(remaining))
        if count == 0:
            continue
        last = number * context + ends[number]
        laid[last - count : last] = torch.tensor(remaining[-count:])
        remaining = remaining[:-count]
    return laid
