"""A faithful transfer begins with the noise that its source comes from."""

import math
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from generation.inversion import Level, check_invertible, invert, levels_before
from generation.levers import PLAIN, Levers
from generation.masking import mask_of_box
from generation.pipeline import ImagePipeline
from generation.request import RequestError, StyleImage, TransferRequest
from generation.sample import sample_each
from generation.transfer import plan_transfer, transfer
from tests.generation import tiny

SCHEDULERS = {
    "DDIMScheduler": {"clip_sample": False},
    "DPMSolverMultistepScheduler": {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": 1.0,
    },
    "EulerDiscreteScheduler": {"prediction_type": "v_prediction"},
    "UniPCMultistepScheduler": {},
}


def make_transfer(**changes) -> TransferRequest:
    """Return a transfer whose guidance pulls nowhere: both halves read the same prompt."""
    waves = np.sin(np.linspace(0, 9, 64))[:, None] * np.cos(np.linspace(0, 6, 64))
    source = np.stack([128 + 100 * waves, 90 + 80 * waves.T, 200 - 90 * waves], axis=2)
    query = tiny.make_query()
    usual = {"num_inference_steps": 12, "guidance_scale": 1.0, "negative_text": query.text}
    request = TransferRequest(
        query=query, source=Image.fromarray(source.astype(np.uint8)), strength=0.75
    )
    return tiny.vary(request, **usual | {"negative": query} | changes)


