"""How a composer behaves, beside what it finds: do words without content move it, do tokens differ.

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
    """One line; cosines in [-1, 1], distances are one minus the cosine.

    Attributes:
        composer: Which.
        num_sketches: Drawings that were asked about.
        moved_by_neutral: Mean distance that words without content move the reference's feature.
        moved_by_words: The same of words with content.
        token_cosine: Mean cosine between the tokens of two different drawings, place by place;
            1 means that all drawings have the same tokens. None where there are no tokens.
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
    """Measure on drawings; each takes the neutral phrase and the words of its own place.

    Args:
        composer: Any composer.
        sketches: At least two drawings.
        neutral: Phrases without content, used in turn.
        words: Phrases with content, used in turn.

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
    """Mean distance between reference alone and reference with a text."""
    gaps: list[Tensor] = []
    for number, reference in enumerate(encoded):
        query: ComposedQuery = composer.compose(reference, texts[number % len(texts)])
        assert query.reference_feature is not None
        gaps.append(1 - query.both_feature @ query.reference_feature)
    return float(torch.stack(gaps).mean())


def _token_cosine(encoded: Sequence[EncodedReference]) -> float | None:
    found = [reference.pseudo_tokens for reference in encoded]
    tokens = [t for t in found if t is not None]
    if len(tokens) < len(found):
        return None
    unit = torch.nn.functional.normalize(torch.stack(tokens).float(), dim=-1)  # q n w
    cosines = torch.einsum("inw,jnw->ij", unit, unit) / unit.shape[1]
    count = len(unit)
    return float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
