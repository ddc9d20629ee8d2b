import pytest
import torch

from generation.training.flow import NoisyLatents, add_flow_noise, make_scheduler, velocity_loss
from generation.training.loop import step_generator


def test_flow_noise_meets_its_ends():
    latents = torch.randn(512, 4, 2, 2, generator=step_generator(0, 0))
    noisy = add_flow_noise(latents, step_generator(0, 1))
    share = (noisy.timesteps / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy.latents - share * noisy.velocity, latents)
    assert 0 < noisy.timesteps.min() < 100
    assert 900 < noisy.timesteps.max() < 1000
    assert float(noisy.timesteps.median()) == pytest.approx(500, abs=40)


def test_the_scheduler_walks_a_known_flow_home():
    """With the true velocity of one picture every sampler step must lead to that picture."""
    target, scheduler = torch.full((1, 4, 2, 2), 0.7), make_scheduler()
    scheduler.set_timesteps(8)
    latents = torch.randn(1, 4, 2, 2, generator=step_generator(0, 0))
    assert scheduler.timesteps[0] > 990
    for timestep in scheduler.timesteps:
        share = scheduler.sigmas[scheduler.step_index or 0]
        latents = scheduler.step((latents - target) / share, timestep, latents).prev_sample
    torch.testing.assert_close(latents, target, atol=1e-3, rtol=0)


def test_the_velocity_loss_is_a_mean_square():
    velocity = torch.ones(2, 4, 2, 2)
    noisy = NoisyLatents(latents=velocity, timesteps=torch.zeros(2), velocity=velocity)
    loss = velocity_loss(torch.full((2, 4, 2, 2), 3.0), noisy)
    assert float(loss.total) == 4.0
    assert loss.parts.keys() == {"velocity"}


def test_a_share_of_the_times_is_uniform():
    latents = torch.zeros(4000, 4, 1, 1)
    near_noise = {
        share: float(
            (add_flow_noise(latents, step_generator(0, 1), share).timesteps > 950).float().mean()
        )
        for share in (0.0, 0.5, 1.0)
    }
    assert near_noise[0.0] < 0.01
    assert 0.015 < near_noise[0.5] < 0.04
    assert 0.035 < near_noise[1.0] < 0.065
