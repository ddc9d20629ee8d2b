"""Stage 4: the judge, trained from scratch on photos of the train split, for measurements only."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.data.catalogue import PHOTO, CataloguePack
from generation.judge import ColourModel, Judge, JudgeNetwork, part_colour
from generation.training.command import (
    Pixels,
    Scale,
    StageOptions,
    draw_indices,
    log,
    make_parser,
    read_options,
    write_json,
)
from generation.training.loop import Optimisation, StepLoss, train

NAME = "judge"
MINUTES = {Scale.CPU: 40.0, Scale.GPU: 1.0}
_MAX_COLOUR_ROWS = 3000
OPTIMISATION = Optimisation(
    batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.02,
    num_warmup_steps=50,
    average_decay=0.995,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeRecipe:
    """Size and training of the judge.

    Attributes:
        width: channels of the first layer.
        optimisation: rates and schedule.
    """

    width: int = 32
    optimisation: Optimisation = OPTIMISATION


RECIPES = {
    Scale.CPU: JudgeRecipe(),
    Scale.GPU: JudgeRecipe(optimisation=replace(OPTIMISATION, batch_size=128)),
}


class JudgeStage:
    """Trains the network: kinds and parts, on disturbed pictures."""

    name = NAME

    def __init__(
        self, pixels: Pixels, kinds: tuple[str, ...], recipe: JudgeRecipe, seed: int
    ) -> None:
        self.pixels, self.recipe = pixels, recipe
        items = pixels.pack.items
        self.parts = part_names(pixels.pack, pixels.rows)
        self._labels = torch.tensor([kinds.index(items[row].kind) for row in pixels.rows])
        maps = [part_map(pixels.pack, int(row), self.parts) for row in pixels.rows]
        self._maps = torch.from_numpy(np.stack(maps))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = JudgeNetwork(len(kinds), len(self.parts), recipe.width)

    def loss(self, generator: torch.Generator) -> StepLoss:
        """Draw disturbed pictures; compare kinds and parts."""
        indices = draw_indices(generator, len(self.pixels), self.recipe.optimisation.batch_size)
        before = self.pixels.take(indices)
        maps = self._maps[indices].to(before.device)
        images, maps = disturb(before, maps, generator)
        labels = self._labels[indices].to(images.device)
        scores, parts = self.module(images)
        kind = functional.cross_entropy(scores.float(), labels, label_smoothing=0.05)
        part = functional.cross_entropy(parts.float(), maps[:, ::2, ::2].long())
        hits = (scores.argmax(1) == labels).float().mean()
        return StepLoss(total=kind + part, parts={"kind": kind, "part": part, "hits": hits})


def part_names(pack: CataloguePack, rows: Int[np.ndarray, " n"]) -> tuple[str, ...]:
    """Return names of parts: the background, every named part, and the nameless rest."""
    return ("", *sorted({name for row in rows for name in pack.items[row].part_names}), "")


def part_map(pack: CataloguePack, row: int, names: tuple[str, ...]) -> UInt8[np.ndarray, "h w"]:
    """Return a picture's part map, numbered as in `names`."""
    named = [names.index(name) for name in pack.items[row].part_names]
    numbers = np.full(256, len(names) - 1, np.uint8)
    numbers[: len(named) + 1] = [0, *named]
    return numbers[pack.parts(row)]


def disturb(
    images: Float[Tensor, "n 3 h w"],
    maps: UInt8[Tensor, "n h w"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n 3 h w"], UInt8[Tensor, "n h w"]]:
    """Shift, scale, tint, soften and grain pictures, to resemble those of a small model.

    Their part maps are shifted and scaled with them. Nothing is mirrored: mugs and teapots are
    not symmetric.
    """
    count = len(images)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        values = torch.rand(count, *shape, generator=generator) * (high - low) + low
        return values.to(images)

    scale, shift = draw(0.85, 1.15), draw(-0.1, 0.1, 2)
    theta = torch.zeros(count, 2, 3, device=images.device, dtype=images.dtype)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale, scale, shift
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    followed = functional.grid_sample(
        maps[:, None].to(images), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    soft = functional.avg_pool2d(functional.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = draw(0.0, 1.0, 1, 1, 1)
    mixed = share * moved + (1 - share) * soft
    tinted = mixed * draw(0.8, 1.2, 3, 1, 1) + draw(-0.15, 0.15, 3, 1, 1)
    grain = torch.randn(images.shape, generator=generator).to(images)
    noisy = tinted + draw(0.0, 0.06, 1, 1, 1) * grain
    return noisy.clamp(-1, 1), followed[:, 0].to(maps.dtype)


def part_colours(
    pack: CataloguePack, rows: Int[np.ndarray, " n"]
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the median CIELAB value and the colour word of every visible named part."""
    for row in rows:
        item = pack.items[row]
        image, parts = pack.pixels(np.array([row]))[0], pack.parts(int(row))
        for i, word in enumerate(item.part_colours[: len(item.part_names)]):
            colour = part_colour(image, parts == i + 1) if word else None
            if colour is not None:
                yield colour, word


def fit_colours(pack: CataloguePack, rows: Int[np.ndarray, " n"]) -> ColourModel:
    """Fit the colour namer to parts of known colour."""
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_COLOUR_ROWS)).astype(int)]
    pairs = list(part_colours(pack, chosen))
    return ColourModel.fit(np.array([colour for colour, _ in pairs]), [word for _, word in pairs])


def train_judge(options: StageOptions, recipe: JudgeRecipe | None = None) -> Path:
    """Train the judge, write `<out>/judge/judge.safetensors`, measure it on validation photos.

    Raises:
        PackError: the pack cannot be read.
    """
    recipe = recipe or RECIPES[options.scale]
    run = options.run(NAME)
    pack = CataloguePack.open(options.data)
    pixels = Pixels(pack, pack.rows(split="train", domain=PHOTO), options.device)
    kinds = tuple(sorted({pack.items[row].kind for row in pixels.rows}))
    stage = JudgeStage(pixels, kinds, recipe, options.seed)
    trained = train(stage, replace(recipe.optimisation, seed=options.seed), run)
    network = stage.module.cpu().eval()
    colours = fit_colours(pack, pixels.rows)
    judge = Judge(kinds=kinds, parts=stage.parts, network=network, colours=colours)
    path = run.folder / "judge.safetensors"
    judge.save(path)
    figures = measure_judge(Judge.load(path), pack)
    minutes = trained.elapsed_s / 60
    write_json(
        run.folder / "metrics.json",
        {**figures, "num_steps": trained.num_steps, "minutes": minutes},
    )
    log(f"{NAME}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    return path


def measure_judge(judge: Judge, pack: CataloguePack) -> dict[str, float]:
    """Return the shares of validation photos with the right kind, and with the right colour.

    The colour is that of the most conspicuous part, which `duet bench generation` uses.
    """
    rows = pack.validation_photos()
    items = [pack.items[row] for row in rows]
    pictures = [Image.fromarray(pixels) for pixels in pack.pixels(rows)]
    verdicts = judge.assess(pictures, [item.part_names[0] for item in items])
    pairs = list(zip(verdicts, items, strict=True))
    kinds = [verdict.kind == item.kind for verdict, item in pairs]
    colours = [verdict.colour == item.part_colours[0] for verdict, item in pairs]
    return {"kind_accuracy": float(np.mean(kinds)), "colour_accuracy": float(np.mean(colours))}


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("Train the judge of generated pictures.")
    train_judge(read_options(parser.parse_args(arguments), MINUTES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
