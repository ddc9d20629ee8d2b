"""Losses of the sentence composer, as pure functions.

Source: papers.md 4 names the losses; the formulas are reconstructions and say so.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from composer.training.losses import distance


def global_distillation(
    sentences: Float[Tensor, "n d"],
    images: Float[Tensor, "n d"],
    extra: Float[Tensor, "m d"] | None = None,
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of each sentence with the large encoder's feature of its own image.

    Args:
        sentences: Unit text features of the pseudo-words.
        images: Cached unit image features, row by row; the other rows are negatives, so a batch
            should not hold an image twice.
        extra: Further negatives, such as features of earlier batches; None for none.
        temperature: Divides the cosines.

    Source: papers.md 4, global contrastive distillation, from sentence to image.
    """
    candidates = images if extra is None else torch.cat([images, extra])
    own = torch.arange(len(sentences), device=sentences.device)
    return functional.cross_entropy(sentences @ candidates.T / temperature, own)


def local_alignment(
    sentences: Float[Tensor, "n d"],
    captions: Float[Tensor, "n d"],
    has_caption: Bool[Tensor, " n"],
    bank: Float[Tensor, "m d"] | None = None,
) -> Float[Tensor, ""]:
    """Keeps a sentence near a real caption: `1 - cos` to its own, or to the nearest of a bank.

    Args:
        sentences: Unit text features of the pseudo-words.
        captions: Unit text features of the captions; rows without a caption may hold anything
            finite.
        has_caption: Which of the rows have one.
        bank: Unit text features of other captions; None or no rows for none.

    Returns:
        The mean over the rows that have something to be near to; zero where none has.

    Source: papers.md 4, local alignment regularisation (reconstruction).
    """
    own = distance(sentences, captions)
    if bank is None or len(bank) == 0:
        return torch.where(has_caption, own, 0.0).sum() / has_caption.sum().clamp(min=1)
    nearest = 1 - (sentences @ bank.T).amax(dim=1)
    return torch.where(has_caption, own, nearest).mean()


def token_spread(tokens: Float[Tensor, "n l w"]) -> Float[Tensor, ""]:
    """Mean cosine of two different tokens of one sentence: 1 where they have collapsed.

    A single token has no other and gives zero.

    Source: papers.md 4, the guard against collapse.
    """
    count = tokens.shape[1]
    units = functional.normalize(tokens, dim=-1)
    cosines = units @ units.mT  # n l l
    others = cosines.sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return others.mean() / max(count * (count - 1), 1)
