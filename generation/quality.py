"""How pictures look beside real ones, whatever they show: sharpness, likeness of sets, variety."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_LAPLACIAN: Final = ((0.0, -1.0, 0.0), (-1.0, 4.0, -1.0), (0.0, -1.0, 0.0))
_NUM_SUBSETS = 100
_SUBSET = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelDistance:
    """The kernel distance of two sets, and the range of 95 % of its subsets.

    Attributes:
        mean: Over subsets; 0 for sets of one distribution, and a little below by chance.
        low: 2.5th percentile of the subsets.
        high: 97.5th percentile of the subsets.
    """

    mean: float
    low: float
    high: float


def edge_power(images: Float[Tensor, "n 3 h w"]) -> float:
    """Return the mean squared Laplacian of the grey levels, over all pictures."""
    kernel = images.new_tensor(_LAPLACIAN)[None, None]
    return float(functional.conv2d(images.mean(1, keepdim=True), kernel).square().mean())


def edge_ratios(
    images: Float[Tensor, "n 3 h w"], originals: Float[Tensor, "m 3 h w"]
) -> tuple[float, float]:
    """Return the power of the edges over that of the originals, at full and at half size.

    It shows blur. At half size noise counts less.
    """
    halves = functional.avg_pool2d(images, 2), functional.avg_pool2d(originals, 2)
    return edge_power(images) / edge_power(originals), edge_power(halves[0]) / edge_power(halves[1])


def kernel_distance(
    features: Float[np.ndarray, "n d"], others: Float[np.ndarray, "m d"], *, seed: int = 0
) -> KernelDistance:
    """Return the squared maximum mean discrepancy with a cubic kernel, without bias.

    Source: Binkowski et al. 2018, Demystifying MMD GANs (KID), there on Inception's features.

    Raises:
        ValueError: A set has fewer than two members.
    """
    size = min(_SUBSET, len(features), len(others))
    if size < 2:
        raise ValueError("Both sets must have at least two members.")
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            _discrepancy(
                features[rng.choice(len(features), size, replace=False)],
                others[rng.choice(len(others), size, replace=False)],
            )
            for _ in range(_NUM_SUBSETS)
        ]
    )
    low, high = np.quantile(values, (0.025, 0.975))
    return KernelDistance(mean=float(values.mean()), low=float(low), high=float(high))


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    count = len(x)
    own = [kernel.sum() - np.trace(kernel) for kernel in (_kernel(x, x), _kernel(y, y))]
    return float(sum(own) / (count * (count - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def variety(features: Float[np.ndarray, "q s d"]) -> float:
    """Return the mean distance (1 - cosine) of pictures of one query, over all queries.

    Args:
        features: Of the pictures of each query, by seed; at least two seeds.
    """
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    cosines = np.einsum("qsd,qtd->qst", unit, unit)
    num_seeds = features.shape[1]
    off = cosines.sum((1, 2)) - np.trace(cosines, axis1=1, axis2=2)
    return float((1 - off / (num_seeds * (num_seeds - 1))).mean())