def pixels(result) -> np.ndarray:
    return np.asarray(result.images[0].image, float)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline whose encoder, untrained as it is, adds no noise, and whose latents have size."""
    base = tiny.make_pipeline(tmp_path_factory.mktemp("tokenizer"))
    base.vae.register_to_config(scaling_factor=4.0)
    with torch.no_grad():
        base.vae.quant_conv.weight[4:], base.vae.quant_conv.bias[4:] = 0, -30
    return ImagePipeline.from_parts(base, None, tiny.TEXT_HASH)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_without_guidance_the_sampler_gives_the_latents_back(base_pipeline, name):
    kind, config = getattr(diffusers, name), SCHEDULERS[name]
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(1, tiny.CONTEXT, tiny.WIDTH, generator=generator)
    coarse = torch.randn(1, 4, 8, 8, generator=generator)
    latents = torch.nn.functional.interpolate(coarse, 32, mode="bicubic")

    def network(noisy, timestep):
        return base_pipeline.unet(noisy, timestep, states, return_dict=False)[0]

    def distance(start) -> float:
        scheduler = kind(**config)
        scheduler.set_timesteps(12)
        timesteps, drawn = scheduler.timesteps[3:], start
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(3)
        for timestep in timesteps:
            shown = scheduler.scale_model_input(drawn, timestep)
            predicted = network(shown, timestep)
            drawn = scheduler.step(predicted, timestep, drawn, return_dict=False)[0]
        return float((drawn - latents).abs().mean())

    scheduler = kind(**config)
    scheduler.set_timesteps(12)
    at = scheduler.timesteps[3]
    with torch.no_grad():
        levels = levels_before(scheduler, at)
        inverted = invert(latents, levels, scheduler.config.prediction_type, network)
        noise = torch.randn(latents.shape, generator=generator)
        plain = distance(scheduler.add_noise(latents, noise, at[None]))
        assert distance(inverted) < 0.2 * plain


def test_without_guidance_a_transfer_gives_its_source_back(pipeline):
    faithful, other = make_transfer(is_faithful=True), make_transfer(is_faithful=True, seed=9)
    first, second = (pixels(transfer(pipeline, one)) for one in (faithful, other))
    np.testing.assert_allclose(second, first, atol=1)  # the seed says nothing
    nearly = pixels(transfer(pipeline, make_transfer(num_inference_steps=50, strength=0.02)))
    plain = pixels(transfer(pipeline, make_transfer()))
    assert np.abs(first - nearly).mean() < 0.3 * np.abs(plain - nearly).mean()


def test_the_words_still_move_it(pipeline):
    asked = {"query": tiny.make_query(seed=1), "guidance_scale": 3.0, "is_faithful": True}
    still, moved = make_transfer(is_faithful=True), make_transfer(**asked)
    assert np.abs(pixels(transfer(pipeline, moved)) - pixels(transfer(pipeline, still))).mean() > 2


def test_the_same_request_gives_the_same_bytes(pipeline):
    request = make_transfer(is_faithful=True)
    first, again = pixels(transfer(pipeline, request)), pixels(transfer(pipeline, request))
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("levers", [Levers(), Levers(cache_interval=2)])
def test_levers_of_speed_leave_the_inversion_alone(pipeline, levers):
    request = make_transfer(is_faithful=True, num_inference_steps=2, strength=0.5)  # one step
    plain = pixels(transfer(pipeline, request))
    pipeline.set_levers(levers)
    try:
        np.testing.assert_allclose(pixels(transfer(pipeline, request)), plain, atol=1)
    finally:
        pipeline.set_levers(PLAIN)


def test_several_are_inverted_at_once(pipeline):
    requests = [make_transfer(is_faithful=True, seed=seed) for seed in (3, 4)]
    together = sample_each(pipeline, [plan_transfer(pipeline, one) for one in requests])
    for request, image in zip(requests, together, strict=True):
        alone = pixels(transfer(pipeline, request))
        np.testing.assert_allclose(np.asarray(image, float), alone, atol=2)


def test_it_draws_inside_a_mask(pipeline):
    mask = mask_of_box((16, 16, 32, 32), 64, 64)
    request = make_transfer(is_faithful=True, mask=mask)
    drawn, source = pixels(transfer(pipeline, request)), np.asarray(request.source, float)
    outside = ~mask.pixels(64, 64)
    assert (drawn[outside] == source[outside]).all()
    assert (drawn != source).any()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_levels_are_those_of_the_sampler(name):
    scheduler = getattr(diffusers, name)(**SCHEDULERS[name])
    scheduler.set_timesteps(10)
    start = scheduler.timesteps[4]
    levels = levels_before(scheduler, start)
    assert [float(one.timestep) for one in levels] == scheduler.timesteps[4:].flip(0).tolist()
    noises = [one.noise / one.signal for one in levels]
    assert noises == sorted(noises)
    noised = scheduler.add_noise(torch.full((1, 1), 2.0), torch.ones(1, 1), start[None])
    assert float(noised) == pytest.approx(2 * levels[-1].signal + levels[-1].noise, rel=1e-5)


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow_prediction"])
def test_an_image_of_constant_noise_is_followed_exactly(prediction, grows):
    image, noise = torch.tensor([0.3, -0.8]), torch.tensor([1.1, 0.4])
    if grows and prediction == "flow_prediction":
        pytest.skip("flows have no sampler that lets the noise grow")
    levels = [_level(0.1 * number, prediction, grows) for number in range(1, 10)]

    def network(shown: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        level = _level(float(timestep), prediction, grows=False)
        if level.noise > 0.15:  # the first step is shown the image itself
            point = level.signal * image + level.noise * noise
            np.testing.assert_allclose(shown, point, atol=1e-4)
        match prediction:
            case "epsilon":
                return noise
            case "v_prediction":
                return (noise - level.noise * shown) / level.signal
            case _:
                return noise - image

    result, last = invert(image, levels, prediction, network), levels[-1]
    np.testing.assert_allclose(result, last.signal * image + last.noise * noise, atol=1e-4)


def _level(time: float, prediction: str, grows: bool) -> Level:
    signal, share = (
        (1 - time, time) if prediction == "flow_prediction" else (math.sqrt(1 - time**2), time)
    )
    if grows:
        signal, share = 1.0, share / signal
    return Level(timestep=torch.tensor(time), signal=signal, noise=share)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("EulerAncestralDiscreteScheduler", {}),
        ("LCMScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
)
def test_a_sampler_that_adds_noise_is_refused(name, config):
    scheduler = getattr(diffusers, name)(**config)
    with pytest.raises(RequestError, match=r"adds noise at every step.*Choose"):
        check_invertible(scheduler)


def test_an_unknown_prediction_is_refused():
    scheduler = SimpleNamespace(config={"prediction_type": "sample"})
    with pytest.raises(RequestError, match="cannot be inverted"):
        check_invertible(scheduler)


def test_a_style_image_is_refused():
    style = StyleImage(image=Image.new("RGB", (8, 8)))
    with pytest.raises(RequestError, match="has no style image"):
        make_transfer(is_faithful=True, style=style)
