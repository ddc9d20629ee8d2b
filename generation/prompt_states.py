"""What a pipeline's denoiser is conditioned on: checked, encoded and kept for composed queries."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from composer.composed import ComposedQuery
from composer.prompt import MAX_PARTS
from generation.balance import balanced_states
from generation.chunks import Negative
from generation.conditioning import GuidanceStates, token_table
from generation.families import Family
from generation.guidance import CONDITIONERS
from generation.model_files import Pipe
from generation.placement import Placement
from generation.request import RequestError

NUM_KEPT_STATES: Final = 8


class PromptStates:
    """The text encoders of a pipeline, and the states of recent queries."""

    def __init__(self, family: Family, base: Pipe, text_hash: str, placement: Placement) -> None:
        """Take the pipeline whose text encoders read prompts.

        Args:
            family: of the pipeline.
            base: the text-to-image pipeline of diffusers.
            text_hash: of the CLIP text tower that its first encoder carries.
            placement: where the encoders are.
        """
        self._text_encoder, self._text_hash = base.text_encoder, text_hash
        self._conditioner, self._placement = CONDITIONERS[family](base), placement
        self._states: OrderedDict[tuple[str, str, str], GuidanceStates] = OrderedDict()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is approximate, for the user."""
        return self._conditioner.notes

    def forget(self) -> None:
        """Drop the states of recent queries."""
        self._states.clear()

    def arguments(
        self, query: ComposedQuery, negative: Negative, *, reuse: bool
    ) -> Mapping[str, Tensor]:
        """Return what the denoiser is conditioned on, as arguments of a call for one image.

        Args:
            query: a composed query that `check` accepts.
            negative: what to stay away from, accepted as well if it is composed; empty is nothing.
            reuse: whether the states of recent queries are used again.
        """
        states = self._known(query, negative, reuse=reuse)
        call = {
            "prompt_embeds": states.hidden[1:],
            "negative_prompt_embeds": states.hidden[:1],
        }
        if states.pooled is not None:
            call |= {
                "pooled_prompt_embeds": states.pooled[1:],
                "negative_pooled_prompt_embeds": states.pooled[:1],
            }
        return call

    def _known(self, query: ComposedQuery, negative: Negative, *, reuse: bool) -> GuidanceStates:
        if isinstance(negative, str):
            key = (query.digest, "words", negative)
        else:
            key = (query.digest, "query", negative.digest)
        if key not in self._states or not reuse:
            with self._placement.encoding_text():
                self._states[key] = balanced_states(self._conditioner.states, query, negative)
            if len(self._states) > NUM_KEPT_STATES:
                self._states.popitem(last=False)
        return self._states[key]

    @torch.no_grad()
    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"] | None:
        """Return token embeddings in the second CLIP's space; None where there is no second."""
        with self._placement.encoding_text():
            return self._conditioner.second_vectors(vectors)

    def check(self, query: ComposedQuery) -> None:
        """Check that a composed query was made for this text encoder.

        Raises:
            RequestError: width, length or text tower differ.
            MissingTokensError: the query has no tokens to draw with.
        """
        prompt = query.require_tokens()
        self._check_shape(prompt)
        if query.text_hash != self._text_hash:
            raise RequestError(
                f"The query was composed for text tower {query.text_hash}, this pipeline carries "
                f"{self._text_hash}. Compose the query with this kit."
            )
        if not bool(torch.isfinite(prompt).all()):
            raise RequestError("The composed query holds values that are not finite.")
        self._check_second(query)

    def _check_shape(self, prompt: Float[Tensor, "l w"]) -> None:
        table = token_table(self._text_encoder)
        length, width = prompt.shape
        context = int(self._text_encoder.config.max_position_embeddings)
        if width != table.shape[1]:
            raise RequestError(
                f"`token_width` must equal the text encoder's width ({table.shape[1]}), got "
                f"{width}. Compose the query with this kit."
            )
        if length % context or not 0 < length <= MAX_PARTS * context:
            raise RequestError(
                f"A prompt must be {context} tokens long, or a multiple of that up to {MAX_PARTS}, "
                f"got {length}. "
                "Compose the query with this kit."
            )

    def _check_second(self, query: ComposedQuery) -> None:
        width = self._conditioner.second_width
        second = None if query.added is None else query.added.second_vectors
        if width is not None and second is not None and second.shape[1] != width:
            raise RequestError(
                f"A token's vectors for the second text encoder must have its width ({width}), got "
                f"{second.shape[1]}. Choose a token made for this kit."
            )
