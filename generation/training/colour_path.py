"""Initialisation of a stock AutoencoderKL as a linear colour path, which preserves colour.

Small plain autoencoders learn brightness and leave everything grey-brown. This one starts as the
map "average 8 x 8 pixels, three colour axes; bilinear upsampling back", written into the weights of
the stock class, and training adds detail to it.

Eight channels of every level carry the path: the colours, their negatives, and a constant pair.
The negatives cancel SiLU, as silu(x) - silu(-x) = x. The constant pair is strong enough for the
group norm to divide by nearly the same number for every picture, and no stronger, because every
weight that reads it affects the whole picture. All other weights keep the initialisation of
diffusers; each residual branch starts at zero.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn

from generation.training.stock import encode_mean

NUM_CARRIERS = 8
_CONSTANT = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ColourAxes:
    """Three uncorrelated axes of the pictures' averaged colours.

    Attributes:
        mean: RGB in [-1, 1].
        to_axes: rows give each axis as a mix of RGB, scaled to unit variance.
        from_axes: its inverse.
    """

    mean: Float[Tensor, "3"]
    to_axes: Float[Tensor, "3 3"]
    from_axes: Float[Tensor, "3 3"]


def fit_colour_axes(images: Float[Tensor, "n 3 h w"], factor: int) -> ColourAxes:
    """Fit the principal axes of pictures averaged over `factor` x `factor` pixels."""
    colours = nn.functional.avg_pool2d(images.float(), factor).permute(0, 2, 3, 1).reshape(-1, 3)
    mean = colours.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((colours - mean).T))
    scale = values.clamp_min(1e-6).sqrt()
    return ColourAxes(
        mean=mean, to_axes=vectors.T / scale[:, None], from_axes=vectors * scale[None]
    )


@torch.no_grad()
def start_as_colour_path(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> None:
    """Write the colour path into an untrained autoencoder.

    Args:
        vae: at least 8 channels at each level, `norm_num_groups` 1, no attention.
        images: RGB in [-1, 1]; their colours set the axes and their statistics the norms.

    Raises:
        ValueError: the autoencoder has another layout.
    """
    config: Any = vae.config
    if config.norm_num_groups != 1 or config.mid_block_add_attention:
        raise ValueError("The colour path needs `norm_num_groups` 1 and no attention.")
    if min(config.block_out_channels) < NUM_CARRIERS:
        raise ValueError(f"The colour path needs {NUM_CARRIERS} channels at every level.")
    axes = fit_colour_axes(images, 2 ** (len(config.block_out_channels) - 1))
    _plain_quantiser(vae)
    _write_encoder(vae.encoder, axes)
    _match_norm(vae.encoder, images)
    _write_decoder(vae.decoder, axes)
    _match_norm(vae.decoder, encode_mean(vae, images))


def _write_encoder(encoder: nn.Module, axes: ColourAxes) -> None:
    parts: Any = encoder
    _carry_in(parts.conv_in, torch.eye(3), torch.zeros(3))
    for block in parts.down_blocks:
        _pass_through(block.resnets)
        if block.downsamplers:
            conv = block.downsamplers[0].conv
            conv.weight[:NUM_CARRIERS] = 0
            conv.bias[:NUM_CARRIERS] = 0
            for channel in range(NUM_CARRIERS):
                conv.weight[channel, channel, :2, :2] = 0.25
    _pass_through(parts.mid_block.resnets)
    out = parts.conv_out
    _carry_out(out, axes.to_axes, -axes.to_axes @ axes.mean)
    out.weight[3, :NUM_CARRIERS] = 0  # the fourth latent is left for detail
    out.weight[4:] = 0
    out.bias[3:] = 0


def _write_decoder(decoder: nn.Module, axes: ColourAxes) -> None:
    parts: Any = decoder
    _carry_in(parts.conv_in, axes.from_axes, axes.mean)
    _pass_through(parts.mid_block.resnets)
    tent = torch.tensor([0.25, 0.5, 0.25])  # after doubling pixels this is bilinear
    for block in parts.up_blocks:
        _pass_through(block.resnets)
        if block.upsamplers:
            conv = block.upsamplers[0].conv
            conv.weight[:NUM_CARRIERS] = 0
            conv.bias[:NUM_CARRIERS] = 0
            for channel in range(NUM_CARRIERS):
                conv.weight[channel, channel] = tent[:, None] * tent[None]
    parts.conv_out.weight[:] = 0
    _carry_out(parts.conv_out, torch.eye(3), torch.zeros(3))


def _carry_in(conv: nn.Conv2d, mix: Tensor, offset: Tensor) -> None:
    bias = conv.bias
    assert bias is not None
    conv.weight[:NUM_CARRIERS] = 0
    conv.weight[:3, :3, 1, 1] = mix
    conv.weight[3:6, :3, 1, 1] = -mix
    bias[:3], bias[3:6] = offset, -offset
    bias[6], bias[7] = _CONSTANT, -_CONSTANT


def _carry_out(conv: nn.Conv2d, mix: Tensor, offset: Tensor) -> None:
    bias = conv.bias
    assert bias is not None
    conv.weight[:3] = 0
    conv.weight[:3, :3, 1, 1] = mix
    conv.weight[:3, 3:6, 1, 1] = -mix
    bias[:3] = offset


def _pass_through(resnets: nn.ModuleList) -> None:
    blocks: Any = resnets
    for block in blocks:
        block.conv2.weight[:] = 0
        block.conv2.bias[:] = 0
        if block.conv_shortcut is not None:
            block.conv_shortcut.weight[:NUM_CARRIERS] = 0
            block.conv_shortcut.weight[:NUM_CARRIERS, :NUM_CARRIERS, 0, 0] = torch.eye(NUM_CARRIERS)
            block.conv_shortcut.bias[:NUM_CARRIERS] = 0


def _plain_quantiser(vae: AutoencoderKL) -> None:
    for conv in (vae.quant_conv, vae.post_quant_conv):
        assert conv is not None
        assert conv.bias is not None
        conv.weight[:, :, 0, 0] = torch.eye(len(conv.weight))
        conv.bias[:] = 0


def _match_norm(half: nn.Module, inputs: Tensor) -> None:
    """Set the last norm of a half so that it leaves the carriers of these inputs unchanged."""
    norm: Any = half.get_submodule("conv_norm_out")
    normalised: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _module, args: normalised.append(args[0]))
    half(inputs)
    handle.remove()
    flat = normalised[0].flatten(1)
    norm.weight[:NUM_CARRIERS] = flat.std(dim=1, correction=0).mean()
    norm.bias[:NUM_CARRIERS] = flat.mean()
