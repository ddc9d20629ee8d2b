"""Tokens by inversion, for queries that are drawn from and have none."""

from dataclasses import replace

import torch

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.prompt import build_prompts
from composer.strategies.inversion import InversionSettings, invert
from composer.strategies.reference import PLAIN_PROMPT

# As many tokens as a duet has keep more of a reference than one.
SETTINGS = InversionSettings(num_tokens=4)


def with_tokens(
    backbone: Backbone, query: ComposedQuery, settings: InversionSettings = SETTINGS
) -> ComposedQuery:
    """Return a query with tokens to generate from; unchanged where it has them.

    Composers without tokens leave them out in a kit without a converter, so that searching stays
    cheap. Here the feature of the reference is inverted to tokens; the words follow them.

    Args:
        backbone: The CLIP that the query was composed with for drawing.
        query: Any composed query.
        settings: How to search for the tokens.

    Raises:
        ValueError: The context has no room for that many tokens.
    """
    drawn = query.drawing_feature
    reference = query.reference_feature if drawn is None else drawn
    if not query.missing_tokens or reference is None:
        return query
    inversion = invert(backbone, reference[None], settings)
    prompts = build_prompts(backbone, PLAIN_PROMPT, inversion.tokens[0], query.text)
    embeddings = torch.cat([prompt.token_embeddings for prompt in prompts])
    return replace(
        query,
        pseudo_tokens=inversion.tokens[0],
        prompt_embeddings=embeddings,
        end_position=prompts[0].end_position,
        pseudo_positions=prompts[0].pseudo_positions,
        missing_tokens="",
        added=backbone.used_words(query.text, embeddings),
    )
