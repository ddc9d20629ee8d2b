"""Stage 2: the UNet of the embedded kit, by flow matching, told captions and drawings' tokens.

Source: Lipman et al., "Flow Matching for Generative Modeling" (2023), with logit-normal times of
Esser et al., "Scaling Rectified Flow Transformers" (2024).
"""

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.files import atomic_folder
from composer.strategies.duet import DuetComposer
from generation.training.command import (
    Scale,
    StageOptions,
    contact_sheet,
    draw_indices,
    log,
    make_parser,
    read_options,
    write_json,
)
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.latents import cached_latents
from generation.training.loop import (
    Optimisation,
    Run,
    StepLoss,
    Trained,
    train,
    trained_before,
)
from generation.training.stock import move
from generation.training.text_export import (
    export_text_encoder,
    export_tokenizer,
    write_classic_tokenizer,
)

NAME = "diffusion"
MINUTES = {Scale.CPU: 100.0, Scale.GPU: 8.0}
MAX_PARAMETERS = 17_000_000
_CHANNELS_PER_HEAD = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionRecipe:
    """Size and training of a UNet.

    Attributes:
        block_out_channels: channels per level; there is no attention at the finest.
        layers_per_block: residual blocks per level.
        batch_size: pictures a step.
        coarse_share: share of the budget in (0, 1), at its beginning, that learns from pictures of
            half the size: what is asked for is learnt there, at twice the pictures a minute.
        shares: what it is told how often.
        optimisation: rates and schedule.
    """

    block_out_channels: tuple[int, ...] = (64, 128, 256)
    layers_per_block: int = 1
    batch_size: int = 32
    coarse_share: float = 0.5
    shares: Shares = field(default_factory=Shares)
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(
            learning_rate=6e-4, num_warmup_steps=100, decay_share=0.4
        )
    )


