"""The UNet of the embedded kit before its training."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel

MAX_PARAMETERS = 17_000_000
_CHANNELS_PER_HEAD = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class UnetShape:
    """Size of a UNet.

    Attributes:
        block_out_channels: Channels per level; there is no attention at the finest.
        layers_per_block: Residual blocks per level.
    """

    block_out_channels: tuple[int, ...] = (64, 128, 256)
    layers_per_block: int = 1


def make_unet(
    shape: UnetShape, token_width: int, sample_size: int, seed: int
) -> UNet2DConditionModel:
    """Make an untrained UNet of the stock class; the same seed gives the same weights.

    Args:
        shape: Its size.
        token_width: Width of the states that it reads.
        sample_size: Side of its latents.
        seed: Of the weights.

    Raises:
        ValueError: It would have more parameters than the kit allows.
    """
    channels = shape.block_out_channels
    coarse = len(channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock: Any = UNet2DConditionModel  # its type hints allow tuples of length one only
        unet: UNet2DConditionModel = stock(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            block_out_channels=channels,
            layers_per_block=shape.layers_per_block,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * coarse),
            up_block_types=(*("CrossAttnUpBlock2D",) * coarse, "UpBlock2D"),
            cross_attention_dim=token_width,
            # diffusers takes this for the number of heads.
            attention_head_dim=tuple(max(1, width // _CHANNELS_PER_HEAD) for width in channels),
            norm_num_groups=min(32, channels[0] // 2),
        )
    count = sum(parameter.numel() for parameter in unet.parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(f"The UNet may have at most {MAX_PARAMETERS} parameters, got {count}.")
    return unet
