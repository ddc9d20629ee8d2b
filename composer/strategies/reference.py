"""Functions shared by composers: pixels of a reference, prompts, the composed query."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery, interpolate
from composer.errors import InputError
from composer.layout import LearnedLayout
from composer.medium import Medium
from composer.prompt import (
    Prompt,
    build_prompt,
    build_prompts,
    mean_of_parts,
    num_beside,
    stack_prompts,
    text_parts,
)
from composer.query import Query
from composer.sketch import rasterise
from composer.strategies.protocol import Composer, EncodedPhoto, EncodedReference
from composer.vision import ImageEncoding

PLAIN_PROMPT = "a photo of"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComposedFeatures:
    """Features and prompt of one composed query.

    Attributes:
        both: Unit feature of the composed query; the reference or the words where one is missing.
        reference: Unit feature of the reference alone.
        words: Unit feature of the words alone.
        prompts: The spliced prompt, and prompts of the words that it has no room for; none where
            `missing_tokens` says why.
        missing_tokens: One sentence; empty where there is a prompt.
    """

    both: Float[Tensor, " d"]
    reference: Float[Tensor, " d"] | None
    words: Float[Tensor, " d"] | None
    prompts: tuple[Prompt, ...]
    missing_tokens: str = ""


def reference_pixels(backbone: Backbone, query: Query) -> Float[Tensor, "1 3 h w"] | None:
    """Return preprocessed pixels of a query's reference; None where it has none.

    Sketches are drawn as ink on white, framed by `rasterise` at the backbone's size.
    """
    if query.sketch is not None:
        ink = torch.from_numpy(rasterise(query.sketch, backbone.image_size_px).copy())
        return backbone.normalise_pixels(ink.unsqueeze(-1).expand(-1, -1, 3)[None].numpy())
    if query.image is not None:
        return backbone.preprocess([query.image])
    return None


def reference_medium(query: Query) -> Medium:
    """Return what the encoder should take a query's reference for."""
    return Medium.PHOTO if query.sketch is None else Medium.DRAWING


def learned_layout(backbone: Backbone, seen: ImageEncoding) -> LearnedLayout | None:
    """Return the layout of one encoded reference, if the kit has learned layouts."""
    if seen.cells is None:
        return None
    weight = backbone.layout_weight(seen.medium)
    return LearnedLayout(vector=backbone.layouts(seen)[0], weight=weight)


def photo_of(
    backbone: Backbone, query: Query, pixels: Float[Tensor, "1 3 h w"]
) -> EncodedPhoto | None:
    """Encode the photo of a query as the gallery's pictures are; None for a drawing.

    Costs one pass of the frozen tower.
    """
    if query.image is None:
        return None
    return photo_as_seen(backbone, backbone.encode_image(pixels, Medium.PHOTO))


def photo_as_seen(backbone: Backbone, seen: ImageEncoding) -> EncodedPhoto | None:
    """Return one picture that the frozen tower has encoded; None for a drawing."""
    if seen.medium is not Medium.PHOTO:
        return None
    return EncodedPhoto(
        feature=seen.features[0],
        patch_features=seen.patch_features[0],
        layout=learned_layout(backbone, seen),
    )


def plain_prompt(backbone: Backbone, text: str) -> str:
    """Return what is put before words alone: nothing where their first brings a prompt with it."""
    return "" if backbone.opens_prompt(text) else PLAIN_PROMPT


def encode_words(backbone: Backbone, text: str) -> Float[Tensor, " d"]:
    """Return the unit text feature of "a photo of" and words of any length."""
    parts = text_parts(backbone, text, num_beside(backbone, PLAIN_PROMPT, None))
    features = backbone.encode_text(
        [f"{plain_prompt(backbone, part.text)} {part.text}" for part in parts]
    )
    return mean_of_parts(parts, list(features))


def encode_prompts(backbone: Backbone, prompts: list[Prompt]) -> list[Float[Tensor, " d"]]:
    """Return unit text features of several prompts, in one batch."""
    batch = stack_prompts(prompts)
    return list(backbone.encode_embeddings(batch.embeddings, batch.end_positions).features)


def composed_query(
    composer: Composer,
    encoded: EncodedReference,
    parts: ComposedFeatures,
    *,
    text: str,
    balance: float,
) -> ComposedQuery:
    """Make a composed query of its features and prompt.

    A photo alone searches by itself: its tokens are for drawing only.

    Raises:
        InputError: `balance` is not in [0, 1].
    """
    backbone, prompts, photo = composer.backbone, parts.prompts, encoded.photo
    patches, layout = encoded.patch_features, encoded.layout
    if photo is not None:
        parts = replace(parts, reference=photo.feature)
        if parts.words is None:
            parts = replace(parts, both=photo.feature)
            patches, layout = photo.patch_features, photo.layout
    no_tokens = backbone.token_table().new_zeros(0, backbone.token_width)
    prompt = torch.cat([one.token_embeddings for one in prompts]) if prompts else no_tokens
    return ComposedQuery(
        pseudo_tokens=no_tokens if encoded.pseudo_tokens is None else encoded.pseudo_tokens,
        prompt_embeddings=prompt,
        end_position=prompts[0].end_position if prompts else 0,
        pseudo_positions=prompts[0].pseudo_positions if prompts else (),
        feature=interpolate(parts.both, parts.reference, parts.words, balance),
        both_feature=parts.both,
        reference_feature=parts.reference,
        words_feature=parts.words,
        patch_features=patches,
        layout=layout,
        balance=float(balance),
        composer=composer.name,
        text=text,
        gallery_hash=backbone.gallery_hash,
        text_hash=backbone.text_hash,
        missing_tokens=parts.missing_tokens,
        added=backbone.used_words(text, prompt),
    )


