"""Stage 2: the UNet of the embedded kit, by flow matching, on captions and drawings' tokens."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor

from generation.training.command import (
    Scale,
    StageOptions,
    draw_indices,
    make_parser,
    read_options,
    write_json,
)
from generation.training.conditions import Conditioner, Shares
from generation.training.flow import add_flow_noise, velocity_loss
from generation.training.inputs import (
    KitSources,
    TrainingInputs,
    add_source_arguments,
    prepare,
    read_sources,
)
from generation.training.latents import cached_latents
from generation.training.loop import (
    Optimisation,
    Run,
    StepLoss,
    TrainingResult,
    progress_of,
    train,
)
from generation.training.pipeline_export import (
    assemble_pipeline,
    save_pipeline,
    validation_sheet,
)

NAME = "diffusion"
MINUTES = {Scale.CPU: 100.0, Scale.GPU: 8.0}
MAX_PARAMETERS = 17_000_000
_CHANNELS_PER_HEAD = 32
OPTIMISATION = Optimisation(
    batch_size=32, learning_rate=6e-4, num_warmup_steps=100, decay_share=0.4
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionRecipe:
    """Size and training of a UNet.

    Attributes:
        block_out_channels: channels per level; there is no attention at the finest.
        layers_per_block: residual blocks per level.
        coarse_share: share of the budget in (0, 1), at its beginning, spent on pictures of half the
            size, where conditions are learnt at twice the pictures a minute.
        shares: how often it gets which condition.
        optimisation: rates and schedule.
    """

    block_out_channels: tuple[int, ...] = (64, 128, 256)
    layers_per_block: int = 1
    coarse_share: float = 0.5
    shares: Shares = field(default_factory=Shares)
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: DiffusionRecipe(),
    Scale.GPU: DiffusionRecipe(
        optimisation=Optimisation(batch_size=256, learning_rate=1e-3, average_decay=0.9995)
    ),
}


class DiffusionStage:
    """Trains a UNet on cached latents."""

    name = NAME

    def __init__(
        self,
        unet: UNet2DConditionModel,
        latents: Float[Tensor, "n 4 h w"],
        rows: Int[np.ndarray, " n"],
        conditioner: Conditioner,
        batch_size: int,
    ) -> None:
        self.module = unet
        self.latents, self.rows = latents, rows
        self.conditioner, self.batch_size = conditioner, batch_size

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw pictures, conditions, times and noise; compare velocities."""
        indices = draw_indices(generator, len(self.rows), self.batch_size)
        latents = self.latents[indices.to(self.latents.device)].float()
        hidden = self.conditioner.draw(self.rows[indices.numpy()], generator)
        noisy = add_flow_noise(latents, generator)
        predicted = self.module(noisy.latents, noisy.timesteps, encoder_hidden_states=hidden).sample
        return velocity_loss(predicted, noisy)


def make_unet(
    recipe: DiffusionRecipe, token_width: int, sample_size: int, seed: int
) -> UNet2DConditionModel:
    """Make an untrained UNet of the stock class; the same seed gives the same weights.

    Raises:
        ValueError: it would have more parameters than the kit allows.
    """
    channels = recipe.block_out_channels
    coarse = len(channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock: Any = UNet2DConditionModel  # its type hints allow tuples of length one only
        unet: UNet2DConditionModel = stock(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            block_out_channels=channels,
            layers_per_block=recipe.layers_per_block,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * coarse),
            up_block_types=(*("CrossAttnUpBlock2D",) * coarse, "UpBlock2D"),
            cross_attention_dim=token_width,
            # diffusers takes this for the number of heads.
            attention_head_dim=tuple(max(1, width // _CHANNELS_PER_HEAD) for width in channels),
            norm_num_groups=min(32, channels[0] // 2),
        )
    count = sum(parameter.numel() for parameter in unet.parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(f"The UNet may have at most {MAX_PARAMETERS} parameters, got {count}.")
    return unet


def train_diffusion(
    options: StageOptions, sources: KitSources, recipe: DiffusionRecipe | None = None
) -> Path:
    """Train a UNet and export `<out>/diffusion/pipeline`, a folder stock diffusers opens, in fp16.

    Returns:
        The exported folder.

    Raises:
        PackError: the pack cannot be read.
        BackboneError: the CLIP cannot be loaded.
        ComposerError: the composer does not fit the CLIP.
    """
    recipe = recipe or RECIPES[options.scale]
    run = options.run(NAME)
    inputs = prepare(options, sources, recipe.shares)
    unet = make_unet(recipe, inputs.backbone.token_width, inputs.latents.shape[-1], options.seed)
    optimisation = replace(recipe.optimisation, seed=options.seed)
    coarse = _train_coarse(unet, inputs, recipe.coarse_share, optimisation, run)
    stage = DiffusionStage(
        unet, inputs.latents, inputs.rows, inputs.conditioner, optimisation.batch_size
    )
    rest = replace(run, budget=run.budget.part(1 - recipe.coarse_share))
    trained = train(stage, optimisation, rest)
    pipeline = assemble_pipeline(inputs.vae, unet, inputs.backbone, sources.clip)
    validation_sheet(pipeline, inputs.pack, options.seed).save(run.folder / "samples.png")
    folder = run.folder / "pipeline"
    save_pipeline(pipeline, sources.clip, folder)
    write_json(
        run.folder / "metrics.json",
        {
            "loss": trained.recent_loss,
            "num_coarse_steps": coarse.num_steps,
            "num_steps": trained.num_steps,
            "minutes": (coarse.elapsed_s + trained.elapsed_s) / 60,
            "num_images_seen": (coarse.num_steps + trained.num_steps) * optimisation.batch_size,
            "num_parameters": sum(p.numel() for p in unet.parameters()),
            "text_hash": inputs.backbone.text_hash,
        },
    )
    return folder


def _train_coarse(
    unet: UNet2DConditionModel,
    inputs: TrainingInputs,
    coarse_share: float,
    optimisation: Optimisation,
    run: Run,
) -> TrainingResult:
    """Train on pictures of half the size; nothing in the UNet is tied to a size.

    A run that already trains on whole pictures does not return here, whatever its budget.
    """
    part = replace(run, folder=run.folder / "coarse", budget=run.budget.part(coarse_share))
    if progress_of(run).num_steps:  # that state would undo steps made here
        return progress_of(part)
    path = part.folder / "latents.safetensors"
    latents = cached_latents(path, inputs.vae, inputs.pack, inputs.rows, run.device, shrink=2)
    stage = DiffusionStage(unet, latents, inputs.rows, inputs.conditioner, optimisation.batch_size)
    # The rate falls fully only at the end of the whole training.
    return train(stage, replace(optimisation, decay_share=0.05), part)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the embedded kit's UNet.")
    add_source_arguments(parser)
    args = parser.parse_args(arguments)
    train_diffusion(read_options(args, MINUTES), read_sources(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
