"""A student of the UNet that draws in one step: a LoRA, by pairs of its teacher and a critic."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from jaxtyping import Float
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.files import atomic_folder
from composer.training.trunk_maps import MAP_CHANNELS, TrunkMaps, map_distance
from composer.weights import WeightsError, read_safetensors
from generation.training.command import (
    Scale,
    StageOptions,
    make_parser,
    read_options,
    write_json,
)
from generation.training.critic import ConditionedCritic, critic_descent
from generation.training.inputs import KitSources, add_source_arguments, read_sources
from generation.training.loop import Optimisation, StepLoss, train
from generation.training.picture_cache import Drops, PictureCache, build_cache
from generation.training.picture_model import Condition, PictureModel
from generation.training.pictures import NAME as TEACHER
from generation.training.pictures import RECIPES as TEACHERS
from generation.training.pictures import (
    PicturesRecipe,
    SampleSheet,
    cache_sources,
    load_pictures,
)
from generation.training.stock import decode, move
from generation.training.teacher_pairs import PairRecipe, TeacherPairs, draw_pairs

NAME = "one-step"
MINUTES = {Scale.CPU: 120.0, Scale.GPU: 4.0}
_FACTOR = 8
_PREFIX = "unet."  # of the layers of a LoRA file
_TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv", "conv_in", "conv_out",
)  # fmt: skip
OPTIMISATION = Optimisation(
    batch_size=8,
    learning_rate=5e-4,
    num_warmup_steps=50,
    average_decay=0.998,
    skips_non_finite=True,
    channels_last=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OneStepRecipe:
    """Size and training of a student.

    Attributes:
        rank: Of the LoRA.
        pairs: How the teacher's pictures are drawn.
        pair_share: Share of the steps that follow the teacher; the others begin with real pictures
            and more or less noise.
        full_noise_share: Share of these others' times that are 1.
        least_time: Least of their times, so that pictures can be drawn over.
        drops: How often words and drawing are left out there.
        studio_share: Share of these steps in which backdrop and lights are told.
        crop: Side of the pieces that are decoded and judged, in latents.
        margin: What is cut from each side of a decoded piece, in latents.
        latent_weight: Weight of the distance in latents.
        feature_weight: Weight of the distance in maps of the public trunk.
        adversarial_weight: Weight of the critic, fixed.
        critic_width: Channels of the critic's first layer.
        critic_rate: The critic's own rate.
        critic_alone: Steps at the beginning in which the critic only learns.
        optimisation: Rates and schedule.
    """

    rank: int = 32
    pairs: PairRecipe = field(default_factory=PairRecipe)
    pair_share: float = 0.7
    full_noise_share: float = 0.15
    least_time: float = 0.3
    drops: Drops = field(default_factory=lambda: Drops(words=0.05, drawing=0.3))
    studio_share: float = 0.5
    crop: int = 20
    margin: int = 2
    latent_weight: float = 0.5
    feature_weight: float = 0.4
    adversarial_weight: float = 0.1
    critic_width: int = 32
    critic_rate: float = 4e-4
    critic_alone: int = 50
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: OneStepRecipe(),
    Scale.GPU: OneStepRecipe(
        pairs=PairRecipe(num_batches=100, batch_size=64),
        optimisation=replace(OPTIMISATION, batch_size=64, check_every_s=60.0),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """What a student is asked in a step.

    Attributes:
        noisy: Latents to draw from.
        times: Shares of noise in them.
        condition: What to draw.
        wanted: The picture that it should be: the teacher's, or the one that noise was added to.
        real: Latents of real pictures of these conditions.
    """

    noisy: Float[Tensor, "n 4 y x"]
    times: Float[Tensor, " n"]
    condition: Condition
    wanted: Float[Tensor, "n 4 y x"]
    real: Float[Tensor, "n 4 y x"]


def add_lora(model: PictureModel, rank: int, seed: int, start: Path | None = None) -> None:
    """Freeze a model and add a LoRA to its UNet.

    Args:
        model: Of the teacher.
        rank: Of the LoRA.
        seed: Of its first weights.
        start: A LoRA file to go on from; without one the LoRA has no effect yet.

    Raises:
        WeightsError: The file is damaged, or of another rank or UNet.
    """
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(_TARGETS))
        model.unet.add_adapter(config)
    if start is not None:
        named = read_safetensors(start).tensors
        state = {name.removeprefix(_PREFIX): one.float() for name, one in named.items()}
        expected = get_peft_model_state_dict(model.unet)
        if {n: x.shape for n, x in state.items()} != {n: x.shape for n, x in expected.items()}:
            raise WeightsError(f"{start} is no LoRA of rank {rank} for this UNet.")
        set_peft_model_state_dict(model.unet, state)


def draw_at_once(
    model: PictureModel,
    noisy: Float[Tensor, "n 4 y x"],
    times: Float[Tensor, " n"],
    condition: Condition,
) -> Float[Tensor, "n 4 y x"]:
    """Follow the velocity to the end in one step; times are shares of noise."""
    velocity = model(noisy, 1000 * times, condition).float()
    return noisy - times.view(-1, 1, 1, 1) * velocity


class OneStepStage:
    """Trains a student, and its critic beside it."""

    name = NAME

    def __init__(
        self,
        model: PictureModel,
        cache: PictureCache,
        pairs: TeacherPairs,
        vae: AutoencoderKL,
        recipe: OneStepRecipe,
    ) -> None:
        device = next(model.parameters()).device
        self.module, self.cache, self.pairs, self.recipe = model, cache, pairs, recipe
        self.vae, self.maps = vae, TrunkMaps()
        move(self.maps, device)
        config: Any = model.unet.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            width = config.cross_attention_dim
            self.critic = ConditionedCritic(MAP_CHANNELS, width, recipe.critic_width)
        move(self.critic, device)
        self.critic_descent = critic_descent(self.critic, recipe.critic_rate)

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw at once; compare with what was wanted, and with what is real by the critic."""
        recipe = self.recipe
        task = self._task(generator)
        drawn = draw_at_once(self.module, task.noisy, task.times, task.condition)
        latent = functional.smooth_l1_loss(drawn, task.wanted)
        top, left = self._corner(drawn, generator)
        lines = self._pixels(task.condition.lines, top, left)
        lines = lines * task.condition.has_drawing[:, None, None, None]
        words = task.condition.states.mean(1)
        picture = self._decode(drawn, top, left)
        with torch.no_grad():
            wanted, real = (self._decode(x, top, left) for x in (task.wanted, task.real))
            wanted_maps, real_maps = self.maps.maps(wanted), self.maps.maps(real)
        maps = self.maps.maps(picture)
        lesson = self.critic.lesson(
            (real, real_maps, lines, words),
            (picture.detach(), [one.detach() for one in maps], lines, words),
        )
        self.critic_descent.step(lesson, 1.0)
        feature = map_distance(maps, wanted_maps)
        push = self.critic.push(picture, maps, lines, words)
        is_pushed = self.critic_descent.num_steps > recipe.critic_alone
        total = recipe.latent_weight * latent + recipe.feature_weight * feature
        if is_pushed:
            total = total + recipe.adversarial_weight * push
        parts = {"latent": latent, "feature": feature, "push": push, "critic": lesson}
        return StepLoss(total=total, parts=parts)

    def _task(self, generator: torch.Generator) -> Task:
        if float(torch.rand((), generator=generator)) < self.recipe.pair_share:
            return self._teachers_task(generator)
        return self._own_task(generator)

    def _teachers_task(self, generator: torch.Generator) -> Task:
        pairs = self.pairs.take(int(torch.randint(len(self.pairs), (), generator=generator)))
        device = next(self.module.parameters()).device
        return Task(
            noisy=pairs.noise.to(device),
            times=torch.ones(len(pairs.noise), device=device),
            condition=Condition.of_batch(pairs.batch, tells_studio=pairs.tells_studio).to(device),
            wanted=pairs.latents.to(device),
            real=pairs.batch.latents.to(device),
        )

    def _own_task(self, generator: torch.Generator) -> Task:
        recipe, device = self.recipe, next(self.module.parameters()).device
        batch = self.cache.draw(recipe.optimisation.batch_size, recipe.drops, generator)
        count = len(batch.latents)
        least = recipe.least_time
        times = least + (1 - least) * torch.rand(count, generator=generator)
        is_full = torch.rand(count, generator=generator) < recipe.full_noise_share
        times = torch.where(is_full, torch.ones(()), times)
        noise = torch.randn(batch.latents.shape, generator=generator)
        share = times.view(-1, 1, 1, 1)
        tells_studio = float(torch.rand((), generator=generator)) < recipe.studio_share
        latents = batch.latents.to(device)
        return Task(
            noisy=((1 - share) * batch.latents + share * noise).to(device),
            times=times.to(device),
            condition=Condition.of_batch(batch, tells_studio=tells_studio).to(device),
            wanted=latents,
            real=latents,
        )

    def _corner(self, latents: Tensor, generator: torch.Generator) -> tuple[int, int]:
        room = latents.shape[-1] - min(self.recipe.crop, latents.shape[-1])
        top, left = torch.randint(room + 1, (2,), generator=generator).tolist()
        return top, left

    def _decode(self, latents: Tensor, top: int, left: int) -> Tensor:
        """Decode a piece and cut off what lacks its surroundings."""
        side, margin = self.recipe.crop, self.recipe.margin
        piece = latents[:, :, top : top + side, left : left + side]
        picture = decode(self.vae, piece / self.vae.config["scaling_factor"]).float()
        cut = _FACTOR * margin
        return picture[:, :, cut : picture.shape[2] - cut, cut : picture.shape[3] - cut]

    def _pixels(self, lines: Tensor, top: int, left: int) -> Tensor:
        """Cut the same piece from drawings."""
        side = min(self.recipe.crop, lines.shape[-1] // _FACTOR) - 2 * self.recipe.margin
        top, left = (_FACTOR * (start + self.recipe.margin) for start in (top, left))
        return lines[:, :, top : top + _FACTOR * side, left : left + _FACTOR * side]


class OneStepSheet(SampleSheet):
    """Pictures of validation designs in one step, below the real ones."""

    def sample(self, condition: Condition, *, guidance_scale: float) -> Float[Tensor, "n 4 y x"]:
        """Draw latents at once, without guidance."""
        noise = self.noise.to(condition.states.device)
        with torch.no_grad():
            return draw_at_once(self.model, noise, torch.ones(len(noise)).to(noise), condition)


def train_one_step(
    options: StageOptions,
    sources: KitSources,
    recipe: OneStepRecipe | None = None,
    teacher: PicturesRecipe | None = None,
    start: Path | None = None,
) -> Path:
    """Train a student of `<out>/pictures` and export `<out>/one-step/lora`, in fp16.

    Args:
        options: Of the stage.
        sources: What the teacher was trained on.
        recipe: Of the student.
        teacher: The teacher's recipe.
        start: LoRA file of a student to go on from.

    Returns:
        The folder of the stage.

    Raises:
        PackError: The pack cannot be read, or has no views.
        BackboneError: The CLIP cannot be loaded.
        ComposerError: The composer does not fit the CLIP.
        WeightsError: The teacher lacks a file, or the student to go on from does not fit.
    """
    recipe, teacher = recipe or RECIPES[options.scale], teacher or TEACHERS[options.scale]
    run = options.run(NAME)
    backbone = Backbone.load(sources.clip, device=options.device)
    inputs = cache_sources(options, sources, teacher, backbone)
    cache = build_cache(options.out / TEACHER / "cache", inputs)
    model = load_pictures(options.out / TEACHER)
    move(model, options.device)
    pairs = draw_pairs(run.folder / "pairs", model, cache, recipe.pairs, options.seed)
    add_lora(model, recipe.rank, options.seed, start)
    stage = OneStepStage(model, cache, pairs, inputs.vae, recipe)
    sheet = OneStepSheet(inputs, model, run.folder / "samples.png")
    optimisation = replace(recipe.optimisation, seed=options.seed)
    trained = train(stage, optimisation, run, sheet.draw)
    sheet.draw()
    save_lora(model, run.folder / "lora")
    write_json(
        run.folder / "metrics.json",
        {
            "loss": trained.recent_loss,
            "num_steps": trained.num_steps,
            "minutes": trained.elapsed_s / 60,
            "num_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        },
    )
    return run.folder


def save_lora(model: PictureModel, folder: Path) -> None:
    """Write the LoRA in fp16 as diffusers and peft name it; the folder appears whole or not."""
    state = get_peft_model_state_dict(model.unet)
    layers: dict[str, nn.Module | Tensor] = {name: one.half() for name, one in state.items()}
    with atomic_folder(folder) as part:
        StableDiffusionPipeline.save_lora_weights(part, unet_lora_layers=layers)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train a student of the embedded kit's UNet that draws in one step.")
    add_source_arguments(parser)
    parser.add_argument("--start", type=Path, help="LoRA file of a student to go on from")
    args = parser.parse_args(arguments)
    train_one_step(read_options(args, MINUTES), read_sources(args), start=args.start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
