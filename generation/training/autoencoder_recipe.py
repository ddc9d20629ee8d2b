"""The autoencoder's size, losses and schedule."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from generation.training.command import Scale
from generation.training.crops import CropSize
from generation.training.loop import Optimisation, StepLoss
from generation.training.reconstruction import chroma_of

OPTIMISATION = Optimisation(
    batch_size=12, learning_rate=4e-4, num_warmup_steps=100, average_decay=0.998
)
_GPU_OPTIMISATION = Optimisation(
    batch_size=64, learning_rate=5e-4, num_warmup_steps=200, average_decay=0.999
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderRecipe:
    """Size and training of an autoencoder.

    Shares are of the run: the critic learns from `critic_from`, pushes from `adversarial_from`, and
    from `decoder_from` the encoder is finished and the decoder goes on alone. What the encoder does
    not keep, no decoder brings back.

    Attributes:
        block_out_channels: Channels per level; each level but the last halves the size.
        layers_per_block: Residual blocks per level.
        image_px: Side of the pictures that crops are cut from.
        crops: Batches while both halves are trained: small crops for their variety, whole pictures
            because group norms see them differently.
        decoder_crops: Batches of the decoder alone.
        noise: Standard deviation of the noise that training adds to latents of unit variance.
        chroma_weight: Weight of the colour-difference term.
        edge_weight: Weight of the gradient term.
        latent_weight: Weight of the squared latents, which keeps them from outgrowing the noise.
        feature_weight: Weight of the distance in maps of the public trunk.
        adversarial_weight: Weight of the critic. It is fixed: balanced by gradients it fades, and
            the edges with it.
        decoder_adversarial_weight: The same for the decoder alone.
        critic_width: Channels of the critic's first layer.
        critic_rate: The critic's own rate.
        critic_from: See above.
        adversarial_from: See above.
        adversarial_rise: Share over which the critic's weight rises.
        decoder_from: See above.
        check_every_s: Seconds between figures of held-out pictures in the log.
        optimisation: Rates and schedule. Rates of 1e-3 diverge.
    """

    block_out_channels: tuple[int, ...] = (16, 32, 64, 112)
    layers_per_block: int = 1
    image_px: int = 256
    crops: tuple[CropSize, ...] = (
        CropSize(side_px=64, count=12, share=0.5),
        CropSize(side_px=128, count=3, share=0.35),
        CropSize(side_px=256, count=1, share=0.15),
    )
    decoder_crops: tuple[CropSize, ...] = (
        CropSize(side_px=64, count=12, share=0.3),
        CropSize(side_px=128, count=3, share=0.4),
        CropSize(side_px=256, count=1, share=0.3),
    )
    noise: float = 0.05
    chroma_weight: float = 2.0
    edge_weight: float = 0.5
    latent_weight: float = 1e-3
    feature_weight: float = 0.15
    adversarial_weight: float = 0.15
    decoder_adversarial_weight: float = 0.15
    critic_width: int = 32
    critic_rate: float = 4e-4
    critic_from: float = 0.3
    adversarial_from: float = 0.333
    adversarial_rise: float = 0.05
    decoder_from: float = 0.6
    check_every_s: float = 600.0
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: AutoencoderRecipe(),
    Scale.GPU: AutoencoderRecipe(
        crops=(
            CropSize(side_px=64, count=64, share=0.5),
            CropSize(side_px=128, count=16, share=0.35),
            CropSize(side_px=256, count=4, share=0.15),
        ),
        decoder_crops=(
            CropSize(side_px=64, count=64, share=0.3),
            CropSize(side_px=128, count=16, share=0.4),
            CropSize(side_px=256, count=4, share=0.3),
        ),
        check_every_s=60.0,
        optimisation=_GPU_OPTIMISATION,
    ),
}


def make_autoencoder(recipe: AutoencoderRecipe, seed: int) -> AutoencoderKL:
    """Make an untrained autoencoder of the stock class; the same seed gives the same weights."""
    count = len(recipe.block_out_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock: Any = AutoencoderKL  # its type hints allow tuples of length one only
        return stock(
            block_out_channels=recipe.block_out_channels,
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            layers_per_block=recipe.layers_per_block,
            latent_channels=4,
            norm_num_groups=1,
            sample_size=recipe.image_px,
            scaling_factor=1.0,
            force_upcast=False,
            mid_block_add_attention=False,
        )


def reconstruction_loss(
    restored: Float[Tensor, "n 3 h w"],
    images: Float[Tensor, "n 3 h w"],
    latents: Float[Tensor, "n 4 y x"],
    recipe: AutoencoderRecipe,
) -> StepLoss:
    """Return the absolute error of levels, of colour differences and of gradients."""
    difference = restored - images
    level = difference.abs().mean()
    chroma = chroma_of(difference).abs().mean()
    edge = sum(d.abs().mean() for d in (difference.diff(dim=2), difference.diff(dim=3)))
    size = latents.square().mean()
    assert isinstance(edge, Tensor)
    total = level + recipe.chroma_weight * chroma + recipe.edge_weight * edge
    return StepLoss(
        total=total + recipe.latent_weight * size,
        parts={"level": level, "chroma": chroma, "edge": edge, "latent": size},
    )