def compose_features(
    composer: Composer,
    encoded: EncodedReference,
    text: str,
    balance: float,
    *,
    mix: Callable[[Float[Tensor, " d"], Float[Tensor, " d"]], Float[Tensor, " d"]],
    move_words: Callable[[Float[Tensor, " d"]], Float[Tensor, " d"]] | None = None,
) -> ComposedQuery:
    """Compose by a mixture of two features: the reference's and that of the words.

    The prompt to draw with is "a photo of", the reference's tokens, and the words.

    Args:
        composer: The composer.
        encoded: The reference, if there is one.
        text: The words, if there are any.
        balance: As in `Composer.compose`.
        mix: Makes the feature of both from those of reference and words.
        move_words: Applied to the text feature first; None for nothing.

    Raises:
        InputError: There is neither a reference nor a word, or `balance` is not in [0, 1].
    """
    backbone, reference = composer.backbone, encoded.image_feature
    has_words = bool(backbone.word_ids(text))
    if reference is None and not has_words:
        raise InputError("The query is empty; draw something or write a few words.")
    words = None
    if has_words:
        words = encode_words(backbone, text)
        words = words if move_words is None else move_words(words)
    both = reference if words is None else words
    if reference is not None and words is not None:
        both = mix(reference, words)
    assert both is not None
    has_tokens = backbone.has_tokens and (reference is None or encoded.pseudo_tokens is not None)
    parts = ComposedFeatures(
        both=both,
        reference=reference,
        words=words,
        prompts=build_prompts(
            backbone,
            plain_prompt(backbone, text) if reference is None else PLAIN_PROMPT,
            encoded.pseudo_tokens,
            text,
        )
        if has_tokens
        else (),
        missing_tokens="" if has_tokens else _no_tokens(composer.name),
    )
    return composed_query(composer, encoded, parts, text=text, balance=balance)


def compose_tokens(
    composer: Composer,
    encoded: EncodedReference,
    text: str,
    balance: float,
    *,
    prefix: Float[Tensor, "k w"] | str = PLAIN_PROMPT,
    residual: float = 0.0,
    residual_alone: float = 0.0,
    words_share: float = 0.0,
) -> ComposedQuery:
    """Compose by reading prompts: `[prefix; tokens; words]`, and each side alone.

    The prompt of the words alone begins with "a photo of".

    Args:
        composer: The composer.
        encoded: The reference, if there is one.
        text: The words, if there are any.
        balance: As in `Composer.compose`.
        prefix: What precedes the tokens.
        residual: Share of the reference's image feature that is added to the text feature of both.
        residual_alone: The same for the reference alone.
        words_share: Share of the feature of the words alone that is added to that of both.

    Raises:
        InputError: There is neither a reference nor a word, or `balance` is not in [0, 1].
    """
    backbone, tokens = composer.backbone, encoded.pseudo_tokens
    has_words = bool(backbone.word_ids(text))
    if tokens is None and not has_words:
        raise InputError("The query is empty; draw something or write a few words.")
    start = plain_prompt(backbone, text) if tokens is None else prefix
    texts = text_parts(backbone, text, num_beside(backbone, start, tokens))
    words = [
        build_prompt(backbone, plain_prompt(backbone, part.text), None, part.text) for part in texts
    ]
    if tokens is None:
        prompts = words
    else:
        prompts = [build_prompt(backbone, prefix, tokens, part.text) for part in texts]
        if has_words:
            prompts += [build_prompt(backbone, prefix, tokens, ""), *words]
    encoded_prompts = encode_prompts(backbone, prompts)
    num_parts = len(texts)
    features = [mean_of_parts(texts, encoded_prompts[:num_parts])]
    if tokens is not None and has_words:
        features += [encoded_prompts[num_parts], mean_of_parts(texts, encoded_prompts[-num_parts:])]
    image_feature = encoded.image_feature
    if tokens is not None and image_feature is not None:
        if has_words:
            both, alone, said = features
            features[0] = complete(both + words_share * said, image_feature, residual)
            features[1] = complete(alone, image_feature, residual_alone)
        else:
            features[0] = complete(features[0], image_feature, residual_alone)
    parts = ComposedFeatures(
        both=features[0],
        reference=None if tokens is None else features[min(1, len(features) - 1)],
        words=features[-1] if has_words else None,
        prompts=build_prompts(backbone, start, tokens, text),
    )
    return composed_query(composer, encoded, parts, text=text, balance=balance)


def complete(
    prompts: Float[Tensor, "*n d"], references: Float[Tensor, "*#n d"], residual: float
) -> Float[Tensor, "*n d"]:
    """Add the references' image features to the text features of their prompts; unit vectors.

    A text tower trained on captions partly loses what captions do not describe, such as the exact
    outline. Generation uses the tokens alone.
    """
    return functional.normalize(prompts + residual * references, dim=-1)


def _no_tokens(name: str) -> str:
    return (
        f"The {name} composer makes no tokens in a kit without a converter, so this query can "
        "search but not generate; compute its tokens first, which takes seconds (`with_tokens`)."
    )
