"""A joint space for a frozen trunk in closed form: means by medium and principal axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.data.encoder_sets import Part
from composer.medium import Medium
from composer.training.trunk_features import TrunkFeatures

WHITENING = 0.25
MAX_OF_A_SET = 2_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Space:
    """Where training starts.

    Attributes:
        means: Mean pooled feature of each medium.
        axes: Principal axes of the centred features, whitened a little.
        scale: Deviation of the centred features; divides them before the axes.
    """

    means: Mapping[Medium, Float[Tensor, " w"]]
    axes: Float[Tensor, "w d"]
    scale: float


def fit_space(
    sets: Mapping[str, TrunkFeatures],
    joint_dim: int,
    further: Sequence[Float[Tensor, "n w"]] = (),
) -> Space:
    """Find means and axes of what may be trained on.

    Every set counts the same for the mean of its medium. The axes are those of photos, of at most
    `MAX_OF_A_SET` a set: what a drawing has beside them, no photo can match.

    Args:
        sets: What a trunk saw, by name.
        joint_dim: Number of axes.
        further: Pooled features of further sets of pictures that count as photos, so that the space
            has room for what neither drawings nor their photos show.
    """
    parts = (features.of(Part.TRAIN, plain=True) for features in sets.values())
    train = [part for part in parts if part.classes]
    pooled = {
        Medium.PHOTO: [s.pooled for s in train if s.medium is Medium.PHOTO] + list(further),
        Medium.DRAWING: [s.pooled for s in train if s.medium is Medium.DRAWING],
    }
    means = {
        m: torch.stack([p.mean(dim=0) for p in each]).mean(dim=0) for m, each in pooled.items()
    }
    photos = [_thinned(p) - means[Medium.PHOTO] for p in pooled[Medium.PHOTO]]
    centred = torch.cat(photos)
    scale = float(centred.std())
    axes = principal_axes(centred / scale, joint_dim, WHITENING)
    return Space(means=means, axes=axes, scale=scale)


def _thinned(pooled: Float[Tensor, "n w"]) -> Float[Tensor, "m w"]:
    """Keep at most `MAX_OF_A_SET` rows, evenly spread."""
    return pooled[:: max(1, -(-len(pooled) // MAX_OF_A_SET))]


def principal_axes(
    centred: Float[Tensor, "n w"], num_axes: int, whitening: float
) -> Float[Tensor, "w d"]:
    """Return the directions of most variance, each shortened by its deviation to a power.

    Args:
        centred: Vectors whose mean is taken off already.
        num_axes: At most as many as the width.
        whitening: 0 keeps the directions orthonormal, 1 makes all deviations alike.
    """
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    variances = variances.flip(0)[:num_axes].clamp_min(1e-6)
    return directions.flip(1)[:, :num_axes] * (variances / variances[0]) ** (-whitening / 2)


def fold(
    weight: Float[Tensor, "w d"], mean: Float[Tensor, " w"], scale: float
) -> tuple[Float[Tensor, "d w"], Float[Tensor, " d"]]:
    """Return weight and bias of the linear layer that does `(x - mean) / scale @ weight`."""
    folded = weight.T / scale
    return folded, -folded @ mean


def fit_cells(
    sets: Sequence[TrunkFeatures], num_axes: int
) -> tuple[dict[Medium, Float[Tensor, "r c"]], Float[Tensor, "c k"]]:
    """Return the mean of each medium's cells, place by place, and common principal axes.

    Where there are fewer channels than axes, the last axes are zero.
    """
    means = {
        medium: torch.stack([s.cells.mean(dim=0) for s in sets if s.medium is medium]).mean(dim=0)
        for medium in Medium
    }
    centred = torch.cat([(s.cells - means[s.medium]).flatten(0, 1) for s in sets])
    axes = principal_axes(centred, num_axes, 0.0)
    return means, functional.pad(axes, (0, num_axes - axes.shape[1]))
