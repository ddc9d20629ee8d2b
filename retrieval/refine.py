"""Refinement of a ranking by feedback and diversity."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.errors import InputError

LIKED_WEIGHT = 0.5
UNLIKED_WEIGHT = 0.25


def moved_by_feedback(
    feature: Float[Tensor, " d"],
    liked: Float[Tensor, "n d"],
    unliked: Float[Tensor, "m d"],
) -> Float[Tensor, " d"]:
    """Move a query's feature towards the mean of liked items and away from that of unliked ones.

    Source: Rocchio, Relevance feedback in information retrieval, 1971, with the query's own weight
    at 1 and all vectors of unit length.

    Args:
        feature: Unit vector.
        liked: Unit vectors; may be empty.
        unliked: Unit vectors; may be empty.

    Returns:
        A unit vector; the query's feature if there is no feedback.
    """
    return functional.normalize(feature.float() + feedback_shift(liked, unliked), dim=0)


def feedback_shift(
    liked: Float[Tensor, "n d"], unliked: Float[Tensor, "m d"]
) -> Float[Tensor, " d"]:
    """Return what feedback adds to a query's vector of length one; zeros without feedback."""
    shift = liked.new_zeros(liked.shape[1], dtype=torch.float32)
    if len(liked):
        shift = shift + LIKED_WEIGHT * liked.float().mean(dim=0)
    if len(unliked):
        shift = shift - UNLIKED_WEIGHT * unliked.float().mean(dim=0)
    return shift


def averaged_with_pictures(
    feature: Float[Tensor, " d"], pictures: Float[Tensor, "n d"]
) -> Float[Tensor, " d"]:
    """Average a query's feature with the mean of pictures that were imagined for it.

    The mean counts by its length, which is 1 where the pictures agree and less where they do not.

    Args:
        feature: Unit vector.
        pictures: Unit vectors, at least one.

    Returns:
        A unit vector.
    """
    mean = pictures.float().mean(dim=0)
    return functional.normalize(feature.float() + mean.to(feature.device), dim=0)


def diverse_order(
    scores: Float[Tensor, " n"], vectors: Float[Tensor, "n d"], diversity: float
) -> Int[Tensor, " n"]:
    """Order items by score and by dissimilarity to those before them.

    Source: Carbonell and Goldstein, The use of MMR, 1998: the next item has the largest
    `(1 - diversity) * score - diversity * its largest cosine with the items already chosen`.

    Args:
        scores: Scores of a short-list, on the scale of cosines.
        vectors: Unit vectors of its items.
        diversity: 0 orders by score, 1 by dissimilarity only.

    Raises:
        InputError: `diversity` is not in [0, 1].
    """
    if not 0 <= diversity <= 1:
        raise InputError(f"`diversity` must be between 0 and 1, got {diversity:g}.")
    if diversity == 0 or len(scores) == 0:
        return scores.argsort(descending=True, stable=True)
    unit = vectors.float()
    nearest = torch.full_like(scores, -1.0)  # cosine with the items chosen so far
    is_left = torch.ones_like(scores, dtype=torch.bool)
    order: list[int] = []
    for _ in range(len(scores)):
        worth = (1 - diversity) * scores - diversity * nearest
        best = int((worth if order else scores).masked_fill(~is_left, -torch.inf).argmax())
        order.append(best)
        is_left[best] = False
        nearest = torch.maximum(nearest, unit @ unit[best])
    return torch.tensor(order)
