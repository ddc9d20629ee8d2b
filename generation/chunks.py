"""Prompts longer than a text encoder's context: encoded in chunks whose states follow each other.

The denoiser attends to states of any number. What an encoder pools comes from the first chunk.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.composed import ComposedQuery
from composer.prompt import MAX_PARTS, parts_of_size
from generation.conditioning import GuidanceStates, Tokenizer, tokenize
from generation.word_weights import prompt_weights, token_weights, weigh_states

Negative = ComposedQuery | str
"""What to stay away from: plain words, or words composed with those of token files."""

Encode = Callable[[ComposedQuery, Negative], GuidanceStates]


def query_chunks(query: ComposedQuery, context: int) -> tuple[ComposedQuery, ...]:
    """Return a query once for each chunk of its prompt.

    Args:
        query: A query with tokens; the pseudo-words are in the first chunk.
        context: Tokens of a chunk, start and end included.
    """
    first, *others = query.require_tokens().split(context)
    further = [
        replace(
            query,
            prompt_embeddings=chunk,
            end_position=_end_of(chunk),
            pseudo_positions=(),
            added=query.added and query.added.between(number * context, (number + 1) * context),
        )
        for number, chunk in enumerate(others, start=1)
    ]
    added = query.added and query.added.between(0, context)
    return (replace(query, prompt_embeddings=first, added=added), *further)


def text_chunks(tokenizer: Tokenizer, text: str) -> tuple[str, ...]:
    """Split a text as prompts are, into at most `MAX_PARTS` parts that the tokenizer leaves whole.

    Args:
        tokenizer: Of the first encoder.
        text: The text; white space is collapsed.
    """

    def size(word: str) -> int:
        return len(tokenizer(word, add_special_tokens=False).input_ids)

    parts = parts_of_size(text, int(tokenizer.model_max_length) - 2, size)
    return tuple(part.text for part in parts[:MAX_PARTS])


def states_in_chunks(
    encode: Encode,
    query: ComposedQuery,
    negative: Negative,
    tokenizer: Tokenizer,
    table: Float[Tensor, "v w"],
) -> GuidanceStates:
    """Return the states of a query and negative words of any length.

    The shorter of both is filled with chunks without words, as the halves of guidance must be of
    one length. What fits one chunk is encoded as it is.

    Args:
        encode: Encodes one chunk of each.
        query: A query with tokens.
        negative: What to stay away from.
        tokenizer: Of the first encoder.
        table: Token embeddings of the first encoder.
    """
    context = int(tokenizer.model_max_length)
    queries = query_chunks(query, context)
    texts: tuple[Negative, ...] = (
        text_chunks(tokenizer, negative)
        if isinstance(negative, str)
        else query_chunks(negative, context)
    )
    silent = _silent(query, tokenizer, table)
    # A blank is encoded where nothing at all might be taken for zeros.
    fill = "" if negative == "" else " "
    if len(queries) == len(texts) == 1:
        states = encode(queries[0], negative if isinstance(negative, str) else texts[0])
    else:
        states = _states_of_chunks(encode, queries, texts, silent, fill=fill)
    if not query.word_weights:
        return states
    empty = encode(silent, "").hidden[1:]
    return _weighed(states, empty, query_weights(query, context))


def query_weights(query: ComposedQuery, context: int) -> Float[Tensor, " l"]:
    """Return the weight of each token of a query's prompt.

    Args:
        query: A query with tokens.
        context: Tokens of a chunk.
    """
    ends = [chunk.end_position for chunk in query_chunks(query, context)]
    return prompt_weights(token_weights(query), ends, context)


def _weighed(
    states: GuidanceStates, empty: Float[Tensor, "1 l w"], weights: Float[Tensor, " _"]
) -> GuidanceStates:
    """Weigh the positive half; chunks beyond the query's are without words."""
    negative, positive = states.hidden.split(1)
    length = positive.shape[1]
    padded = functional.pad(weights, (0, length - len(weights)), value=1.0)
    repeated = empty.repeat(1, length // empty.shape[1], 1)
    hidden = torch.cat([negative, weigh_states(positive, repeated, padded)])
    return replace(states, hidden=hidden)


def _silent(
    query: ComposedQuery, tokenizer: Tokenizer, table: Float[Tensor, "v w"]
) -> ComposedQuery:
    """Return a query of one chunk without words."""
    ids = tokenize(tokenizer, [""])[0].to(table.device)
    return replace(
        query,
        prompt_embeddings=functional.embedding(ids, table),
        end_position=1,
        pseudo_positions=(),
        added=None,
    )


def _states_of_chunks(
    encode: Encode,
    queries: tuple[ComposedQuery, ...],
    texts: tuple[Negative, ...],
    silent: ComposedQuery,
    *,
    fill: str,
) -> GuidanceStates:
    count = max(len(queries), len(texts))
    queries = (*queries, *[silent] * (count - len(queries)))
    texts = (*texts, *[fill] * (count - len(texts)))
    states = [encode(chunk, text) for chunk, text in zip(queries, texts, strict=True)]
    return GuidanceStates(
        hidden=torch.cat([part.hidden for part in states], dim=1), pooled=states[0].pooled
    )


def _end_of(chunk: Float[Tensor, "l w"]) -> int:
    """Return the index of the first end of text: prompts are filled with it."""
    others = (chunk != chunk[-1]).any(dim=1).nonzero()
    return int(others[-1]) + 1
