"""Losses of the composers, as pure functions of unit features.

Throughout, the distance of two unit vectors is `d(a, b) = 1 - cos(a, b)`.

Source: docs/papers.md, sections 1 and 4, which say what is a reconstruction.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Mining = Literal["hardest", "all"]


def weighted_sum(terms: Mapping[str, Float[Tensor, ""]], weights: object) -> Float[Tensor, ""]:
    """Return the loss: every term times the weight that has its name."""
    values = [getattr(weights, name) * value for name, value in terms.items()]
    return torch.stack(values).sum()


def distance(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return `1 - cos` of paired unit vectors, in [0, 2]."""
    return 1 - (a * b).sum(dim=-1)


def triplet(
    to_positive: Float[Tensor, " n"],
    to_negatives: Float[Tensor, "n m"],
    is_negative: Bool[Tensor, "n m"],
    *,
    margin: float,
    mining: Mining = "hardest",
) -> Float[Tensor, ""]:
    """Return `L_trip = max(0, m + d(q, p+) - d(q, p-))` over a batch.

    Args:
        to_positive: d(q, p+) of each query.
        to_negatives: d(q, p) of each query to m candidates.
        is_negative: Which of the candidates are negatives of which query; a query without any
            costs nothing.
        margin: m.
        mining: "hardest" takes each query's nearest negative, "all" the mean over its negatives.

    Source: docs/papers.md, equation (4), a reconstruction.
    """
    hinge = functional.relu(margin + to_positive.unsqueeze(1) - to_negatives)
    hinge = hinge.masked_fill(~is_negative, 0.0)
    if mining == "hardest":
        return hinge.amax(dim=1).mean()
    return (hinge.sum(dim=1) / is_negative.sum(dim=1).clamp(min=1)).mean()


def pool_regions(
    query: Float[Tensor, "n d"], regions: Float[Tensor, "m p d"], *, temperature: float
) -> Float[Tensor, "n m d"]:
    """Return region-aware features: the regions of each image, weighted by each query.

    The weights are a softmax of the cosines over the regions; the result has unit length.

    Source: docs/papers.md, equation (5), a reconstruction.
    """
    cosines = torch.einsum("nd,mpd->nmp", query, regions)
    pooled = torch.einsum("nmp,mpd->nmd", (cosines / temperature).softmax(dim=-1), regions)
    return functional.normalize(pooled, dim=-1)


def region_triplet(
    query: Float[Tensor, "n d"],
    regions: Float[Tensor, "n p d"],
    is_negative: Bool[Tensor, "n n"],
    *,
    margin: float,
    temperature: float = 0.1,
    mining: Mining = "hardest",
) -> Float[Tensor, ""]:
    """Return `L_RT`: the triplet loss on region-aware features, negatives from the batch.

    Args:
        query: One query per row.
        regions: Projected patch features of each row's positive photo.
        is_negative: Whether the photo of column j is a negative of query i.
        margin: m of the triplet.
        temperature: Of the softmax over the regions.
        mining: As in `triplet`.

    Source: docs/papers.md, equation (5), a reconstruction.
    """
    pooled = pool_regions(query, regions, temperature=temperature)  # n n d
    distances = 1 - torch.einsum("nd,nmd->nm", query, pooled)
    return triplet(distances.diagonal(), distances, is_negative, margin=margin, mining=mining)


def compositionality(
    query_to_photo: Float[Tensor, " n"],
    completed_to_photo: Float[Tensor, " n"],
    *,
    margin: float,
) -> Float[Tensor, ""]:
    """Return `L_comp = max(0, m_c + d(q_delta, p+) - d(q, p+))`: the missing text brings q nearer.

    Source: docs/papers.md, equation (6), a reconstruction.
    """
    return functional.relu(margin + completed_to_photo - query_to_photo).mean()


def neutrality(
    query_to_photo: Float[Tensor, " n"], neutral_to_photo: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return `L_reg = |d(q, p+) - d(q_N, p+)|`: a phrase without content must not change the query.

    Source: docs/papers.md, equation (7), a reconstruction.
    """
    return (query_to_photo - neutral_to_photo).abs().mean()


def text_to_text(
    query: Float[Tensor, "n d"], hand_prompted: Float[Tensor, "n d"]
) -> Float[Tensor, ""]:
    """Return `L_TT = d(q, q_F)`: the learned prompt stays near hand-written ones.

    Source: docs/papers.md, equation (8), a reconstruction.
    """
    return distance(query, hand_prompted).mean()


def multi_positive_nce(
    similarities: Float[Tensor, "n m"],
    is_positive: Bool[Tensor, "n m"],
    is_ignored: Bool[Tensor, "n m"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the cross entropy of a softmax over all candidates, targets uniform on the positives.

    Args:
        similarities: Cosines of n queries to m candidates.
        is_positive: Right answers; a query without any contributes nothing.
        is_ignored: Candidates left out of the softmax, neither right nor wrong.
        temperature: Divides the cosines.

    Source: ours; the paper has triplets only.
    """
    logits = (similarities / temperature).masked_fill(is_ignored & ~is_positive, -torch.inf)
    log_shares = logits.log_softmax(dim=1).masked_fill(~is_positive, 0.0)
    num_positives = is_positive.sum(dim=1)
    has_any = num_positives > 0
    losses = -log_shares.sum(dim=1) / num_positives.clamp(min=1)
    return losses.sum() / has_any.sum().clamp(min=1)


def in_batch_nce(
    vectors: Float[Tensor, "n d"],
    targets: Float[Tensor, "n d"],
    negatives: Float[Tensor, "m d"] | None = None,
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the InfoNCE of unit vectors and their targets; other rows' targets are wrong answers.

    Args:
        vectors: Unit vectors.
        targets: Their right answers, row by row.
        negatives: Further wrong answers; None for none.
        temperature: Divides the cosines.

    Source: docs/papers.md, equation (21).
    """
    candidates = targets if negatives is None else torch.cat([targets, negatives])
    right = torch.arange(len(vectors), device=vectors.device)
    return functional.cross_entropy(vectors @ candidates.T / temperature, right)
