"""UNet and control network of the embedded kit, trained together on pictures of 256 px."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.strategies.duet import DuetComposer
from composer.weights import WeightsError
from generation.control import CONTROL_LINE_SHARE
from generation.sketchbook import FILE_NAME as SKETCHBOOK
from generation.studio_light import FILE_NAME, StudioLight
from generation.training.command import (
    Pixels,
    Scale,
    StageOptions,
    contact_sheet,
    log,
    make_parser,
    read_options,
    to_levels,
    write_json,
)
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.flow import add_flow_noise, velocity_loss
from generation.training.inputs import (
    KitSources,
    add_source_arguments,
    load_autoencoder,
    read_sources,
)
from generation.training.loop import (
    Optimisation,
    Run,
    StepLoss,
    progress_of,
    step_generator,
    train,
)
from generation.training.picture_cache import CacheSources, Drops, PictureCache, build_cache
from generation.training.picture_model import (
    Condition,
    PictureModel,
    make_small_control,
    sample_latents,
)
from generation.training.pipeline_export import (
    assemble_pipeline,
    save_control_network,
    save_pipeline,
)
from generation.training.sketchbook import make_sketchbook
from generation.training.stock import decode, move
from generation.training.unet import UnetShape, make_unet

NAME = "pictures"
MINUTES = {Scale.CPU: 480.0, Scale.GPU: 12.0}
_NUM_SHOWN = 6
_NUM_STUDIOS = 256
_SHOWN_STEPS = 16
_SHOWN_GUIDANCE = 2.5
OPTIMISATION = Optimisation(
    batch_size=32,
    learning_rate=6e-4,
    decay_share=0.4,
    skips_non_finite=True,
    channels_last=False,  # a fifth faster on CPUs
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PicturesRecipe:
    """Size and training of UNet and control network.

    Attributes:
        unet: The UNet's size.
        conditioning_channels: Channels of the layers that reduce lines to the size of latents.
        size_px: Side of the pictures.
        coarse_share: Share of the budget, at its beginning, spent on pictures of half the size.
        shares: How often which condition is cached; none is empty.
        num_conditions: Conditions cached for each picture.
        drops: How often words and drawing are left out, each by itself.
        studio_share: Share of the steps in which backdrop and lights are told.
        uniform_share: Share of the times that are uniform in place of logit-normal.
        has_mirrored: Whether the mirrored pictures are learned, too.
        optimisation: Rates and schedule.
    """

    unet: UnetShape = field(default_factory=UnetShape)
    conditioning_channels: tuple[int, ...] = (16, 32, 64, 96)
    size_px: int = 256
    coarse_share: float = 0.4
    shares: Shares = field(
        default_factory=lambda: Shares(caption=0.445, token_words=0.445, token=0.11, empty=0.0)
    )
    num_conditions: int = 3
    drops: Drops = field(default_factory=Drops)
    studio_share: float = 0.5
    uniform_share: float = 0.1
    has_mirrored: bool = True
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: PicturesRecipe(),
    Scale.GPU: PicturesRecipe(
        optimisation=replace(
            OPTIMISATION,
            batch_size=256,
            learning_rate=1e-3,
            average_decay=0.9995,
            check_every_s=60.0,
            channels_last=True,
        )
    ),
}


def further_recipe(recipe: PicturesRecipe) -> PicturesRecipe:
    """Return the recipe with which finished networks train on: whole pictures alone.

    The drawing is left out more often, since from words and token alone there is most to learn,
    and the rate falls sooner.
    """
    optimisation = recipe.optimisation
    return replace(
        recipe,
        coarse_share=0.0,
        drops=replace(recipe.drops, drawing=0.3),
        optimisation=replace(
            optimisation, learning_rate=optimisation.learning_rate * 2 / 3, decay_share=0.6
        ),
    )


class PictureStage:
    """Trains UNet and control network on cached inputs."""

    name = NAME

    def __init__(self, model: PictureModel, cache: PictureCache, recipe: PicturesRecipe) -> None:
        self.module, self.cache, self.recipe = model, cache, recipe

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw pictures, conditions, times and noise; compare velocities."""
        device = next(self.module.parameters()).device
        batch = self.cache.draw(self.recipe.optimisation.batch_size, self.recipe.drops, generator)
        recipe = self.recipe
        noisy = add_flow_noise(batch.latents.to(device), generator, recipe.uniform_share)
        tells_studio = float(torch.rand((), generator=generator)) < recipe.studio_share
        condition = Condition.of_batch(batch, tells_studio=tells_studio).to(device)
        predicted = self.module(noisy.latents, noisy.timesteps, condition)
        return velocity_loss(predicted, noisy)


