"""Stage 3: a small control network on the frozen UNet, trained on sketches and traced lines.

Source: Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models" (2023).
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from jaxtyping import Float, Int
from torch import Tensor

from generation.training.command import (
    Scale,
    StageOptions,
    draw_indices,
    log,
    make_parser,
    read_options,
    write_json,
)
from generation.training.conditions import Conditioner, Shares
from generation.training.flow import add_flow_noise, velocity_loss
from generation.training.inputs import (
    KitSources,
    add_source_arguments,
    prepare,
    read_sources,
)
from generation.training.loop import Optimisation, StepLoss, train
from generation.training.pipeline_export import save_control_network
from generation.training.scribbles import Scribbles
from generation.training.stock import move

NAME = "control"
MINUTES = {Scale.CPU: 40.0, Scale.GPU: 4.0}
MAX_BYTES = 16 * 10**6
OPTIMISATION = Optimisation(
    batch_size=16, learning_rate=4e-4, num_warmup_steps=100, average_decay=0.998
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRecipe:
    """Size and training of a control network.

    Attributes:
        conditioning_channels: channels of the layers that reduce lines to the size of latents.
        shares: how often it gets which condition; more empty ones than the UNet gets, so that the
            lines have to carry the information.
        optimisation: rates and schedule.
    """

    conditioning_channels: tuple[int, ...] = (16, 32, 64, 96)
    shares: Shares = field(
        default_factory=lambda: Shares(caption=0.25, token_words=0.35, token=0.15, empty=0.25)
    )
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: ControlRecipe(),
    Scale.GPU: ControlRecipe(optimisation=replace(OPTIMISATION, batch_size=128)),
}


class ControlStage:
    """Trains a control network; the UNet is frozen."""

    name = NAME

    def __init__(
        self,
        controlnet: ControlNetModel,
        unet: UNet2DConditionModel,
        latents: Float[Tensor, "n 4 h w"],
        rows: Int[np.ndarray, " n"],
        conditioner: Conditioner,
        scribbles: Scribbles,
        batch_size: int,
    ) -> None:
        self.module = controlnet
        self.unet = unet.eval().requires_grad_(False)
        move(unet, latents.device)
        self.latents, self.rows = latents, rows
        self.conditioner, self.scribbles, self.batch_size = conditioner, scribbles, batch_size

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw pictures, lines, conditions, times and noise; compare velocities."""
        indices = draw_indices(generator, len(self.rows), self.batch_size)
        rows = self.rows[indices.numpy()]
        latents = self.latents[indices.to(self.latents.device)].float()
        hidden = self.conditioner.draw(rows, generator)
        lines = self.scribbles.draw(rows, generator).to(latents)
        noisy = add_flow_noise(latents, generator)
        down, middle = self.module(
            noisy.latents,
            noisy.timesteps,
            encoder_hidden_states=hidden,
            controlnet_cond=lines,
            return_dict=False,
        )
        predicted = self.unet(
            noisy.latents,
            noisy.timesteps,
            encoder_hidden_states=hidden,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return velocity_loss(predicted, noisy)


def make_controlnet(
    unet: UNet2DConditionModel, recipe: ControlRecipe, seed: int
) -> ControlNetModel:
    """Make a control network that starts from the UNet's weights and has no effect yet.

    Raises:
        ValueError: it would be larger than the kit allows.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controlnet = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=recipe.conditioning_channels
        )
    size = 2 * sum(parameter.numel() for parameter in controlnet.parameters())
    if size > MAX_BYTES:
        raise ValueError(f"The control network may take {MAX_BYTES} bytes in fp16, got {size}.")
    return controlnet


def train_control(
    options: StageOptions,
    sources: KitSources,
    unet_folder: Path,
    recipe: ControlRecipe | None = None,
) -> Path:
    """Train a control network and export `<out>/control/controlnet` in fp16.

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
    unet = UNet2DConditionModel.from_pretrained(
        unet_folder, use_safetensors=True, local_files_only=True
    ).float()
    controlnet = make_controlnet(unet, recipe, options.seed)
    scribbles = Scribbles(inputs.pack, "train")
    stage = ControlStage(
        controlnet,
        unet,
        inputs.latents,
        inputs.rows,
        inputs.conditioner,
        scribbles,
        recipe.optimisation.batch_size,
    )
    trained = train(stage, replace(recipe.optimisation, seed=options.seed), run)
    folder = run.folder / "controlnet"
    save_control_network(controlnet, folder)
    write_json(
        run.folder / "metrics.json",
        {
            "loss": trained.recent_loss,
            "num_steps": trained.num_steps,
            "minutes": trained.elapsed_s / 60,
            "num_parameters": sum(p.numel() for p in controlnet.parameters()),
        },
    )
    log(f"{NAME}: {trained.num_steps} steps")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the embedded kit's control network.")
    add_source_arguments(parser)
    parser.add_argument(
        "--unet", type=Path, help="folder of the UNet; default: <out>/diffusion/pipeline/unet"
    )
    args = parser.parse_args(arguments)
    unet = args.unet or args.out / "diffusion" / "pipeline" / "unet"
    train_control(read_options(args, MINUTES), read_sources(args), unet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
