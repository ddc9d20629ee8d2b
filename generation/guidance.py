"""What each family of models is conditioned on, from one composed query."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.composed import ComposedQuery
from generation.conditioning import (
    GuidanceStates,
    Tokenizer,
    encode_penultimate,
    encode_with_projection,
    first_ends,
    guidance_pair,
    token_table,
    tokenize,
)
from generation.families import Family
from generation.token_map import TokenMap, find_rows, fit_token_map, map_prompt


class Conditioner(Protocol):
    """Text encoders of a pipeline, as they turn a composed query into states."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is approximate, for the user."""
        ...

    def states(self, query: ComposedQuery, negative_text: str) -> GuidanceStates:
        """Return the states of a query, the negative half first.

        Args:
            query: a query with tokens of the first encoder's space.
            negative_text: what to stay away from; empty is what the family takes for nothing.
        """
        ...


class SdConditioner:
    """The one text encoder of Stable Diffusion 1.x: last states after the norm."""

    notes: tuple[str, ...] = ()

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._text_encoder, self._tokenizer = base.text_encoder, base.tokenizer

    def states(self, query: ComposedQuery, negative_text: str) -> GuidanceStates:
        """Return the states of a query, the negative half first."""
        hidden = guidance_pair(
            self._text_encoder, self._tokenizer, query.require_tokens(), negative_text
        )
        return GuidanceStates(hidden=hidden)


class SdxlConditioner:
    """The two text encoders of SDXL: penultimate states side by side, the second's pooled feature.

    The query's tokens are of the first encoder's space. Words are looked up in the second's table;
    pseudo-words go through a linear map between the tables, fitted at load.
    """

    def __init__(self, base: Any) -> None:  # noqa: ANN401  a pipeline of diffusers
        self._first, self._second = base.text_encoder, base.text_encoder_2
        self._tokenizers = base.tokenizer, base.tokenizer_2
        self._zeros_for_nothing = bool(base.config.force_zeros_for_empty_prompt)
        self._map = fit_token_map(token_table(self._first), token_table(self._second))

    @property
    def token_map(self) -> TokenMap:
        """The map between the encoders' token spaces."""
        return self._map

    @property
    def notes(self) -> tuple[str, ...]:
        """How exact the second encoder's pseudo-words are."""
        return (
            "The second text encoder's pseudo-words are mapped from the first's: error "
            f"{self._map.error:.2f} of the variance on held-out words (cosine "
            f"{self._map.cosine:.2f}).",
        )

    @torch.no_grad()
    def states(self, query: ComposedQuery, negative_text: str) -> GuidanceStates:
        """Return the states of a query, the negative half first."""
        first, second = token_table(self._first), token_table(self._second)
        prompt = query.require_tokens().to(first)
        end = torch.tensor([query.end_position])
        mapped = self._in_second_space(prompt, query.end_position, second)
        positive = self._encode(prompt[None], mapped[None], end)
        if not negative_text and self._zeros_for_nothing:
            negative = tuple(torch.zeros_like(part) for part in positive)
        else:
            ids = [tokenize(one, [negative_text]) for one in self._tokenizers]
            ends = first_ends(ids[1], int(self._tokenizers[1].eos_token_id))
            rows = [
                functional.embedding(one.to(table.device), table)
                for one, table in zip(ids, (first, second), strict=True)
            ]
            negative = self._encode(rows[0], rows[1], ends)
        return GuidanceStates(
            hidden=torch.cat([negative[0], positive[0]]),
            pooled=torch.cat([negative[1], positive[1]]),
        )

    def _in_second_space(
        self, prompt: Float[Tensor, "l w"], end: int, second: Float[Tensor, "v u"]
    ) -> Float[Tensor, "l u"]:
        ids = find_rows(token_table(self._first), prompt)
        ids[end + 1 :] = padding_id(self._tokenizers[1])
        return map_prompt(prompt, ids, second, self._map)

    def _encode(
        self,
        first: Float[Tensor, "n l w"],
        second: Float[Tensor, "n l u"],
        ends: Int[Tensor, " n"],
    ) -> tuple[Float[Tensor, "n l s"], Float[Tensor, "n p"]]:
        penultimate, _ = encode_penultimate(self._first, first)
        states = encode_with_projection(self._second, second, ends)
        return torch.cat([penultimate, states.penultimate], dim=-1), states.pooled


def padding_id(tokenizer: Tokenizer) -> int:
    """Return the id that a tokenizer pads with; SDXL's second one pads with 0."""
    return int(tokenizer.pad_token_id)


CONDITIONERS: Final[Mapping[Family, Callable[[Any], Conditioner]]] = {
    Family.SD: SdConditioner,
    Family.SDXL: SdxlConditioner,
}
