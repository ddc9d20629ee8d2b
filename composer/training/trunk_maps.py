"""Maps of the public trunk at several strides, and the distance of pictures in them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composer.training.public_trunk import public_tower

_SHOWN_STAGES = (0, 1, 2, 4)  # the last of strides 2, 4, 8 and 16
MAP_CHANNELS = (16, 24, 40, 112)
"""Channels of the maps."""
_SMALL = 1e-2


class TrunkMaps(nn.Module):
    """The frozen trunk as a judge of likeness: distances of maps at strides 2, 4, 8 and 16.

    Every vector of a map is scaled to unit length first, as in LPIPS, but no weight is learned.
    Source: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric, section 3.
    """

    def __init__(self) -> None:
        """Load the trunk.

        Raises:
            ModuleNotFoundError: The package of the weights is not installed.
        """
        super().__init__()
        tower: Any = public_tower(64, 1)
        self.trunk = tower.trunk

    def forward(
        self, images: Float[Tensor, "n 3 h w"], originals: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, ""]:
        """Return the mean distance of pictures from their originals, RGB in [-1, 1].

        Gradients flow to `images` alone.
        """
        with torch.no_grad():
            expected = self.maps(originals)
        return map_distance(self.maps(images), expected)

    def maps(self, images: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Return the maps of pictures, RGB in [-1, 1], the finest first."""
        trunk: Any = self.trunk
        levels = (127.5 * images + 0.5) / 128  # (level - 127) / 128
        x = trunk.bn1(trunk.conv_stem(levels.contiguous(memory_format=torch.channels_last)))
        maps: list[Tensor] = []
        for stage, block in enumerate(trunk.blocks[: _SHOWN_STAGES[-1] + 1]):
            x = block(x)
            if stage in _SHOWN_STAGES:
                maps.append(x * torch.rsqrt(x.square().sum(1, keepdim=True) + _SMALL))
        return maps


def map_distance(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return the mean squared distance of maps, summed over channels and strides."""
    distance = maps[0].new_zeros(())
    for a, b in zip(maps, others, strict=True):
        distance = distance + (a - b).square().sum(1).mean()
    return distance