class SampleSheet:
    """Pictures of validation designs: real, by words and drawing, by words, by the drawing."""

    def __init__(self, sources: CacheSources, model: PictureModel, path: Path) -> None:
        self.model, self.path, self.vae = model, path, sources.vae
        pack, conditioner = sources.pack, sources.conditioner
        photos = pack.rows(split="validation", domain=PHOTO)
        rows = photos[np.linspace(0, len(photos) - 1, min(len(photos), _NUM_SHOWN)).astype(int)]
        pixels = Pixels(pack, rows, torch.device("cpu"), sources.size_px)
        self.real = pixels.take(torch.arange(len(rows)))
        texts = [pack.items[row].caption for row in rows]
        self.states = conditioner.encode_texts(texts).float()
        self.empty = conditioner.encode_texts([""])[0].float()
        self.lines = torch.stack([_lines(pack, int(row), sources.size_px) for row in rows])
        side = sources.size_px // 8
        self.noise = torch.randn(len(rows), 4, side, side, generator=step_generator(0, -3))

    def draw(self) -> None:
        """Draw and save the sheet."""
        device = next(self.model.parameters()).device
        is_drawn, is_not = torch.ones(len(self.real)).bool(), torch.zeros(len(self.real)).bool()
        rows, guidance = [self.real], {True: _SHOWN_GUIDANCE, False: 1.0}
        for has_words, has_drawing in ((True, is_drawn), (True, is_not), (False, is_drawn)):
            states = self.states if has_words else self.empty.expand_as(self.states)
            condition = Condition(states=states, lines=self.lines, has_drawing=has_drawing)
            latents = self.sample(condition.to(device), guidance_scale=guidance[has_words])
            with torch.no_grad():
                rows.append(decode(self.vae, latents / self.vae.config["scaling_factor"]).cpu())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(to_levels(torch.cat(rows)), len(self.real)).save(self.path)

    def sample(self, condition: Condition, *, guidance_scale: float) -> Float[Tensor, "n 4 y x"]:
        """Draw latents from the sheet's noise."""
        device = condition.states.device
        return sample_latents(
            self.model,
            self.noise.to(device),
            condition,
            self.empty.to(device),
            num_steps=_SHOWN_STEPS,
            guidance_scale=guidance_scale,
        )


def _lines(pack: CataloguePack, row: int, size_px: int) -> Float[Tensor, "1 h w"]:
    lines = pack.view(row).drawing.lines(size_px, CONTROL_LINE_SHARE * size_px) > 127
    return torch.from_numpy(lines).float()[None]


def train_pictures(
    options: StageOptions,
    sources: KitSources,
    recipe: PicturesRecipe | None = None,
    start: Path | None = None,
) -> Path:
    """Train and export `<out>/pictures/pipeline` and `<out>/pictures/controlnet`, in fp16.

    Args:
        options: Of the stage.
        sources: What the networks are built on.
        recipe: Size and training; sizes do not matter with `start`.
        start: Folder of a kit, or of a run of this stage, whose networks are trained further.

    Returns:
        The folder of both.

    Raises:
        PackError: The pack cannot be read, or has no views.
        BackboneError: The CLIP cannot be loaded.
        ComposerError: The composer does not fit the CLIP.
        WeightsError: `start` lacks a network, or they do not fit the CLIP.
    """
    recipe = recipe or RECIPES[options.scale]
    run = options.run(NAME)
    backbone = Backbone.load(sources.clip, device=options.device)
    if start is None:
        model = _new_model(recipe, backbone.token_width, options.seed)
    else:
        model, recipe = _load_start(start, backbone.token_width), further_recipe(recipe)
    inputs = cache_sources(options, sources, recipe, backbone)
    num_coarse = _train_coarse(model, inputs, recipe, run) if recipe.coarse_share else 0
    optimisation = replace(recipe.optimisation, seed=options.seed)
    cache = build_cache(run.folder / "cache", inputs)
    sheet = SampleSheet(inputs, model, run.folder / "samples.png")
    rest = replace(run, budget=run.budget.part(1 - recipe.coarse_share))
    trained = train(PictureStage(model, cache, recipe), optimisation, rest, sheet.draw)
    sheet.draw()
    pipeline = assemble_pipeline(inputs.vae, model.unet, backbone, sources.clip)
    save_pipeline(pipeline, sources.clip, run.folder / "pipeline")
    save_control_network(model.controlnet, run.folder / "controlnet")
    _studio_light(model, cache).save(run.folder / "pipeline" / FILE_NAME)
    make_sketchbook(inputs.pack, backbone).save(run.folder / "pipeline" / SKETCHBOOK)
    write_json(
        run.folder / "metrics.json",
        {
            "loss": trained.recent_loss,
            "num_coarse_steps": num_coarse,
            "num_steps": trained.num_steps,
            "minutes": trained.elapsed_s / 60,
            "num_images_seen": (num_coarse + trained.num_steps) * optimisation.batch_size,
            "num_unet_parameters": sum(p.numel() for p in model.unet.parameters()),
            "num_control_parameters": sum(p.numel() for p in model.controlnet.parameters()),
            "text_hash": backbone.text_hash,
        },
    )
    return run.folder


