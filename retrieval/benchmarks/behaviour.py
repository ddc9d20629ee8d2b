"""Behaviour of a composer: effect of words without content, and diversity of tokens.

Source: docs/papers.md, equation (7) and the trap of section 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, EncodedReference, encode_all


@dataclass(frozen=True, kw_only=True, slots=True)
class BehaviourRow:
    """Row of the table; cosines in [-1, 1], distances are one minus the cosine.

    Attributes:
        composer: Name of the composer.
        num_sketches: Number of drawings.
        moved_by_neutral: Mean distance that words without content move the reference's feature.
        moved_by_words: The same for words with content.
        token_cosine: Mean cosine between tokens of two different drawings at equal positions; 1 if
            all drawings have the same tokens. None without tokens.
    """

    composer: str
    num_sketches: int
    moved_by_neutral: float
    moved_by_words: float
    token_cosine: float | None


@torch.inference_mode()
def behaviour_row(
    composer: Composer, sketches: Sequence[Sketch], neutral: Sequence[str], words: Sequence[str]
) -> BehaviourRow:
    """Measure a composer on drawings, each with the phrases at its position.

    Args:
        composer: Any composer.
        sketches: At least two drawings.
        neutral: Phrases without content, used cyclically.
        words: Phrases with content, used cyclically.

    Raises:
        ValueError: There are fewer than two drawings.
    """
    if len(sketches) < 2:
        raise ValueError(f"At least two drawings are needed, got {len(sketches)}.")
    encoded = list(encode_all(composer, (Query(sketch=sketch) for sketch in sketches)))
    return BehaviourRow(
        composer=composer.name,
        num_sketches=len(sketches),
        moved_by_neutral=_moved(composer, encoded, neutral),
        moved_by_words=_moved(composer, encoded, words),
        token_cosine=_token_cosine(encoded),
    )


def _moved(composer: Composer, encoded: Sequence[EncodedReference], texts: Sequence[str]) -> float:
    """Return the mean distance between a reference alone and with a text."""
    gaps: list[Tensor] = []
    for number, reference in enumerate(encoded):
        query: ComposedQuery = composer.compose(reference, texts[number % len(texts)])
        assert query.reference_feature is not None
        gaps.append(1 - query.both_feature @ query.reference_feature)
    return float(torch.stack(gaps).mean())


def _token_cosine(encoded: Sequence[EncodedReference]) -> float | None:
    tokens = [r.pseudo_tokens for r in encoded if r.pseudo_tokens is not None]
    if len(tokens) < len(encoded):
        return None
    unit = torch.nn.functional.normalize(torch.stack(tokens).float(), dim=-1)  # q n w
    cosines = torch.einsum("inw,jnw->ij", unit, unit) / unit.shape[1]
    count = len(unit)
    return float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
