"""Layouts: how a picture is laid out, as one vector, to order a short-list once more.

Patch features are brought to 8 x 8 regions and centred by their own mean. What a picture has in
every place, as being a drawing or in a dim light, is thereby gone; what stays says where things
are, and in that drawings and photos agree. Each region is then projected to 16 numbers, and the
whole map is one unit vector, so that the likeness of two layouts is a single cosine.

The projection is of random signs, others in each region, and follows from the width of the joint
space alone: cosines are kept on average, and no file has to be. Axes along which pictures vary most
kept as much, and would tie an index to the pictures they were found with.

On validation, 8 x 8 regions of 16 dimensions beat 4 x 4 of 64, and centring was worth more than the
grid. The query's feature, or that of its words, against single regions gained next to nothing.

A kit with a convolutional trunk may have learned layouts instead (`composer.media`): 4 x 4 cells of
64 numbers, each medium with its own projection, as long and compared in the same way.

Source: the region-aware features of docs/papers.md, equation (5); grid, centring and projection are
ours.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

GRID = 8
REGION_DIM = 16
NUM_CODES = GRID * GRID * REGION_DIM
SHORT_LIST = 100
REGION_WEIGHT = 0.3
_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearnedLayout:
    """A reference's layout where the kit has learned layouts.

    Attributes:
        vector: A unit vector of 1,024 numbers.
        weight: Its share in the mixture with the feature, in [0, 1].
    """

    vector: Float[Tensor, " c"]
    weight: float


@cache
def region_projection(joint_dim: int) -> Float[Tensor, "r d k"]:
    """Make the signs that project each region's feature; the same for every gallery."""
    generator = torch.Generator().manual_seed(_SEED)
    size = (GRID * GRID, joint_dim, REGION_DIM)
    # It is kept: made within a search, it must serve a training later in the same process.
    with torch.inference_mode(mode=False):
        return torch.randint(0, 2, size, generator=generator).float() * 2 - 1


def region_maps(
    patch_features: Float[Tensor, "n p d"], projection: Float[Tensor, "r w k"]
) -> Float[Tensor, "n c"]:
    """Lay pictures out: unit vectors of 1,024 numbers, region by region of the 8 x 8 grid.

    They are of float32 under autocast too.

    Args:
        patch_features: Unit vectors, row by row of a square grid of any size.
        projection: What `region_projection` makes for their width.

    Raises:
        ValueError: The patches do not fill a square, or have another width.
    """
    count, num_patches, dim = patch_features.shape
    side = math.isqrt(num_patches)
    if num_patches == 0 or side * side != num_patches:
        raise ValueError(f"The patches of a picture must fill a square grid, got {num_patches}.")
    if dim != projection.shape[1]:
        raise ValueError(
            f"Patch features must have the gallery's width ({projection.shape[1]}), got {dim}."
        )
    grid = patch_features.float().transpose(1, 2).unflatten(2, (side, side))  # n d side side
    regions = functional.adaptive_avg_pool2d(grid, GRID).flatten(2).transpose(1, 2)  # n r d
    centred = regions - regions.mean(dim=1, keepdim=True)
    projected = torch.einsum("nrd,rdk->nrk", centred, projection.to(centred))
    return functional.normalize(projected.reshape(count, NUM_CODES).float(), dim=-1)


def blend(
    similarities: Float[Tensor, " n"], regions: Float[Tensor, " n"], weight: float
) -> Float[Tensor, " n"]:
    """Mix the similarities of a short-list with its region scores, on the scale of the former.

    Region scores are first given the mean and the spread of the similarities, so that the weight
    means the same for every composer. Where all region scores are equal they change nothing.

    Args:
        similarities: Cosines of the pooled features.
        regions: What `region_scores` gives for the same items.
        weight: Share of the regions, in [0, 1].
    """
    spread = regions.std(correction=0)
    if spread < 1e-6:
        return similarities
    scale = similarities.std(correction=0) / spread
    moved = (regions - regions.mean()) * scale + similarities.mean()
    return (1 - weight) * similarities + weight * moved
