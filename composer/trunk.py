"""The forward pass of a convolutional trunk in two parts, and open_clip's tower around it.

A trunk is a network of timm's EfficientNet kind: stem, stages of blocks, head convolution, average
pooling. Behind it stands one linear map to the joint space. As averaging is linear too, the same
map takes every place of the last map to the joint space.
"""

import math
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MIDDLE_STRIDE = 16
LAST_STRIDE = 32
REGION_GRID = 4
_PARTS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool", "feature_info")


def has_trunk(visual: nn.Module) -> bool:
    """Tell whether a tower is a convolutional trunk with average pooling and a linear map."""
    tower: Any = visual
    trunk = getattr(tower, "trunk", None)
    if trunk is None or not all(hasattr(trunk, part) for part in _PARTS):
        return False
    return getattr(trunk.global_pool, "pool_type", "") == "avg" and isinstance(
        getattr(tower.head, "proj", None), nn.Linear
    )


def see_middle(trunk: nn.Module, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c r s"]:
    """Return the map of stride 16 of preprocessed images."""
    layers: Any = trunk
    seen = layers.bn1(layers.conv_stem(pixels.contiguous(memory_format=torch.channels_last)))
    return layers.blocks[: _num_first_stages(trunk)](seen)


def see_last(trunk: nn.Module, middle: Float[Tensor, "n c r s"]) -> Float[Tensor, "n w p q"]:
    """Return the last map, before pooling, of what `see_middle` gave."""
    layers: Any = trunk
    return layers.bn2(layers.conv_head(layers.blocks[_num_first_stages(trunk) :](middle)))


def first_part(trunk: nn.Module) -> nn.Module:
    """Copy a trunk without what stands behind the map of stride 16, for `see_middle` alone."""
    copy: Any = deepcopy(trunk)
    copy.blocks = copy.blocks[: _num_first_stages(trunk)]
    for part in ("conv_head", "bn2", "global_pool", "classifier"):
        setattr(copy, part, nn.Identity())
    return copy


def middle_channels(trunk: nn.Module) -> int:
    """Return the number of channels of the map of stride 16."""
    return _middle_facts(trunk)["num_chs"]


def last_grid(image_px: int) -> tuple[int, int]:
    """Return rows and columns of the last map of a square picture."""
    side = math.ceil(image_px / LAST_STRIDE)
    return side, side


def _num_first_stages(trunk: nn.Module) -> int:
    return _middle_facts(trunk)["stage"]


def _middle_facts(trunk: nn.Module) -> dict[str, int]:
    layers: Any = trunk
    (facts,) = (one for one in layers.feature_info if one["reduction"] == MIDDLE_STRIDE)
    return facts