RECIPES = {
    Scale.CPU: DiffusionRecipe(),
    Scale.GPU: DiffusionRecipe(
        batch_size=256, optimisation=Optimisation(learning_rate=1e-3, average_decay=0.9995)
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KitSources:
    """What stands below the UNet.

    Attributes:
        clip: folder of the kit's CLIP.
        duet: its trained duet composer.
        vae: folder of its autoencoder.
    """

    clip: Path
    duet: Path
    vae: Path


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
        """Draw pictures, conditions, times and noise, and compare velocities."""
        indices = draw_indices(generator, len(self.rows), self.batch_size)
        latents = self.latents[indices.to(self.latents.device)].float()
        hidden = self.conditioner.draw(self.rows[indices.numpy()], generator)
        noisy = add_flow_noise(latents, generator)
        predicted = self.module(noisy.latents, noisy.timesteps, encoder_hidden_states=hidden).sample
        loss = (predicted.float() - noisy.velocity).square().mean()
        return StepLoss(total=loss, parts={"velocity": loss})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoisyLatents:
    """Latents on their way to noise.

    Attributes:
        latents: (1 - t) data + t noise.
        timesteps: 1000 t, as the schedulers count.
        velocity: noise - data, what the UNet predicts.
    """

    latents: Float[Tensor, "n 4 h w"]
    timesteps: Float[Tensor, " n"]
    velocity: Float[Tensor, "n 4 h w"]


def add_flow_noise(latents: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> NoisyLatents:
    """Move latents to logit-normal times t in (0, 1)."""
    times = torch.sigmoid(torch.randn(len(latents), generator=generator)).to(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    share = times.view(-1, 1, 1, 1)
    return NoisyLatents(
        latents=(1 - share) * latents + share * noise,
        timesteps=1000 * times,
        velocity=noise - latents,
    )


def make_unet(
    recipe: DiffusionRecipe, token_width: int, sample_size: int, seed: int
) -> UNet2DConditionModel:
    """An untrained UNet of the stock class; the same seed gives the same weights.

    Raises:
        ValueError: it would have more parameters than the kit allows.
    """
    channels = recipe.block_out_channels
    coarse = len(channels) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stock: Any = UNet2DConditionModel  # its hints ask for tuples of one
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


def make_scheduler() -> DPMSolverMultistepScheduler:
    """The kit's sampler: a flow model in stock Stable Diffusion pipelines."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
        steps_offset=1,  # unused with flow sigmas; stock pipelines warn about 0
    )


def load_autoencoder(folder: Path, device: torch.device) -> AutoencoderKL:
    """A trained autoencoder in fp32, frozen."""
    vae = AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    move(vae.eval().requires_grad_(False), torch.float32)
    move(vae, device)
    return vae


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """Everything frozen that stages above the autoencoder train on.

    Attributes:
        pack: the training pack.
        rows: pictures used.
        vae: the autoencoder.
        backbone: the kit's CLIP.
        conditioner: draws and encodes conditions of the train split.
        latents: of `rows`.
    """

    pack: CataloguePack
    rows: Int[np.ndarray, " n"]
    vae: AutoencoderKL
    backbone: Backbone
    conditioner: Conditioner
    latents: Float[Tensor, "n 4 h w"]


def prepare(options: StageOptions, sources: KitSources, shares: Shares) -> Prepared:
    """Load what stands below, cache latents and tokens.

    Raises:
        PackError: the pack cannot be read.
        BackboneError: the CLIP cannot be loaded.
        ComposerError: the composer does not fit the CLIP.
    """
    pack = CataloguePack.open(options.data)
    rows = usable_rows(pack, "train")
    backbone = Backbone.load(sources.clip, device=options.device)
    log("tokens of the drawings")
    tokens = collect_tokens(DuetComposer.load(sources.duet, backbone), pack, "train")
    vae = load_autoencoder(sources.vae, options.device)
    path = options.out / "latents.safetensors"
    return Prepared(
        pack=pack,
        rows=rows,
        vae=vae,
        backbone=backbone,
        conditioner=Conditioner(backbone, pack, tokens, shares),
        latents=cached_latents(path, vae, pack, rows, options.device),
    )


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
    ready = prepare(options, sources, recipe.shares)
    unet = make_unet(recipe, ready.backbone.token_width, ready.latents.shape[-1], options.seed)
    optimisation = replace(recipe.optimisation, seed=options.seed)
    coarse = _train_coarse(unet, ready, recipe, optimisation, run)
    stage = DiffusionStage(unet, ready.latents, ready.rows, ready.conditioner, recipe.batch_size)
    rest = replace(run, budget=run.budget.part(1 - recipe.coarse_share))
    trained = train(stage, optimisation, rest)
    pipeline = assemble_pipeline(ready.vae, unet, ready.backbone, sources.clip)
    sheet = validation_sheet(pipeline, ready, options.seed)
    sheet.save(run.folder / "samples.png")
    folder = run.folder / "pipeline"
    save_pipeline(pipeline, sources.clip, folder)
    write_json(
        run.folder / "metrics.json",
        {
            "loss": float(np.mean(trained.last_losses[-200:])) if trained.last_losses else None,
            "num_coarse_steps": coarse.num_steps,
            "num_steps": trained.num_steps,
            "minutes": (coarse.elapsed_s + trained.elapsed_s) / 60,
            "num_images_seen": (coarse.num_steps + trained.num_steps) * recipe.batch_size,
            "num_parameters": sum(p.numel() for p in unet.parameters()),
            "text_hash": ready.backbone.text_hash,
        },
    )
    return folder


def _train_coarse(
    unet: UNet2DConditionModel,
    ready: Prepared,
    recipe: DiffusionRecipe,
    optimisation: Optimisation,
    run: Run,
) -> Trained:
    """Train on pictures of half the size; nothing in the UNet is tied to a size.

    A run that has gone on to whole pictures does not come back here, however long it is given.
    """
    part = replace(run, folder=run.folder / "coarse", budget=run.budget.part(recipe.coarse_share))
    if trained_before(run).num_steps:  # steps made here would be undone by that state
        return trained_before(part)
    path = part.folder / "latents.safetensors"
    latents = cached_latents(path, ready.vae, ready.pack, ready.rows, run.device, shrink=2)
    stage = DiffusionStage(unet, latents, ready.rows, ready.conditioner, recipe.batch_size)
    # Its end is no end: the rate falls at the end of the whole only.
    return train(stage, replace(optimisation, decay_share=0.05), part)


def assemble_pipeline(
    vae: AutoencoderKL, unet: UNet2DConditionModel, backbone: Backbone, clip_folder: Path
) -> StableDiffusionPipeline:
    """Put the parts together, the text encoder carrying the CLIP's text tower.

    Raises:
        ExportError: the CLIP cannot become a text encoder.
    """
    stock: Any = StableDiffusionPipeline  # parts may be None, whatever its hints say
    pipeline: StableDiffusionPipeline = stock(
        vae=vae,
        text_encoder=export_text_encoder(backbone),
        tokenizer=export_tokenizer(backbone, clip_folder),
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(unet.device)


def save_pipeline(pipeline: StableDiffusionPipeline, clip_folder: Path, folder: Path) -> None:
    """Write a pipeline in fp16; the folder appears whole or not at all."""
    with atomic_folder(folder) as unfinished:
        pipeline.to(torch.float16).save_pretrained(unfinished, safe_serialization=True)
        pipeline.to(torch.float32)
        _open_in_float32(unfinished / "text_encoder" / "config.json")
        write_classic_tokenizer(clip_folder, unfinished / "tokenizer")


def _open_in_float32(config: Path) -> None:
    """Opened without a dtype, diffusers' parts are float32, and transformers' what this says."""
    fields = json.loads(config.read_text(encoding="utf-8"))
    fields["dtype"] = "float32"
    config.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def validation_sheet(pipeline: StableDiffusionPipeline, ready: Prepared, seed: int) -> Image.Image:
    """Pictures of validation designs: by caption above, by caption's truth below, 8 a row."""
    rows = ready.pack.rows(split="validation", domain=PHOTO)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 16)).astype(int)]
    captions = [ready.pack.items[row].caption for row in rows]
    with torch.inference_mode():
        output: Any = pipeline(
            captions,
            num_inference_steps=16,
            guidance_scale=2.5,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        )
    levels = (np.asarray(output.images) * 255).round().astype(np.uint8)
    truth = ready.pack.pixels(rows)
    if levels.shape[1:] != truth.shape[1:]:
        return contact_sheet(levels, 8)
    return contact_sheet(_interleave(levels, truth, 8), 8)


def _interleave(above: np.ndarray, below: np.ndarray, width: int) -> np.ndarray:
    pairs = [
        half
        for start in range(0, len(above), width)
        for half in (above[start : start + width], below[start : start + width])
    ]
    return np.concatenate(pairs)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what stands below."""
    texts = {
        "clip": "folder of the kit's CLIP",
        "duet": "the trained duet.safetensors",
        "vae": "folder of the autoencoder; default: <out>/autoencoder/vae",
    }
    for name, text in texts.items():
        parser.add_argument(f"--{name}", type=Path, required=name != "vae", help=text)


def read_sources(args: argparse.Namespace) -> KitSources:
    """Turn parsed arguments into sources."""
    return KitSources(
        clip=args.clip, duet=args.duet, vae=args.vae or args.out / "autoencoder" / "vae"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = make_parser("Train the embedded kit's UNet.")
    add_source_arguments(parser)
    args = parser.parse_args(arguments)
    train_diffusion(read_options(args, MINUTES), read_sources(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
