"""What a person does to a ranking: more like this, less like that, not so many alike."""

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
    """Move a query's feature towards the mean of what was liked and away from the unliked's.

    Source: Rocchio, Relevance feedback in information retrieval, 1971, with the query's own weight
    at 1 and all vectors of unit length.

    Args:
        feature: Unit vector.
        liked: Unit vectors; none are allowed.
        unliked: Unit vectors; none are allowed.

    Returns:
        A unit vector; the query's own where there is no feedback.
    """
    found = feature.float()
    if len(liked):
        found = found + LIKED_WEIGHT * liked.float().mean(dim=0)
    if len(unliked):
        found = found - UNLIKED_WEIGHT * unliked.float().mean(dim=0)
    return functional.normalize(found, dim=0)


def diverse_order(
    scores: Float[Tensor, " n"], vectors: Float[Tensor, "n d"], diversity: float
) -> Int[Tensor, " n"]:
    """Order items so that each is good and unlike those before it.

    Source: Carbonell and Goldstein, The use of MMR, 1998: the next item has the largest
    `(1 - diversity) * score - diversity * its largest cosine with those already chosen`.

    Args:
        scores: Of a short-list, on the scale of cosines.
        vectors: Unit vectors of its items.
        diversity: 0 is the order of the scores, 1 looks at nothing but the likeness.

    Raises:
        InputError: `diversity` is not in [0, 1].
    """
    if not 0 <= diversity <= 1:
        raise InputError(f"`diversity` must be between 0 and 1, got {diversity:g}.")
    if diversity == 0 or len(scores) == 0:
        return scores.argsort(descending=True, stable=True)
    unit = vectors.float()
    nearest = torch.full_like(scores, -1.0)  # cosine with what is chosen so far
    left = torch.ones_like(scores, dtype=torch.bool)
    order: list[int] = []
    for _ in range(len(scores)):
        worth = (1 - diversity) * scores - diversity * nearest
        best = int((worth if order else scores).masked_fill(~left, -torch.inf).argmax())
        order.append(best)
        left[best] = False
        nearest = torch.maximum(nearest, unit @ unit[best])
    return torch.tensor(order)
