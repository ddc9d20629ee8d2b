"""Trained ablations of duet: short runs with one setting changed at a time."""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from composer.strategies.duet import DuetShape
from composer.training.duet import DuetData, DuetTraining, duet_trainer
from composer.training.duet_objective import TOWER_TERMS, DuetWeights
from composer.training.loop import Budget
from composer.training.trainer import RunSettings, make_accelerator

logger = logging.getLogger(__name__)

PROMPT_LENGTHS = (1, 2, 3, 4)
TOKENS = (1, 2, 4, 8, 16)
NUM_DRAWINGS = 2  # of each sketch, encoded once: short runs repeat few of them
RECONSTRUCTION = 0.25  # the weight that is tried; zero in the recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationSettings:
    """How long each run is.

    Attributes:
        num_steps: Steps of each run, all on references that were encoded once.
        batch_size: References in each of them.
        seed: Of every draw; all runs have the same batches and the same start.
        device: "cpu", "cuda" or "auto".
    """

    num_steps: int = 60
    batch_size: int = 128
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class AblationRow:
    """One run on the validation designs; accuracies in [0, 1] with the best residual.

    Attributes:
        ablation: The setting: "loss", "prompt length" or "tokens".
        variant: Its value; "recipe" is the recipe itself.
        num_steps: Steps trained.
        sketch_1: Acc@1 of the sketch alone.
        both_1: Acc@1 of sketch and words.
        both_10: Acc@10 of sketch and words.
        moved_by_neutral: Mean distance that words without content move the sketch's query.
        residual: Share of the reference's own feature that validation chose.
    """

    ablation: str
    variant: str
    num_steps: int
    sketch_1: float
    both_1: float
    both_10: float
    moved_by_neutral: float
    residual: float


def variants(recipe: DuetTraining) -> dict[tuple[str, str], DuetTraining]:
    """Return the recipe and its variants with one setting changed, by ablation and variant."""
    recipes = {("loss", "recipe"): recipe}
    names = [field.name for field in fields(DuetWeights)]
    for name in (name for name in names if name not in TOWER_TERMS):
        weight = getattr(recipe.weights, name)
        changed = replace(recipe.weights, **{name: 0.0 if weight else RECONSTRUCTION})
        recipes["loss", f"{'without' if weight else 'with'} {name}"] = replace(
            recipe, weights=changed
        )
    for length in (n for n in PROMPT_LENGTHS if n != recipe.shape.prompt_length):
        shape = DuetShape(prompt_length=length, num_tokens=recipe.shape.num_tokens)
        recipes["prompt length", str(length)] = replace(recipe, shape=shape)
    for count in (n for n in TOKENS if n != recipe.shape.num_tokens):
        shape = DuetShape(prompt_length=recipe.shape.prompt_length, num_tokens=count)
        recipes["tokens", str(count)] = replace(recipe, shape=shape)
    return recipes


def duet_ablations(recipe: DuetTraining, settings: AblationSettings) -> Iterator[AblationRow]:
    """Train each variant and score it on validation; yield each row as soon as it is known.

    Raises:
        ValueError: The backbone or the pack cannot be used.
    """
    recipe = replace(
        recipe,
        num_cached_steps=settings.num_steps,
        cached_batch_size=settings.batch_size,
        num_drawings=NUM_DRAWINGS,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = RunSettings(
            output=Path(folder) / "duet.safetensors",
            state=Path(folder) / "state",
            budget=Budget(num_steps=settings.num_steps),
            device=settings.device,
            average_decay=0.95,  # a longer average of a short run would keep its start
            validate_every=settings.num_steps,
            seed=settings.seed,
        )
        data = DuetData(recipe, make_accelerator(run), seed=settings.seed)
        for number, ((ablation, variant), changed) in enumerate(variants(recipe).items()):
            settings_of_run = replace(run, state=Path(folder) / f"state-{number}")
            scores = duet_trainer(changed, settings_of_run, data=data).run()
            row = AblationRow(
                ablation=ablation,
                variant=variant,
                num_steps=settings.num_steps,
                sketch_1=scores.reference.at_1,
                both_1=scores.composed.at_1,
                both_10=scores.composed.at_10,
                moved_by_neutral=scores.moved_by_neutral,
                residual=scores.residual,
            )
            logger.info("%s", asdict(row))
            yield row
