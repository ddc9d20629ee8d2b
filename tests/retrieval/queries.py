"""Composed queries made by hand."""

import torch

from composer.composed import ComposedQuery


def query_of(feature, patch_features, words=None):
    """Return a query with a feature, patch features (or None) and a feature of words (or None)."""
    return ComposedQuery(
        pseudo_tokens=torch.zeros(0, 4),
        prompt_embeddings=torch.zeros(0, 4),
        end_position=0,
        pseudo_positions=(),
        feature=feature,
        both_feature=feature,
        reference_feature=None if patch_features is None else feature,
        words_feature=words,
        patch_features=patch_features,
        balance=0.5,
        composer="by hand",
        text="" if words is None else "words",
        gallery_hash="tower",
        text_hash="text",
        missing_tokens="It was made by hand.",
    )


def features_of(queries):
    """Return the features of queries, one per row."""
    return torch.stack([query.feature for query in queries])
