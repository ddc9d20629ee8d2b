"""Inversion of a source image: the noise from which a sampler would draw it without guidance.

Source: Song, Meng, Ermon 2021, "Denoising Diffusion Implicit Models", section 4.3: the sampler's
differential equation, followed from the image to the noise. Two differences: it covers models of
flows, too, whose equation is that of their velocity; and each step takes the mean of the slopes at
its two ends, which costs no further call of the network (its first step has one end).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from generation.request import RequestError

_SD3: Final = "StableDiffusion3"
_RANDOM: Final = ("Ancestral", "LCM", "TCD", "SDE")
_PREDICTIONS: Final = ("epsilon", "v_prediction", "flow_prediction")
_FLOW: Final = "flow_prediction"

Network = Callable[[Tensor, Tensor], Tensor]
"""Returns the prediction for noisy latents, as the network takes them, and a timestep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One step of a sampler: latents there are `signal` image and `noise` noise.

    Attributes:
        timestep: as the network takes it.
        signal: share of the image.
        noise: share of the noise.
    """

    timestep: Tensor
    signal: float
    noise: float


def begin_inverted(
    pipe: Any,  # noqa: ANN401  a pipeline of diffusers for image-to-image
    denoiser: Any,  # noqa: ANN401  its model
    call: Mapping[str, Any],
    plainly: Callable[[], AbstractContextManager[None]],
) -> None:
    """Have a pipeline invert the image where it would add noise to it, in its next run.

    The network reads the negative words, which are none unless the request has some.

    Args:
        pipe: with a sampler of its own, which is changed.
        denoiser: the model that removes noise.
        call: arguments of the run.
        plainly: returns a context in which the model runs without the levers of speed, which expect
            the calls of one image in their order.

    Raises:
        RequestError: the kit or its sampler cannot invert.
    """
    scheduler: Any = pipe.scheduler
    if type(pipe).__name__.startswith(_SD3):
        raise RequestError(
            "This kit cannot invert a source. Choose a transfer that is not faithful."
        )
    check_invertible(scheduler)

    def to_noise(latents: Tensor, _: Tensor, timesteps: Tensor) -> Tensor:
        fixed = _conditions(call, latents, int(pipe.vae_scale_factor))

        def network(noisy: Tensor, timestep: Tensor) -> Tensor:
            return denoiser(noisy, timestep, return_dict=False, **fixed)[0]

        levels = levels_before(scheduler, timesteps[0])
        with plainly():
            return invert(latents, levels, scheduler.config.prediction_type, network)

    scheduler.add_noise = to_noise


def _conditions(call: Mapping[str, Any], latents: Tensor, scale: int) -> dict[str, Any]:
    """Return what the denoiser is given beside latents and timestep."""
    states = {"encoder_hidden_states": call["negative_prompt_embeds"].to(latents)}
    if "negative_pooled_prompt_embeds" not in call:
        return states
    height, width = (scale * side for side in latents.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]]).expand(len(latents), -1)
    pooled = call["negative_pooled_prompt_embeds"].to(latents)
    return {**states, "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes.to(latents)}}


def check_invertible(scheduler: Any) -> None:  # noqa: ANN401  a sampler of diffusers
    """Check that a sampler follows a differential equation that can be followed back.

    Raises:
        RequestError: it draws noise at every step, or predicts something unusual.
    """
    name = type(scheduler).__name__
    algorithm = str(scheduler.config.get("algorithm_type", ""))
    if any(word in name for word in _RANDOM) or algorithm.startswith("sde"):
        raise RequestError(
            f"The sampler {name} adds noise at every step, so that it cannot be followed back from "
            "a picture. Choose a kit whose [scheduler] names another, such as DDIMScheduler."
        )
    if scheduler.config.get("prediction_type") not in _PREDICTIONS:
        raise RequestError(f"The sampler {name} of this kit cannot be inverted.")


def levels_before(scheduler: Any, start: Tensor) -> list[Level]:  # noqa: ANN401  of diffusers
    """Return the levels of a sampler from the image's side up to a timestep, the least noisy first.

    Args:
        scheduler: with its timesteps set.
        start: the timestep where drawing begins.
    """
    apart = type(scheduler).from_config(scheduler.config)  # asked without touching its state
    apart.set_timesteps(scheduler.num_inference_steps, device=start.device)
    zero, one = torch.zeros(1, 1, device=start.device), torch.ones(1, 1, device=start.device)
    first = int((apart.timesteps >= start).nonzero()[-1])
    return [
        Level(
            timestep=timestep,
            signal=float(apart.add_noise(one, zero, timestep[None])),
            noise=float(apart.add_noise(zero, one, timestep[None])),
        )
        for timestep in apart.timesteps[first:].flip(0)
    ]


def invert(latents: Tensor, levels: Sequence[Level], prediction: str, network: Network) -> Tensor:
    """Follow an image's latents to the noisiest of the levels.

    Args:
        latents: of the image, scaled as the network was trained.
        levels: as `levels_before` returns them.
        prediction: what the network predicts: "epsilon", "v_prediction" or "flow_prediction".
        network: the network.
    """
    at = Level(timestep=levels[0].timestep, signal=1.0, noise=0.0)
    before: Tensor | None = None
    for level in levels:
        guess = latents if before is None else _advance(latents, before, at, level, prediction)
        slope = _slope(guess, level, prediction, network)
        mean = slope if before is None else (before + slope) / 2
        latents = _advance(latents, mean, at, level, prediction)
        at, before = level, slope
    return latents


def _advance(latents: Tensor, slope: Tensor, at: Level, to: Level, prediction: str) -> Tensor:
    if prediction == _FLOW:
        return latents + (to.noise - at.noise) * slope
    share = to.signal / at.signal
    return share * latents + (to.noise - share * at.noise) * slope


def _slope(latents: Tensor, level: Level, prediction: str, network: Network) -> Tensor:
    """Return what the equation is integrated over: the velocity of a flow, otherwise the noise."""
    if prediction == _FLOW:
        return network(latents, level.timestep)
    scale = (level.signal**2 + level.noise**2) ** 0.5  # 1 unless the sampler lets the noise grow
    shown = latents / scale
    predicted = network(shown, level.timestep)
    if prediction == "epsilon":
        return predicted
    return (level.noise * shown + level.signal * predicted) / scale
