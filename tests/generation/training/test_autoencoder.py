import copy
import json

import numpy as np
import pytest
import torch

from composer.data.catalogue import CataloguePack
from generation.training.autoencoder import (
    AutoencoderRecipe,
    AutoencoderStage,
    chroma_of,
    make_autoencoder,
    measure_reconstruction,
    train_autoencoder,
    whiten_latents,
)
from generation.training.colour_path import fit_colour_axes, start_as_colour_path
from generation.training.command import Pixels
from generation.training.loop import step_generator
from tests.generation.training import world


@pytest.fixture(scope="module")
def pixels(pack_folder):
    pack = CataloguePack.open(pack_folder)
    return Pixels(pack, pack.rows(split="train"), torch.device("cpu"))


def test_colour_axes_are_white_and_invertible():
    images = torch.rand(4, 3, 32, 32, generator=step_generator(0, 0)) * 2 - 1
    axes = fit_colour_axes(images, 8)
    torch.testing.assert_close(axes.to_axes @ axes.from_axes, torch.eye(3), atol=1e-4, rtol=0)


def test_the_start_is_a_blurred_but_coloured_copy(pixels):
    images = pixels.take(torch.arange(16))
    vae = make_autoencoder(AutoencoderRecipe(block_out_channels=(8, 8, 16, 16)), 0)
    untrained = measure_reconstruction(vae, images)
    start_as_colour_path(vae, images)
    coloured = measure_reconstruction(vae, images)
    assert untrained.chroma_r2 < 0.2
    assert coloured.chroma_r2 > 0.6
    assert coloured.psnr_db > 17


def test_the_colour_path_requires_its_layout():
    recipe = AutoencoderRecipe(block_out_channels=(4, 8))
    with pytest.raises(ValueError, match="8 channels at every level"):
        start_as_colour_path(make_autoencoder(recipe, 0), torch.zeros(2, 3, 16, 16))


def test_whitening_keeps_pictures_and_whitens(pixels, small_autoencoder):
    stage = AutoencoderStage(pixels, small_autoencoder, 0)
    vae, images = stage.module.eval(), pixels.take(torch.arange(24))
    with torch.no_grad():
        before = copy.deepcopy(vae)
        whiten_latents(vae, pixels, 0)
        code = vae.encode(images).latent_dist
        latents = code.mode().permute(1, 0, 2, 3).flatten(1)
        old = before.decode(before.encode(images).latent_dist.mode()).sample
        new = vae.decode(code.mode()).sample
    torch.testing.assert_close(new, old, atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.cov(latents), torch.eye(4), atol=0.25, rtol=0)
    assert float(code.std.max()) < 0.01


def test_chroma_weights_are_blind_to_grey():
    grey = torch.rand(2, 1, 4, 4, generator=step_generator(0, 0)).expand(-1, 3, -1, -1)
    assert chroma_of(grey).abs().max() < 1e-6
    assert chroma_of(torch.eye(3).view(3, 3, 1, 1)).abs().max(1).values.min() > 0.3


def test_training_lowers_the_loss_and_exports_a_stock_folder(
    pack_folder, tmp_path, small_autoencoder
):
    import diffusers

    quality = train_autoencoder(world.options(pack_folder, tmp_path, 20), small_autoencoder)
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "autoencoder" / "vae")
    assert vae.config["scaling_factor"] == 1.0
    assert next(vae.parameters()).dtype in (torch.float16, torch.float32)
    figures = json.loads((tmp_path / "autoencoder" / "metrics.json").read_text())
    assert figures["psnr_db"] == quality.psnr_db
    assert figures["num_steps"] == 20
    assert (tmp_path / "autoencoder" / "reconstructions.png").is_file()
    assert quality.chroma_r2 > 0.5


def test_the_loss_falls(pixels, small_autoencoder, tmp_path):
    from generation.training.loop import train

    stage = AutoencoderStage(pixels, small_autoencoder, 0)
    run = world.options(tmp_path, tmp_path, 20).run("autoencoder")
    losses = train(stage, world.FAST, run).last_losses
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
