"""Stage 1: the autoencoder of the embedded kit, a stock AutoencoderKL (8x, 4 channels)."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from composer.data.catalogue import CataloguePack
from composer.training.trunk_maps import TrunkMaps
from generation.training.autoencoder_recipe import RECIPES, AutoencoderRecipe, make_autoencoder
from generation.training.autoencoder_trainer import AutoencoderParts, AutoencoderTrainer
from generation.training.colour_path import start_as_colour_path
from generation.training.command import (
    Pixels,
    Scale,
    StageOptions,
    draw_indices,
    log,
    make_parser,
    read_options,
    write_json,
)
from generation.training.critic import PatchCritic
from generation.training.crops import Crops
from generation.training.inputs import load_autoencoder
from generation.training.loop import step_generator
from generation.training.reconstruction import (
    Reconstruction,
    compare,
    held_out_pictures,
    reconstruction_sheet,
    restore,
)
from generation.training.stock import encode_mean, move

NAME = "autoencoder"
MINUTES = {Scale.CPU: 60.0, Scale.GPU: 5.0}
_LOG_VARIANCE = -12.0
_NUM_STATISTICS = 256  # pictures that whiten the latents
_NUM_COLOURS = 24  # pictures that the colour path is fitted to
_NUM_CHECKED, _NUM_MEASURED = 12, 96


def prepare_parts(
    pack: CataloguePack, options: StageOptions, recipe: AutoencoderRecipe, start: Path | None = None
) -> AutoencoderParts:
    """Make an autoencoder, its critic, and its pictures.

    Args:
        pack: The training pack.
        options: Options of the stage.
        recipe: Its recipe.
        start: Folder of an autoencoder to go on from, whatever its size; without one it begins as a
            colour path.

    Raises:
        PackError: The pack has no picture of a split.
        ModuleNotFoundError: The package of the public trunk is not installed.
    """
    size_px = min(recipe.image_px, pack.image_px)
    pixels = Pixels(pack, pack.rows(split="train"), options.device, size_px)
    if start is None:
        vae = make_autoencoder(recipe, options.seed)
        generator = step_generator(options.seed, -1)
        images = pixels.take(draw_indices(generator, len(pixels), min(_NUM_COLOURS, len(pixels))))
        start_as_colour_path(vae, images.cpu())
    else:
        vae = load_autoencoder(start, torch.device("cpu")).requires_grad_(True)
        vae.register_to_config(sample_size=recipe.image_px)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        critic = PatchCritic(recipe.critic_width)
    return AutoencoderParts(
        vae=vae,
        critic=critic,
        features=TrunkMaps(),
        crops=Crops(pixels),
        held_out=held_out_pictures(pack, _NUM_CHECKED, size_px),
    )


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
    return [encode_mean(vae, pixels.take(part)) for part in order.split(4)]


def train_autoencoder(
    options: StageOptions, recipe: AutoencoderRecipe | None = None, start: Path | None = None
) -> Reconstruction:
    """Train, whiten, export `<out>/autoencoder/vae` in fp16 and measure it on validation pictures.

    Args:
        options: Options of the stage.
        recipe: The recipe; by default that of the scale.
        start: Folder of an autoencoder to go on from.

    Raises:
        PackError: the pack cannot be read.
        ModuleNotFoundError: The package of the public trunk is not installed.
    """
    recipe = recipe or RECIPES[options.scale]
    run = options.run(NAME)
    pack = CataloguePack.open(options.data)
    parts = prepare_parts(pack, options, recipe, start)
    trained = AutoencoderTrainer(parts, recipe, run, options.seed).train()
    vae, pixels = parts.vae, parts.crops.pixels
    whiten_latents(vae, pixels, options.seed)
    move(vae, torch.float16)
    vae.save_pretrained(run.folder / "vae")
    move(vae, torch.float32)  # measured as a user loads it: through fp16
    images = held_out_pictures(pack, _NUM_MEASURED, pixels.size_px).to(options.device)
    restored = restore(vae, images)
    quality = compare(restored, images)
    shown = np.linspace(0, len(images) - 1, 6).astype(int)
    reconstruction_sheet(images[shown], restored[shown]).save(run.folder / "reconstructions.png")
    figures = asdict(quality) | {
        "num_steps": trained.num_steps,
        "num_skipped": trained.num_skipped,
        "num_restarts": trained.num_restarts,
        "minutes": trained.elapsed_s / 60,
        "num_parameters": _num_parameters(vae),
        "num_decoder_parameters": _num_parameters(vae.decoder),
    }
    write_json(run.folder / "metrics.json", figures)
    log(f"{NAME}: {quality}")
    return quality


def _num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the embedded kit's autoencoder.")
    parser.add_argument("--start", type=Path, help="folder of an autoencoder to go on from")
    args = parser.parse_args(arguments)
    train_autoencoder(read_options(args, MINUTES), start=args.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
