"""Flow matching: noisy latents, the velocity loss and the sampler.

Source: Lipman et al., "Flow Matching for Generative Modeling" (2023), with logit-normal times of
Esser et al., "Scaling Rectified Flow Transformers" (2024).
"""

from dataclasses import dataclass

import torch
from diffusers import DPMSolverMultistepScheduler
from jaxtyping import Float
from torch import Tensor

from generation.training.loop import StepLoss


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoisyLatents:
    """Latents on their way to noise.

    Attributes:
        latents: (1 - t) data + t noise.
        timesteps: 1000 t, as the schedulers count.
        velocity: noise - data, the UNet's target.
    """

    latents: Float[Tensor, "n 4 h w"]
    timesteps: Float[Tensor, " n"]
    velocity: Float[Tensor, "n 4 h w"]


def add_flow_noise(
    latents: Float[Tensor, "n 4 h w"], generator: torch.Generator, uniform_share: float = 0.0
) -> NoisyLatents:
    """Move latents to logit-normal times t in (0, 1).

    Args:
        latents: Of the data.
        generator: Of times and noise.
        uniform_share: Share of the times that are uniform, since a sampler starts at t = 1, where
            logit-normal times are rare.
    """
    times = torch.sigmoid(torch.randn(len(latents), generator=generator))
    if uniform_share:
        is_uniform = torch.rand(len(latents), generator=generator) < uniform_share
        times = torch.where(is_uniform, torch.rand(len(latents), generator=generator), times)
    times = times.to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    share = times.view(-1, 1, 1, 1)
    return NoisyLatents(
        latents=(1 - share) * latents + share * noise,
        timesteps=1000 * times,
        velocity=noise - latents,
    )


def velocity_loss(predicted: Float[Tensor, "n 4 h w"], noisy: NoisyLatents) -> StepLoss:
    """Return the mean squared error of a predicted velocity."""
    loss = (predicted.float() - noisy.velocity).square().mean()
    return StepLoss(total=loss, parts={"velocity": loss})


def make_scheduler() -> DPMSolverMultistepScheduler:
    """Make the kit's sampler: a flow model in stock Stable Diffusion pipelines."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
        steps_offset=1,  # unused with flow sigmas; stock pipelines warn about 0
    )
