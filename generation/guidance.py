"""What each family of models is conditioned on, from one composed query."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.composed import ComposedQuery
from generation.chunks import Negative, query_chunks, query_weights, states_in_chunks
from generation.conditioning import (
    ClipStates,
    GuidanceStates,
    Tokenizer,
    encode_penultimate,
    encode_with_projection,
    encode_words,
    first_ends,
    guidance_pair,
    token_table,
    tokenize,
)
from generation.families import Family
from generation.token_map import TokenMap, find_rows, fit_token_map, map_prompt
from generation.word_weights import weigh_states, weights_as_read


class Conditioner(Protocol):
    """Text encoders of a pipeline, as they turn a composed query into states."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is approximate, for the user."""
        ...

    def states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        """Return the states of a query, the negative half first.

        Args:
            query: a query with tokens of the first encoder's space.
            negative: what to stay away from; empty words are what the family takes for nothing.
        """
        ...

    @property
    def second_width(self) -> int | None:
        """Width of the second CLIP's token embeddings; None where there is no second."""
        ...

    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"] | None:
        """Return token embeddings in the second CLIP's space; None where there is no second."""
        ...


class SdConditioner:
    """The one text encoder of Stable Diffusion 1.x: last states after the norm."""

    notes: tuple[str, ...] = ()
    second_width: int | None = None

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._text_encoder, self._tokenizer = base.text_encoder, base.tokenizer

    def states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        """Return the states of a query, the negative half first."""
        table = token_table(self._text_encoder)
        return states_in_chunks(self._states, query, negative, self._tokenizer, table)

    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> None:
        """Return nothing: there is one text encoder."""

    def _states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        hidden = guidance_pair(
            self._text_encoder,
            self._tokenizer,
            query.require_tokens(),
            negative if isinstance(negative, str) else negative.require_tokens(),
        )
        return GuidanceStates(hidden=hidden)


