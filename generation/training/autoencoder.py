"""Stage 1: the autoencoder of the embedded kit, a stock AutoencoderKL (8x, 4 channels)."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.data.catalogue import CataloguePack
from generation.training.colour_path import start_as_colour_path
from generation.training.command import (
    Pixels,
    Scale,
    StageOptions,
    contact_sheet,
    draw_indices,
    log,
    make_parser,
    read_options,
    to_levels,
    write_json,
)
from generation.training.loop import Optimisation, StepLoss, step_generator, train
from generation.training.stock import decode, encode_mean, move

NAME = "autoencoder"
MINUTES = {Scale.CPU: 30.0, Scale.GPU: 5.0}
_LOG_VARIANCE = -12.0
_NUM_STATISTICS = 256
OPTIMISATION = Optimisation(
    batch_size=4, learning_rate=5e-4, num_warmup_steps=200, average_decay=0.998
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderRecipe:
    """Size and training of an autoencoder.

    Attributes:
        block_out_channels: channels per level; each level but the last halves the size.
        layers_per_block: residual blocks per level.
        noise: standard deviation of the noise that training adds to latents of unit variance.
        chroma_weight: weight of the colour-difference term.
        edge_weight: weight of the gradient term.
        latent_weight: weight of the squared latents, which keeps them from outgrowing the noise.
        optimisation: batch, rates and schedule; on a CPU small batches do better at equal time.
    """

    block_out_channels: tuple[int, ...] = (16, 32, 64, 128)
    layers_per_block: int = 1
    noise: float = 0.05
    chroma_weight: float = 2.0
    edge_weight: float = 1.0
    latent_weight: float = 1e-3
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: AutoencoderRecipe(),
    Scale.GPU: AutoencoderRecipe(
        block_out_channels=(32, 64, 128, 128),
        optimisation=Optimisation(batch_size=32, learning_rate=1e-3, num_warmup_steps=200),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """The quality of reconstructed pictures.

    Attributes:
        psnr_db: PSNR over all pixels and pictures.
        chroma_r2: share of the colour differences' variance that is kept; 1 is all of it. It
            shows lost colour, which PSNR hides.
    """

    psnr_db: float
    chroma_r2: float


class AutoencoderStage:
    """Trains an autoencoder on pictures of the pack."""

    name = NAME

    def __init__(self, pixels: Pixels, recipe: AutoencoderRecipe, seed: int) -> None:
        self.pixels, self.recipe = pixels, recipe
        self.module = make_autoencoder(recipe, seed)
        generator = step_generator(seed, -1)
        count = min(_NUM_STATISTICS, 16 * recipe.optimisation.batch_size, len(pixels))
        start_as_colour_path(
            self.module, pixels.take(draw_indices(generator, len(pixels), count)).cpu()
        )

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw pictures, encode and decode them with noise, compare."""
        indices = draw_indices(generator, len(self.pixels), self.recipe.optimisation.batch_size)
        images = self.pixels.take(indices)
        latents = encode_mean(self.module, images)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        restored = decode(self.module, latents + self.recipe.noise * noise)
        return reconstruction_loss(restored.float(), images, latents.float(), self.recipe)


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
            sample_size=128,
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


