from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from composer.training.state import load_state
from composer.weights import WeightsError
from generation.training import one_step
from generation.training.loop import step_generator, train
from generation.training.one_step import (
    OneStepRecipe,
    OneStepStage,
    add_lora,
    draw_at_once,
    save_lora,
    train_one_step,
)
from generation.training.picture_cache import Drops, build_cache
from generation.training.picture_model import Condition
from generation.training.pictures import load_pictures, train_pictures
from generation.training.stock import decode
from generation.training.teacher_pairs import PairRecipe, draw_pairs
from tests.generation.training import world
from tests.generation.training.test_pictures import SMALL, inputs_of

PAIRS = PairRecipe(num_batches=3, batch_size=4, num_steps=3)
RECIPE = OneStepRecipe(
    rank=4,
    pairs=PAIRS,
    crop=8,
    margin=1,
    critic_width=4,
    critic_alone=2,
    optimisation=replace(
        world.FAST, batch_size=4, check_every_s=0.0, skips_non_finite=True, channels_last=False
    ),
)


class NoMaps(torch.nn.Module):
    """Stands for the packaged trunk, which not every machine has."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = torch.nn.ParameterList(
            torch.randn(c, 3, s, s, generator=torch.Generator().manual_seed(c)) / (3 * s * s) ** 0.5
            for c, s in zip((16, 24, 40, 112), (2, 4, 8, 16), strict=True)
        ).requires_grad_(False)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.conv2d(images, k, stride=k.shape[-1]) for k in self.kernels]


@pytest.fixture(autouse=True)
def maps(monkeypatch):
    monkeypatch.setattr(one_step, "TrunkMaps", NoMaps)


@pytest.fixture(scope="module")
def viewed_folder(tmp_path_factory):
    return world.write_pack(tmp_path_factory.mktemp("viewed"), has_views=True)


@pytest.fixture(scope="module")
def taught(sources, viewed_folder, tmp_path_factory):
    """A folder with a teacher of a few steps."""
    out = tmp_path_factory.mktemp("taught")
    quiet = replace(SMALL, optimisation=replace(SMALL.optimisation, check_every_s=1e9))
    train_pictures(world.options(viewed_folder, out, 12), sources, quiet)
    return out


@pytest.fixture
def parts(sources, viewed_folder, taught):
    inputs = inputs_of(world.options(viewed_folder, taught, 4), sources)
    cache = build_cache(taught / "pictures" / "cache", inputs)
    return inputs, cache, load_pictures(taught / "pictures")


def test_pairs_are_what_the_teacher_draws_and_are_drawn_once(parts, tmp_path, monkeypatch):
    from generation.training import teacher_pairs

    _, cache, teacher = parts
    pairs = draw_pairs(tmp_path, teacher, cache, PAIRS, 0)
    one = pairs.take(1)
    condition = Condition.of_batch(one.batch, tells_studio=one.tells_studio)
    drawn = teacher_pairs.sample_latents(
        teacher, one.noise, condition, cache.empty, num_steps=3, guidance_scale=3.0
    )
    torch.testing.assert_close(one.latents, drawn, atol=5e-3, rtol=1e-2)
    assert not torch.equal(one.latents, pairs.take(2).latents)

    def refuses(*_: Any, **__: Any) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(teacher_pairs, "sample_latents", refuses)
    assert len(draw_pairs(tmp_path, teacher, cache, PAIRS, 0)) == 3
    more = replace(PAIRS, guidance_scale=1.0)
    with pytest.raises(AssertionError, match="drawn again"):
        draw_pairs(tmp_path, teacher, cache, more, 0)


def test_a_student_begins_as_its_teacher_and_learns_the_lora_alone(parts, tmp_path):
    inputs, cache, model = parts
    pairs = draw_pairs(tmp_path / "pairs", model, cache, PAIRS, 0)
    one = pairs.take(0)
    condition = Condition.of_batch(one.batch, tells_studio=False)
    ones = torch.ones(len(one.noise))
    with torch.no_grad():
        before = one.noise - model(one.noise, 1000 * ones, condition)
    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_lora(model, 4, 0)
    with torch.no_grad():
        torch.testing.assert_close(draw_at_once(model, one.noise, ones, condition), before)
    stage = OneStepStage(model, cache, pairs, inputs.vae, RECIPE)
    critic = [p.detach().clone() for p in stage.critic.parameters()]
    options = world.options(tmp_path, tmp_path, 30)
    losses = train(stage, RECIPE.optimisation, options.run("x")).last_losses
    assert all(np.isfinite(losses))
    with torch.no_grad():
        after = draw_at_once(model, one.noise, ones, condition)
    assert float((after - one.latents).abs().mean()) < float((before - one.latents).abs().mean())
    for name, tensor in model.state_dict().items():
        if name in frozen:
            torch.testing.assert_close(tensor, frozen[name], atol=0, rtol=0)
    assert any(
        not torch.equal(a, b) for a, b in zip(critic, stage.critic.parameters(), strict=True)
    )


def test_a_student_goes_on_from_a_file(parts, taught, tmp_path):
    inputs, cache, student = parts
    pairs = draw_pairs(tmp_path / "pairs", student, cache, PAIRS, 0)
    add_lora(student, 4, 0)
    stage = OneStepStage(student, cache, pairs, inputs.vae, RECIPE)
    train(stage, RECIPE.optimisation, world.options(tmp_path, tmp_path, 10).run("x"))
    save_lora(student, tmp_path / "lora")
    file = tmp_path / "lora" / "pytorch_lora_weights.safetensors"
    one = pairs.take(0)
    condition = Condition.of_batch(one.batch, tells_studio=False)

    @torch.no_grad()
    def drawn(model):
        return draw_at_once(model, one.noise, torch.ones(len(one.noise)), condition)

    other = load_pictures(taught / "pictures")
    before = drawn(other)
    add_lora(other, 4, 7, file)
    torch.testing.assert_close(drawn(other), drawn(student), atol=1e-2, rtol=1e-2)
    assert float((drawn(other) - before).abs().mean()) > 1e-2
    with pytest.raises(WeightsError, match="no LoRA of rank 8"):
        add_lora(load_pictures(taught / "pictures"), 8, 0, file)


def test_the_critic_sees_the_same_piece_of_picture_and_drawing(parts, tmp_path):
    inputs, cache, model = parts
    pairs = draw_pairs(tmp_path / "pairs", model, cache, PAIRS, 0)
    stage = OneStepStage(model, cache, pairs, inputs.vae, RECIPE)
    batch = cache.draw(2, Drops(words=0.0, drawing=0.0), step_generator(0, 0))
    piece = stage._decode(batch.latents, 3, 5)
    assert piece.shape == (2, 3, 48, 48)
    lines = stage._pixels(batch.lines, 3, 5)
    np.testing.assert_array_equal(lines, batch.lines[:, :, 32:80, 48:96])
    with torch.no_grad():
        whole = decode(inputs.vae, batch.latents / inputs.vae.config["scaling_factor"])
    # Norms over a piece scale it otherwise than norms over the whole; the pattern is the same.
    places = [(y, x) for y in range(0, 81, 8) for x in range(0, 81, 8)]
    likeness = [_likeness(piece, whole[:, :, y : y + 48, x : x + 48]) for y, x in places]
    assert places[int(np.argmax(likeness))] == (32, 48)


def _likeness(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_a_stopped_run_ends_as_one_that_never_stopped(
    sources, viewed_folder, taught, tmp_path, monkeypatch
):
    def copy(name):
        import shutil

        return shutil.copytree(taught, tmp_path / name)

    whole = train_one_step(world.options(viewed_folder, copy("a"), 6), sources, RECIPE, SMALL)
    loss, calls = OneStepStage.loss, []

    def stopping(self, generator):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(self, generator)

    saving = replace(RECIPE, optimisation=replace(RECIPE.optimisation, save_every_s=0.0))
    monkeypatch.setattr(OneStepStage, "loss", stopping)
    options = world.options(viewed_folder, copy("b"), 6)
    with pytest.raises(KeyboardInterrupt):
        train_one_step(options, sources, saving, SMALL)
    resumed = train_one_step(options, sources, saving, SMALL)
    states = [load_state(folder / "state") for folder in (whole, resumed)]
    assert any(name.startswith("critic.") for name in states[0].tensors)
    for name, tensor in states[0].tensors.items():
        torch.testing.assert_close(states[1].tensors[name], tensor, atol=0, rtol=0)


def test_the_lora_draws_the_same_in_stock_diffusers_in_one_step(
    sources, viewed_folder, taught, tmp_path
):
    import shutil

    import diffusers

    from generation.training.picture_model import sample_latents

    out = shutil.copytree(taught, tmp_path / "out")
    folder = train_one_step(world.options(viewed_folder, out, 10), sources, RECIPE, SMALL)
    base = diffusers.StableDiffusionPipeline.from_pretrained(
        out / "pictures" / "pipeline", local_files_only=True, safety_checker=None
    )
    base.load_lora_weights(folder / "lora", weight_name="pytorch_lora_weights.safetensors")
    base.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    states = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(4))
    call: dict[str, Any] = {
        "num_inference_steps": 1,
        "guidance_scale": 1.0,
        "output_type": "latent",
    }
    with torch.no_grad():
        drawn = base(prompt_embeds=states, latents=noise, **call).images
        expected = noise - base.unet(noise, 1000.0, encoder_hidden_states=states).sample
    torch.testing.assert_close(drawn, expected, atol=2e-2, rtol=2e-2)
    plain = load_pictures(out / "pictures")
    condition = Condition(
        states=states, lines=torch.zeros(1, 1, 128, 128), has_drawing=torch.zeros(1).bool()
    )
    with torch.no_grad():
        before = sample_latents(plain, noise, condition, states[0], num_steps=1, guidance_scale=1.0)
    assert float((drawn - before).abs().mean()) > 1e-3
