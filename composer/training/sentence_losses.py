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
    """Return `1 - cos` of each reference to its caption, or to the nearest of a bank.

    Args:
        sentences: Unit text features of the pseudo-words.
        captions: Unit text features of the captions; rows without a caption may hold anything
            finite.
        has_caption: Which of the rows have one.
        bank: Unit text features of other captions; None or no rows for none.

    Returns:
        The mean over the rows with a caption or a bank; zero where there are none.

    Source: docs/papers.md, equation (22), a reconstruction.
    """
    to_caption = distance(sentences, captions)
    if bank is None or len(bank) == 0:
        return torch.where(has_caption, to_caption, 0.0).sum() / has_caption.sum().clamp(min=1)
    nearest = 1 - (sentences @ bank.T).amax(dim=1)
    return torch.where(has_caption, to_caption, nearest).mean()


def token_spread(tokens: Float[Tensor, "n l w"]) -> Float[Tensor, ""]:
    """Return the mean cosine of different tokens of one reference: 1 where they have collapsed.

    A single token gives zero.

    Source: docs/papers.md, equation (23).
    """
    count = tokens.shape[1]
    units = functional.normalize(tokens, dim=-1)
    cosines = units @ units.mT  # n l l
    others = cosines.sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return others.mean() / max(count * (count - 1), 1)