def _new_model(recipe: PicturesRecipe, token_width: int, seed: int) -> PictureModel:
    unet = make_unet(recipe.unet, token_width, recipe.size_px // 8, seed)
    return PictureModel(unet, make_small_control(unet, recipe.conditioning_channels, seed), seed)


def _load_start(folder: Path, token_width: int) -> PictureModel:
    try:
        model = load_pictures(folder)
    except OSError as error:
        raise WeightsError(f"{folder} holds no pipeline and controlnet to go on from.") from error
    if model.unet.config["cross_attention_dim"] != token_width:
        raise WeightsError(f"The UNet in {folder} does not read the states of this CLIP.")
    return model


def _studio_light(model: PictureModel, cache: PictureCache) -> StudioLight:
    return StudioLight(
        weight=model.studio.weight,
        bias=model.studio.bias,
        mean=torch.from_numpy(cache.studio_mean),
        std=torch.from_numpy(cache.studio_std),
        examples=cache.studio_examples(_NUM_STUDIOS),
    )


def load_pictures(folder: Path) -> PictureModel:
    """Load what a run of this stage exported, in float32.

    Raises:
        WeightsError: The studio's file is missing or damaged.
    """
    options: Any = {"use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(folder / "pipeline" / "unet", **options)
    control = ControlNetModel.from_pretrained(folder / "controlnet", **options)
    model = PictureModel(unet, control)
    move(model, torch.float32)
    light = StudioLight.load(folder / "pipeline" / FILE_NAME)
    model.studio.load_state_dict({"weight": light.weight, "bias": light.bias})
    return model.eval()


def cache_sources(
    options: StageOptions, sources: KitSources, recipe: PicturesRecipe, backbone: Backbone
) -> CacheSources:
    """Return what the caches of the train split are made from; `backbone` is `sources.clip`.

    Raises:
        PackError: The pack cannot be read.
        ComposerError: The composer does not fit the CLIP.
    """
    pack = CataloguePack.open(options.data)
    log("tokens of the drawings")
    tokens = collect_tokens(DuetComposer.load(sources.duet, backbone), pack, "train")
    return CacheSources(
        pack=pack,
        rows=usable_rows(pack, "train"),
        vae=load_autoencoder(sources.vae, options.device),
        conditioner=Conditioner(backbone, pack, tokens, recipe.shares),
        size_px=recipe.size_px,
        num_conditions=recipe.num_conditions,
        has_mirrored=recipe.has_mirrored,
        seed=options.seed,
    )


def _train_coarse(
    model: PictureModel, inputs: CacheSources, recipe: PicturesRecipe, run: Run
) -> int:
    """Train on pictures of half the size and return the steps; nothing is tied to a size.

    A run that already trains on whole pictures does not return here, whatever its budget.
    """
    part = replace(run, folder=run.folder / "coarse", budget=run.budget.part(recipe.coarse_share))
    if progress_of(run).num_steps:  # that state would undo steps made here
        return progress_of(part).num_steps
    small = replace(inputs, size_px=inputs.size_px // 2)
    cache = build_cache(part.folder / "cache", small)
    sheet = SampleSheet(small, model, run.folder / "samples.png")
    optimisation = replace(recipe.optimisation, seed=inputs.seed, decay_share=0.05)
    return train(PictureStage(model, cache, recipe), optimisation, part, sheet.draw).num_steps


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the embedded kit's UNet and control network together.")
    add_source_arguments(parser)
    parser.add_argument("--start", type=Path, help="kit or run whose networks are trained further")
    args = parser.parse_args(arguments)
    train_pictures(read_options(args, MINUTES), read_sources(args), start=args.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
