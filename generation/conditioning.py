"""Prompts as hidden states of the pipeline's text encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

Tokenizer = Any
"""A transformers tokenizer; its type hints do not say that a call returns `input_ids`."""


def token_table(text_encoder: "CLIPTextModel") -> Float[Tensor, "v w"]:
    """Return the token embeddings of the whole vocabulary."""
    return text_encoder.get_input_embeddings().weight  # pyright: ignore[reportReturnType]


def encode_token_embeddings(
    text_encoder: "CLIPTextModel", embeddings: Float[Tensor, "n l w"]
) -> Float[Tensor, "n l w"]:
    """Run the text encoder on token embeddings taken before positions are added.

    transformers ignores `inputs_embeds` here, so its forward is spelled out: positions, a causal
    mask, the layers, the last norm. No hook and no state, so threads cannot cross. A test compares
    it with the plain forward: the difference is exactly 0.0.

    Args:
        text_encoder: frozen CLIP text model.
        embeddings: token embeddings, padded to the encoder's context with end-of-text; padding
            after the end of text reaches the UNet as in stock pipelines and is not masked.

    Returns:
        Hidden states after the final norm.
    """
    from transformers.masking_utils import create_causal_mask

    hidden = text_encoder.embeddings(inputs_embeds=embeddings)  # n l w
    mask = create_causal_mask(
        config=text_encoder.config,
        inputs_embeds=hidden,
        attention_mask=None,
        past_key_values=None,
    )
    encoded = text_encoder.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=True)
    return text_encoder.final_layer_norm(encoded.last_hidden_state)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Int[Tensor, "n l"]:
    """Return token ids, padded with end-of-text to the tokenizer's length; longer texts are cut."""
    encoded = tokenizer(
        list(texts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return encoded.input_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class GuidanceStates:
    """What a UNet or a transformer is conditioned on, the negative half first.

    Attributes:
        hidden: States per token.
        pooled: One vector per prompt; None where the family takes none.
    """

    hidden: Float[Tensor, "2 l w"]
    pooled: Float[Tensor, "2 p"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipStates:
    """Output of a CLIP text model for n prompts.

    Attributes:
        penultimate: States before the last layer, without a norm.
        pooled: Projected states of the last layer at the end of each prompt; None of a model
            without projection.
    """

    penultimate: Float[Tensor, "n l w"]
    pooled: Float[Tensor, "n p"] | None


@torch.no_grad()
def guidance_pair(
    text_encoder: "CLIPTextModel",
    tokenizer: Tokenizer,
    prompt_embeddings: Float[Tensor, "l w"],
    negative: Float[Tensor, "l w"] | str,
) -> Float[Tensor, "2 l w"]:
    """Return hidden states for guidance, the negative half first.

    Args:
        text_encoder: the pipeline's text encoder.
        tokenizer: the pipeline's tokenizer.
        prompt_embeddings: the composed prompt, before positions.
        negative: what to stay away from, as words or as a prompt before positions; empty words are
            the empty prompt.
    """
    table = token_table(text_encoder)
    if isinstance(negative, str):
        ids = tokenize(tokenizer, [negative]).to(table.device)
        negative = torch.nn.functional.embedding(ids, table)[0]
    pair = torch.stack([negative.to(table), prompt_embeddings.to(table)])
    return encode_token_embeddings(text_encoder, pair)


def encode_penultimate(
    text_model: "CLIPTextModel", embeddings: Float[Tensor, "n l w"]
) -> tuple[Float[Tensor, "n l w"], Float[Tensor, "n l w"]]:
    """Return the states before the last layer, and those after it, both without a norm.

    Args:
        text_model: frozen CLIP text model without projection.
        embeddings: as for `encode_token_embeddings`.
    """
    from transformers.masking_utils import create_causal_mask

    hidden = text_model.embeddings(inputs_embeds=embeddings)
    mask = create_causal_mask(
        config=text_model.config,
        inputs_embeds=hidden,
        attention_mask=None,
        past_key_values=None,
    )
    *first, last = text_model.encoder.layers
    for layer in first:
        hidden = layer(hidden, mask, is_causal=True)
    return hidden, last(hidden, mask, is_causal=True)


def encode_with_projection(
    text_encoder: "CLIPTextModelWithProjection",
    embeddings: Float[Tensor, "n l w"],
    end_positions: Int[Tensor, " n"],
) -> ClipStates:
    """Run a CLIP text model with projection on token embeddings.

    Args:
        text_encoder: the model, frozen.
        embeddings: as for `encode_token_embeddings`.
        end_positions: index of the first end of text of each prompt, where it is pooled.
    """
    model = text_encoder.text_model
    penultimate, last = encode_penultimate(model, embeddings)
    normed = model.final_layer_norm(last)
    ends = normed[torch.arange(len(normed), device=normed.device), end_positions.to(normed.device)]
    return ClipStates(penultimate=penultimate, pooled=text_encoder.text_projection(ends))


def first_ends(ids: Int[Tensor, "n l"], end_id: int) -> Int[Tensor, " n"]:
    """Return the index of the first end of text of each row, whatever it is padded with."""
    return (ids == end_id).int().argmax(dim=-1)


def encode_words(
    encoder: "T5EncoderModel", tokenizer: Tokenizer, texts: Sequence[str], length: int
) -> Float[Tensor, "n l w"]:
    """Return T5's states of plain texts, padded to a length without a mask; longer ones are cut."""
    ids = tokenizer(
        list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return encoder(ids.to(encoder.get_input_embeddings().weight.device))[0]