def chroma_of(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2 h w"]:
    """Return Cb and Cr of linear RGB differences or levels, with BT.601 weights."""
    weights = images.new_tensor([[-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    return torch.einsum("kc,nchw->nkhw", weights, images)


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, pixels: Pixels, seed: int) -> None:
    """Fold a whitening of the latents into the 1 x 1 convolutions: uncorrelated, variance 1.

    Decoded pictures do not change; `scaling_factor` is 1, and the posterior gets a small fixed
    variance, so that a sample of it, as stock image-to-image takes, is the mean.
    """
    latents = torch.cat(list(_encode_sample(vae, pixels, seed)))
    flat = latents.permute(0, 2, 3, 1).reshape(-1, 4).double().cpu()
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((flat - mean).T))
    scale = values.clamp_min(1e-4 * float(values[-1])).sqrt()  # a dead latent is not amplified
    forward, back = vectors.T / scale[:, None], vectors * scale[None]
    quant, post = vae.quant_conv, vae.post_quant_conv
    assert quant is not None
    assert post is not None
    assert quant.bias is not None
    assert post.bias is not None
    weight, bias = quant.weight[:4, :, 0, 0].double().cpu(), quant.bias[:4].double().cpu()
    quant.weight[:4, :, 0, 0] = (forward @ weight).to(quant.weight)
    quant.bias[:4] = (forward @ (bias - mean)).to(quant.bias)
    quant.weight[4:] = 0
    quant.bias[4:] = _LOG_VARIANCE
    weight, bias = post.weight[:, :, 0, 0].double().cpu(), post.bias.double().cpu()
    post.weight[:, :, 0, 0] = (weight @ back).to(post.weight)
    post.bias[:] = (weight @ mean + bias).to(post.bias)


def _encode_sample(vae: AutoencoderKL, pixels: Pixels, seed: int) -> list[Tensor]:
    count = min(_NUM_STATISTICS, len(pixels))
    order = torch.randperm(len(pixels), generator=step_generator(seed, -2))[:count]
    return [encode_mean(vae, pixels.take(part)) for part in order.split(16)]


@torch.no_grad()
def measure_reconstruction(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> Reconstruction:
    """Reconstruct pictures, clip them to displayable levels and compare."""
    restored = torch.cat([_restore(vae, part) for part in images.split(16)])
    error = (restored - images).square().mean() / 4  # levels span 2
    restored_chroma, chroma = chroma_of(restored), chroma_of(images)
    spread = (chroma - chroma.mean((0, 2, 3), keepdim=True)).square().sum()
    lost = (restored_chroma - chroma).square().sum()
    return Reconstruction(
        psnr_db=float(-10 * torch.log10(error)), chroma_r2=float(1 - lost / spread)
    )


def _restore(vae: AutoencoderKL, images: Tensor) -> Tensor:
    return functional.hardtanh(decode(vae, encode_mean(vae, images)))


def train_autoencoder(
    options: StageOptions, recipe: AutoencoderRecipe | None = None
) -> Reconstruction:
    """Train, whiten, export `<out>/autoencoder/vae` in fp16 and measure it on validation pictures.

    Raises:
        PackError: the pack cannot be read.
    """
    recipe = recipe or RECIPES[options.scale]
    run = options.run(NAME)
    pack = CataloguePack.open(options.data)
    pixels = Pixels(pack, pack.rows(split="train"), options.device)
    stage = AutoencoderStage(pixels, recipe, options.seed)
    trained = train(stage, replace(recipe.optimisation, seed=options.seed), run)
    vae = stage.module
    whiten_latents(vae, pixels, options.seed)
    move(vae, torch.float16)
    vae.save_pretrained(run.folder / "vae")
    move(vae, torch.float32)  # measured as a user loads it: through fp16
    quality = _report(vae, pack, options, run.folder)
    write_json(
        run.folder / "metrics.json",
        {
            "psnr_db": quality.psnr_db,
            "chroma_r2": quality.chroma_r2,
            "num_steps": trained.num_steps,
            "minutes": trained.elapsed_s / 60,
            "num_parameters": sum(p.numel() for p in vae.parameters()),
        },
    )
    log(f"{NAME}: PSNR {quality.psnr_db:.2f} dB, chroma R2 {quality.chroma_r2:.3f}")
    return quality


def _report(
    vae: AutoencoderKL, pack: CataloguePack, options: StageOptions, folder: Path
) -> Reconstruction:
    rows = pack.rows(split="validation")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 96)).astype(int)]
    images = Pixels(pack, rows, options.device).take(torch.arange(len(rows)))
    sample: Any = images[:: max(1, len(images) // 16)][:16]
    with torch.no_grad():
        pairs = torch.stack([sample, _restore(vae, sample)], 1).flatten(0, 1)
    contact_sheet(to_levels(pairs), 8).save(folder / "reconstructions.png")
    return measure_reconstruction(vae, images)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the embedded kit's autoencoder.")
    train_autoencoder(read_options(parser.parse_args(arguments), MINUTES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
