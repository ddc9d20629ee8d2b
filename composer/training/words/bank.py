"""Pooled trunk features of pictures, and the head that puts them into the joint space.

What is stored is what the frozen trunk says: texts can be taught towards any head.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.weights import WeightsError, read_safetensors, write_safetensors

CLASSIFIER = "classifier"
CATALOGUE = "catalogue"


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledSet:
    """Pictures of one source.

    Attributes:
        names: Where each picture stands in its archive ("flickr/1000.jpg"); of the rows of the
            trunk's classifier, the identifiers of the classes ("n01440764").
        pooled: The trunk's last map, averaged; neither centred nor of unit length.
    """

    names: tuple[str, ...]
    pooled: Float[Tensor, "n g"]

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ValueError: There are not as many names as features.
        """
        if len(self.names) != len(self.pooled):
            raise ValueError(
                f"Every picture needs a name and a feature, got {len(self.names)} names and "
                f"{len(self.pooled)} features."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotoHead:
    """The affine map from pooled features of pictures to the joint space."""

    weight: Float[Tensor, "d g"]
    bias: Float[Tensor, " d"]

    @classmethod
    def load(cls, path: Path) -> "PhotoHead":
        """Read `weight` and `bias` of a safetensors file.

        Raises:
            WeightsError: The file is damaged or holds something else.
        """
        tensors = read_safetensors(path, {"weight": (None, None), "bias": (None,)}).tensors
        return cls(weight=tensors["weight"].float(), bias=tensors["bias"].float())

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        write_safetensors(path, {"weight": self.weight, "bias": self.bias})

    def project(self, pooled: Float[Tensor, "n g"]) -> Float[Tensor, "n d"]:
        """Put pooled features into the joint space, as unit vectors."""
        return functional.normalize(pooled @ self.weight.T + self.bias, dim=-1)


def pca_head(pooled: Float[Tensor, "n g"], *, dim: int = 256, whitening: float = 0.25) -> PhotoHead:
    """Fit a head without labels: principal axes, partly whitened (0 not at all, 1 fully)."""
    mean = pooled.mean(0)
    values, axes = _principal(pooled - mean, dim)
    weight = axes.T * values[:, None].pow(-whitening / 2)
    return PhotoHead(weight=weight, bias=-weight @ mean)


def class_directions(
    classifier: Float[Tensor, "k g"], pooled: Float[Tensor, "n g"], *, power: float
) -> Float[Tensor, "k g"]:
    """Estimate from a linear classifier where the pictures of its classes lie, mean taken off.

    A classifier fitted to classes of one covariance S has weights S^-1 (mean_k - mean), so S times
    the weights gives the means back; a smaller power of S keeps closer to the weights, which know
    the classes better than a covariance of few pictures does.

    Args:
        classifier: Its weights, a row a class.
        pooled: Pictures to estimate S from.
        power: Of S; 0 gives the weights themselves.
    """
    centred = classifier - classifier.mean(0)
    values, axes = _principal(pooled - pooled.mean(0), min(512, *pooled.shape))
    return centred @ axes * values.pow(power) @ axes.T


def _principal(
    centred: Float[Tensor, "n g"], count: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "g k"]]:
    """Return the largest eigenvalues of the covariance, the first as 1, and their axes.

    None is below a billionth: rounding can make those of a small set negative.
    """
    values, axes = torch.linalg.eigh(centred.T @ centred)
    values, axes = values.flip(0)[:count], axes.flip(1)[:, :count]
    return (values / values[0]).clamp(min=1e-9), axes


def write_bank(sets: Mapping[str, PooledSet], path: Path) -> None:
    """Write the sets as a safetensors file in half precision."""
    tensors = {name: pictures.pooled.half() for name, pictures in sets.items()}
    names = {name: json.dumps(pictures.names) for name, pictures in sets.items()}
    write_safetensors(path, tensors, names)


def read_bank(path: Path) -> dict[str, PooledSet]:
    """Read what `write_bank` wrote.

    Raises:
        WeightsError: The file is damaged or no such file.
    """
    weights = read_safetensors(path)
    try:
        return {
            name: PooledSet(
                names=tuple(json.loads(weights.metadata[name])),
                pooled=tensor.float(),
            )
            for name, tensor in weights.tensors.items()
        }
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path.name} must name every picture of every set.") from error
