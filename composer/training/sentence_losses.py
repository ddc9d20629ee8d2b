"""Losses of the sentence composer, as pure functions.

Source: docs/papers.md, section 4.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from composer.training.losses import distance


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

    Source: docs/papers.md, equation (22), a reconstruction.
    """
    own = distance(sentences, captions)
    if bank is None or len(bank) == 0:
        return torch.where(has_caption, own, 0.0).sum() / has_caption.sum().clamp(min=1)
    nearest = 1 - (sentences @ bank.T).amax(dim=1)
    return torch.where(has_caption, own, nearest).mean()


def token_spread(tokens: Float[Tensor, "n l w"]) -> Float[Tensor, ""]:
    """Mean cosine of two different tokens of one sentence: 1 where they have collapsed.

    A single token has no other and gives zero.

    Source: docs/papers.md, equation (23).
    """
    count = tokens.shape[1]
    units = functional.normalize(tokens, dim=-1)
    cosines = units @ units.mT  # n l l
    others = cosines.sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return others.mean() / max(count * (count - 1), 1)