class _ClipPair:
    """Two CLIP text encoders that read one prompt: the query's, and one with another token space.

    Words are looked up in the second's table; pseudo-words go through a linear map between the
    tables, fitted at load, unless a token file brings vectors for the second, too.
    """

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._first, self._second = base.text_encoder, base.text_encoder_2
        self._tokenizers = base.tokenizer, base.tokenizer_2
        self.token_map = fit_token_map(token_table(self._first), token_table(self._second))

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            "The second text encoder's pseudo-words are mapped from the first's: error "
            f"{self.token_map.error:.2f} of the variance on held-out words (cosine "
            f"{self.token_map.cosine:.2f}).",
        )

    @property
    def tokenizer(self) -> Tokenizer:
        """The first encoder's tokenizer."""
        return self._tokenizers[0]

    @property
    def first_table(self) -> Float[Tensor, "v w"]:
        """The first encoder's token embeddings."""
        return token_table(self._first)

    def map(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"]:
        """Return token embeddings in the second's space: words looked up, other rows mapped."""
        first, second = token_table(self._first), token_table(self._second)
        rows = vectors.to(first)
        return map_prompt(rows, find_rows(first, rows), second, self.token_map)

    def encode_query(self, query: ComposedQuery) -> tuple[ClipStates, ClipStates]:
        """Return what each encoder makes of a query's prompt."""
        first, second = token_table(self._first), token_table(self._second)
        prompt = query.require_tokens().to(first)
        ids = find_rows(first, prompt)
        ids[query.end_position + 1 :] = padding_id(self._tokenizers[1])
        mapped = map_prompt(prompt, ids, second, self.token_map)
        if query.added is not None and query.added.second_vectors is not None:
            mapped[list(query.added.second_positions)] = query.added.second_vectors.to(mapped)
        end = torch.tensor([query.end_position])
        return self._encode(prompt[None], mapped[None], (end, end))

    def encode_negative(self, negative: Negative) -> tuple[ClipStates, ClipStates]:
        """Return what each encoder makes of plain words, or of words that were composed."""
        if isinstance(negative, str):
            return self.encode_text(negative)
        return self.encode_query(negative)

    def encode_text(self, text: str) -> tuple[ClipStates, ClipStates]:
        """Return what each encoder makes of plain words."""
        ids = [tokenize(tokenizer, [text]) for tokenizer in self._tokenizers]
        ends = [
            first_ends(one, int(tokenizer.eos_token_id))
            for one, tokenizer in zip(ids, self._tokenizers, strict=True)
        ]
        tables = token_table(self._first), token_table(self._second)
        first, second = (
            functional.embedding(one.to(table.device), table)
            for one, table in zip(ids, tables, strict=True)
        )
        return self._encode(first, second, (ends[0], ends[1]))

    def _encode(
        self,
        first: Float[Tensor, "n l w"],
        second: Float[Tensor, "n l u"],
        ends: tuple[Int[Tensor, " n"], Int[Tensor, " n"]],
    ) -> tuple[ClipStates, ClipStates]:
        return (
            _encode_clip(self._first, first, ends[0]),
            _encode_clip(self._second, second, ends[1]),
        )


def _encode_clip(
    encoder: Any,  # noqa: ANN401  a text model of transformers, with or without projection
    embeddings: Float[Tensor, "n l w"],
    ends: Int[Tensor, " n"],
) -> ClipStates:
    if hasattr(encoder, "text_projection"):
        return encode_with_projection(encoder, embeddings, ends)
    penultimate, _ = encode_penultimate(encoder, embeddings)
    return ClipStates(penultimate=penultimate, pooled=None)


class SdxlConditioner:
    """The two text encoders of SDXL: penultimate states side by side, the second's pooled feature.

    An empty negative text is zeros where the pipeline's `force_zeros_for_empty_prompt` says so.
    """

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._clips = _ClipPair(base)
        self._zeros_for_nothing = bool(base.config.force_zeros_for_empty_prompt)

    @property
    def token_map(self) -> TokenMap:
        """The map between the encoders' token spaces."""
        return self._clips.token_map

    @property
    def notes(self) -> tuple[str, ...]:
        """How exact the second encoder's pseudo-words are."""
        return self._clips.notes

    @property
    def second_width(self) -> int:
        """Width of the second CLIP's token embeddings."""
        return len(self.token_map.target_mean)

    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"]:
        """Return token embeddings in the second CLIP's space."""
        return self._clips.map(vectors)

    @torch.no_grad()
    def states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        """Return the states of a query, the negative half first."""
        clips = self._clips
        return states_in_chunks(self._states, query, negative, clips.tokenizer, clips.first_table)

    def _states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        positive = _side_by_side(*self._clips.encode_query(query))
        if negative == "" and self._zeros_for_nothing:
            against = tuple(torch.zeros_like(part) for part in positive)
        else:
            against = _side_by_side(*self._clips.encode_negative(negative))
        return GuidanceStates(
            hidden=torch.cat([against[0], positive[0]]),
            pooled=torch.cat([against[1], positive[1]]),
        )


def _side_by_side(
    first: ClipStates, second: ClipStates
) -> tuple[Float[Tensor, "n l s"], Float[Tensor, "n p"]]:
    assert second.pooled is not None
    return torch.cat([first.penultimate, second.penultimate], dim=-1), second.pooled


T5_LENGTH: Final = 256
"""Tokens that T5's states are padded or cut to, as the pipelines do by default."""


class Sd3Conditioner:
    """The text encoders of Stable Diffusion 3: two CLIPs, and T5, which a kit may leave out.

    Penultimate states of the CLIPs side by side, padded with zeros to T5's width, then T5's states
    after them; pooled features of both CLIPs. T5 has no pseudo-words: it reads the plain words of
    the query, also those beyond the context of the CLIPs, which read one context. Without T5 its
    states are zeros. An empty negative text is encoded like any other.
    """

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._clips = _ClipPair(base)
        self._t5, self._tokenizer = base.text_encoder_3, base.tokenizer_3
        self._width = int(base.transformer.config.joint_attention_dim)

    @property
    def token_map(self) -> TokenMap:
        """The map between the token spaces of the CLIPs."""
        return self._clips.token_map

    @property
    def notes(self) -> tuple[str, ...]:
        """How exact the second CLIP's pseudo-words are, and what T5 reads."""
        reads = (
            "T5 reads the words alone; what only the drawing says reaches the two CLIPs."
            if self._t5 is not None
            else "This kit does without T5; the two CLIPs read the prompt."
        )
        return (*self._clips.notes, reads)

    @property
    def second_width(self) -> int:
        """Width of the second CLIP's token embeddings."""
        return len(self.token_map.target_mean)

    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"]:
        """Return token embeddings in the second CLIP's space."""
        return self._clips.map(vectors)

    @torch.no_grad()
    def states(self, query: ComposedQuery, negative: Negative) -> GuidanceStates:
        """Return the states of a query, the negative half first."""
        first = query_chunks(query, int(self._clips.tokenizer.model_max_length))[0]
        positive = self._joined(self._clips.encode_query(first), query.text)
        if query.word_weights:
            positive = self._weighed(query, positive)
        words = negative if isinstance(negative, str) else negative.text
        if not isinstance(negative, str):
            negative = query_chunks(negative, int(self._clips.tokenizer.model_max_length))[0]
        against = self._joined(self._clips.encode_negative(negative), words)
        return GuidanceStates(
            hidden=torch.cat([against[0], positive[0]]),
            pooled=torch.cat([against[1], positive[1]]),
        )

    def _weighed(
        self, query: ComposedQuery, positive: tuple[Float[Tensor, "1 l w"], Float[Tensor, "1 p"]]
    ) -> tuple[Float[Tensor, "1 l w"], Float[Tensor, "1 p"]]:
        """Weigh the words of a query, as the CLIPs and T5 read them."""
        hidden, pooled = positive
        context = int(self._clips.tokenizer.model_max_length)
        by_clips = query_weights(query, context)[:context]
        by_t5 = torch.ones(T5_LENGTH)
        if self._t5 is not None:
            read = weights_as_read(query, self._tokenizer)[: T5_LENGTH - 1]
            by_t5[: len(read)] = torch.tensor(read)
        empty, _ = self._joined(self._clips.encode_text(""), "")
        return weigh_states(hidden, empty, torch.cat([by_clips, by_t5])), pooled

    def _joined(
        self, clips: tuple[ClipStates, ClipStates], words: str
    ) -> tuple[Float[Tensor, "1 l w"], Float[Tensor, "1 p"]]:
        first, second = clips
        assert first.pooled is not None
        assert second.pooled is not None
        hidden = torch.cat([first.penultimate, second.penultimate], dim=-1)
        hidden = functional.pad(hidden, (0, self._width - hidden.shape[-1]))
        pooled = torch.cat([first.pooled, second.pooled], dim=-1)
        return torch.cat([hidden, self._read_words(hidden, words)], dim=1), pooled

    def _read_words(self, like: Float[Tensor, "1 l w"], words: str) -> Float[Tensor, "1 t w"]:
        if self._t5 is None:
            return like.new_zeros(1, T5_LENGTH, self._width)
        return encode_words(self._t5, self._tokenizer, [words], T5_LENGTH).to(like)


def padding_id(tokenizer: Tokenizer) -> int:
    """Return the id that a tokenizer pads with; SDXL's second one pads with 0."""
    return int(tokenizer.pad_token_id)


CONDITIONERS: Final[Mapping[Family, Callable[[Any], Conditioner]]] = {
    Family.SD: SdConditioner,
    Family.SDXL: SdxlConditioner,
    Family.SD3: Sd3Conditioner,
}
