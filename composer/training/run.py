"""Command that trains one composer of a kit: `python -m composer.training.run NAME`."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from composer import names
from composer.data.natural import read_natural
from composer.data.world import CATEGORY_SHARES
from composer.strategies.sentence import SentenceShape
from composer.strategies.towers import INHERITED, SYMMETRIC
from composer.training.converter import ConverterTraining, captions_of, converter_trainer
from composer.training.duet import DuetTraining, duet_trainer
from composer.training.loop import Budget
from composer.training.modality import ModalityTraining, modality_trainer
from composer.training.pairs import PairSources
from composer.training.prompted import Level, PromptedTraining, prompted_trainer
from composer.training.sentence import SentenceTraining, SentenceWeights, sentence_trainer
from composer.training.trainer import RunSettings, Trainer


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Sources of a training.

    Attributes:
        clip: The frozen CLIP: its folder, or the name of a public one.
        pack: Folder of the catalogue's training pack.
        natural: Folder of the natural archives; None for the catalogue alone.
        features: Folder where features of pictures are kept for further runs; None for none.
        start: A trained composer's file to continue from; None for a new one.
        num_samples: References of a step through the tower; None for the recipe's.
        is_cached: Whether duet begins with steps on cached references.
        holds_tower: Whether all of its steps are such.
    """

    clip: str | Path
    pack: Path
    natural: Path | None = None
    features: Path | None = None
    start: Path | None = None
    num_samples: int | None = None
    is_cached: bool = True
    holds_tower: bool = False


def _converter(sources: Sources, settings: RunSettings) -> Trainer[Any]:
    tables = [] if sources.natural is None else read_natural(sources.natural, size_px=16)
    recipe = ConverterTraining(
        clip=sources.clip,
        pack=sources.pack,
        captions=captions_of(tables),
        features=sources.features,
    )
    return converter_trainer(recipe, settings)


def _duet(sources: Sources, settings: RunSettings) -> Trainer[Any]:
    recipe = DuetTraining(
        clip=sources.clip,
        data=sources.pack,
        natural=sources.natural,
        features=sources.features,
    )
    if sources.start is not None:
        # Converter and prompt are trained already: the tower learns at the higher rate.
        recipe = replace(recipe, start=sources.start, num_cached_steps=0, head_rate=3e-4)
    if sources.holds_tower:
        recipe = replace(recipe, num_cached_steps=sys.maxsize)
        if sources.start is not None:
            recipe = replace(recipe, head_rate=7e-4)
    elif not sources.is_cached:
        recipe = replace(recipe, num_cached_steps=0)
    if sources.num_samples is not None:
        recipe = replace(recipe, batch_size=sources.num_samples)
    return duet_trainer(recipe, settings)


def _modality(sources: Sources, settings: RunSettings) -> Trainer[Any]:
    return modality_trainer(ModalityTraining(sources=_pairs(sources)), settings)


def _prompted(sources: Sources, settings: RunSettings) -> Trainer[Any]:
    recipe = PromptedTraining(sources=_pairs(sources), level=Level.INSTANCE)
    return prompted_trainer(recipe, settings)


def _prompted_category(sources: Sources, settings: RunSettings) -> Trainer[Any]:
    pairs = replace(_pairs(sources), shares=CATEGORY_SHARES)
    recipe = PromptedTraining(sources=pairs, level=Level.CATEGORY)
    return prompted_trainer(recipe, settings)


def _sentence(tower: str) -> Callable[[Sources, RunSettings], Trainer[Any]]:
    def make(sources: Sources, settings: RunSettings) -> Trainer[Any]:
        recipe = SentenceTraining(sources=_pairs(sources), shape=SentenceShape(tower=tower))
        if tower == SYMMETRIC:
            recipe = replace(recipe, weights=SentenceWeights(features=0.0))
        if tower == INHERITED:
            recipe = replace(recipe, tower_rate=3e-4)
        return sentence_trainer(recipe, settings)

    return make


def _pairs(sources: Sources) -> PairSources:
    pairs = PairSources(
        clip=sources.clip,
        pack=sources.pack,
        natural=sources.natural,
        features=sources.features,
    )
    if sources.num_samples is None:
        return pairs
    return replace(pairs, num_classes=max(1, sources.num_samples // pairs.per_class))


TRAININGS: Final[dict[str, Callable[[Sources, RunSettings], Trainer[Any]]]] = {
    names.CONVERTER: _converter,
    names.DUET: _duet,
    names.MODALITY: _modality,
    names.PROMPTED: _prompted,
    names.PROMPTED_CATEGORY: _prompted_category,
    names.SENTENCE: _sentence(INHERITED),
    names.SENTENCE_SMALL: _sentence("small"),
    names.SENTENCE_MEDIUM: _sentence("medium"),
    names.SENTENCE_LARGE: _sentence("large"),
    names.SENTENCE_SYMMETRIC: _sentence(SYMMETRIC),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one training from a shell; return the exit code, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m composer.training.run")
    parser.add_argument("name", choices=tuple(TRAININGS))
    parser.add_argument("--clip", required=True, help="folder of the CLIP, or architecture/tag")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--natural", type=Path, help="folder of the natural archives")
    parser.add_argument("--start", type=Path, help="duet only: a trained file to continue from")
    parser.add_argument(
        "--hold-tower",
        action="store_true",
        help="duet only: keep the tower, train converter and prompt",
    )
    parser.add_argument("--samples", type=int, help="references per step (default: the recipe's)")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="largest number of steps")
    parser.add_argument("--output", type=Path, required=True, help="the composer's file")
    parser.add_argument("--state", type=Path, help="default: .cache/training/NAME")
    parser.add_argument(
        "--features",
        type=Path,
        default=Path(".cache/training/features"),
        help="folder where frozen features of pictures are kept for further runs",
    )
    parser.add_argument("--logs", type=Path, help="folder for TensorBoard")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.start is not None and chosen.name != "duet":
        parser.error("--start takes a duet's file; other composers cannot continue from one")
    if chosen.hold_tower and chosen.name != "duet":
        parser.error("--hold-tower is for duet only")
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("composer").setLevel(logging.INFO)
    settings = RunSettings(
        output=chosen.output,
        state=chosen.state or Path(".cache/training") / chosen.name,
        logs=chosen.logs,
        budget=Budget(minutes=chosen.minutes, num_steps=chosen.steps),
        device=chosen.device,
        seed=chosen.seed,
    )
    sources = Sources(
        clip=chosen.clip,
        pack=chosen.data,
        natural=chosen.natural,
        features=chosen.features,
        start=chosen.start,
        num_samples=chosen.samples,
        holds_tower=chosen.hold_tower,
    )
    try:
        TRAININGS[chosen.name](sources, settings).run()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
