"""A UNet and its control network as one module, trained together from the start."""

from typing import Any

import torch
from diffusers import ControlNetModel, DPMSolverMultistepScheduler, UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn

from composer.data.views import NUM_STUDIO
from generation.training.flow import make_scheduler


class PictureModel(nn.Module):
    """Velocity of noisy latents, from words, a drawing and the studio.

    Without a drawing the control network has no part in it, as in pipelines without one. The studio
    is one more state behind those of the words, or nothing: pipelines that know no studio draw
    without one.
    """

    def __init__(
        self, unet: UNet2DConditionModel, controlnet: ControlNetModel, seed: int = 0
    ) -> None:
        super().__init__()
        self.unet, self.controlnet = unet, controlnet
        config: Any = unet.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.studio = nn.Linear(NUM_STUDIO, config.cross_attention_dim)

    def forward(
        self,
        noisy: Float[Tensor, "n 4 y x"],
        timesteps: Float[Tensor, " n"],
        states: Float[Tensor, "n l e"],
        lines: Float[Tensor, "n 1 h w"],
        has_drawing: Bool[Tensor, " n"],
        studio: Float[Tensor, "n 9"] | None = None,
    ) -> Float[Tensor, "n 4 y x"]:
        """Return the velocity; `lines` counts only where there is a drawing."""
        if studio is not None:
            states = torch.cat([states, self.studio(studio)[:, None].to(states)], dim=1)
        residuals: dict[str, Any] = {}
        if bool(has_drawing.any()):
            down, middle = self.controlnet(
                noisy[has_drawing],
                timesteps[has_drawing],
                encoder_hidden_states=states[has_drawing],
                controlnet_cond=lines[has_drawing].expand(-1, 3, -1, -1),
                return_dict=False,
            )
            residuals["down_block_additional_residuals"] = tuple(
                _spread(part, has_drawing) for part in down
            )
            residuals["mid_block_additional_residual"] = _spread(middle, has_drawing)
        return self.unet(noisy, timesteps, encoder_hidden_states=states, **residuals).sample


def _spread(part: Float[Tensor, "m c y x"], is_used: Bool[Tensor, " n"]) -> Tensor:
    """Put rows where they belong, zeros elsewhere."""
    if len(part) == len(is_used):
        return part
    return part.new_zeros(len(is_used), *part.shape[1:]).index_put((is_used.nonzero()[:, 0],), part)


def make_small_control(
    unet: UNet2DConditionModel, conditioning_channels: tuple[int, ...], seed: int
) -> ControlNetModel:
    """Make a control network without effect, with attention at the lowest level alone."""
    config: Any = unet.config
    channels = config.block_out_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock: Any = ControlNetModel  # its type hints allow tuples of one length only
        return stock(
            in_channels=config.in_channels,
            block_out_channels=channels,
            layers_per_block=config.layers_per_block,
            down_block_types=(*("DownBlock2D",) * (len(channels) - 1), "CrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2D",
            cross_attention_dim=config.cross_attention_dim,
            attention_head_dim=config.attention_head_dim,
            norm_num_groups=config.norm_num_groups,
            conditioning_embedding_out_channels=conditioning_channels,
        )


@torch.no_grad()
def sample_latents(
    model: PictureModel,
    noise: Float[Tensor, "n 4 y x"],
    states: Float[Tensor, "n l e"],
    empty: Float[Tensor, "l e"],
    lines: Float[Tensor, "n 1 h w"],
    has_drawing: Bool[Tensor, " n"],
    *,
    num_steps: int,
    guidance_scale: float,
) -> Float[Tensor, "n 4 y x"]:
    """Draw latents with the kit's sampler; guidance weighs the words, the drawing stays."""
    scheduler: DPMSolverMultistepScheduler = make_scheduler()
    scheduler.set_timesteps(num_steps, device=noise.device)
    latents, both = noise, torch.cat([empty.expand_as(states), states])
    for timestep in scheduler.timesteps:
        times = timestep.to(noise).expand(2 * len(noise))
        velocity = model(
            latents.repeat(2, 1, 1, 1),
            times,
            both,
            lines.repeat(2, 1, 1, 1),
            has_drawing.repeat(2),
        ).float()
        without, with_words = velocity.chunk(2)
        guided = without + guidance_scale * (with_words - without)
        step: Any = scheduler.step(guided, timestep, latents)  # pyright: ignore[reportArgumentType]
        latents = step.prev_sample
    return latents
