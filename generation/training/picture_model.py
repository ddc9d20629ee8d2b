"""A UNet and its control network as one module, trained together from the start."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ControlNetModel, DPMSolverMultistepScheduler, UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn

from composer.data.views import NUM_STUDIO
from generation.training.flow import make_scheduler
from generation.training.picture_cache import PictureBatch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Condition:
    """What pictures are drawn from.

    Attributes:
        states: Hidden states of the words and the token.
        lines: Drawings, white on black, 0 or 1.
        has_drawing: Which of them count.
        studio: Backdrop and lights, centred and of unit variance; None where they are not told.
    """

    states: Float[Tensor, "n l e"]
    lines: Float[Tensor, "n 1 h w"]
    has_drawing: Bool[Tensor, " n"]
    studio: Float[Tensor, "n 9"] | None = None

    @classmethod
    def of_batch(cls, batch: PictureBatch, *, tells_studio: bool) -> "Condition":
        """Return the conditions of cached pictures."""
        studio = batch.studio if tells_studio else None
        return cls(
            states=batch.states, lines=batch.lines, has_drawing=batch.has_drawing, studio=studio
        )

    def to(self, device: torch.device) -> "Condition":
        """Return it on a device."""
        return self._map(lambda part: part.to(device))

    def after(self, states: Float[Tensor, "n l e"]) -> "Condition":
        """Return a condition twice as long, with other states in its first half."""
        both = self._map(lambda part: torch.cat([part, part]))
        return replace(both, states=torch.cat([states, self.states]))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        return Condition(
            states=change(self.states),
            lines=change(self.lines),
            has_drawing=change(self.has_drawing),
            studio=None if self.studio is None else change(self.studio),
        )


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
        condition: Condition,
    ) -> Float[Tensor, "n 4 y x"]:
        """Return the velocity."""
        states, has_drawing = condition.states, condition.has_drawing
        if condition.studio is not None:
            studio = self.studio(condition.studio)[:, None]
            states = torch.cat([states, studio.to(states)], dim=1)
        residuals: dict[str, Any] = {}
        if bool(has_drawing.any()):
            down, middle = self.controlnet(
                noisy[has_drawing],
                timesteps[has_drawing],
                encoder_hidden_states=states[has_drawing],
                controlnet_cond=condition.lines[has_drawing].expand(-1, 3, -1, -1),
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
    condition: Condition,
    empty: Float[Tensor, "l e"],
    *,
    num_steps: int,
    guidance_scale: float,
) -> Float[Tensor, "n 4 y x"]:
    """Draw latents with the kit's sampler; guidance weighs the words, all else stays.

    Args:
        model: Draws.
        noise: Where it begins.
        condition: What is drawn.
        empty: Hidden states of the empty prompt.
        num_steps: Of the sampler.
        guidance_scale: Of the words; 1 is none.
    """
    scheduler: DPMSolverMultistepScheduler = make_scheduler()
    scheduler.set_timesteps(num_steps, device=noise.device)
    latents, both = noise, condition.after(empty.expand_as(condition.states))
    for timestep in scheduler.timesteps:
        times = timestep.to(noise).expand(2 * len(noise))
        velocity = model(latents.repeat(2, 1, 1, 1), times, both).float()
        without, with_words = velocity.chunk(2)
        guided = without + guidance_scale * (with_words - without)
        step: Any = scheduler.step(guided, timestep, latents)  # pyright: ignore[reportArgumentType]
        latents = step.prev_sample
    return latents
