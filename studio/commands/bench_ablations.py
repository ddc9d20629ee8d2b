"""`duet bench ablations`: one change at a time, in trained composers and in training."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from composer.training.ablations import AblationSettings, duet_ablations, variants
from composer.training.duet import DuetTraining
from retrieval.benchmarks import ablations, catalogue
from studio.commands.bench_gallery import shipped_gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.kit_file import assets_folder

INVERSION_TOKENS = 4

NUM_STEPS = 60  # of each short training


def bench_ablations(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Vary the settings of the kit's composers; with a pack, train variants of duet as well.

    Trained variants are scored on the pack's validation designs, the others on the gallery.

    Raises:
        GalleryError: The gallery is not there.
        ValueError: The pack cannot be used.
    """
    parts = list(_untrained_parts(engine))
    recipe = settings = None
    total = len(parts)
    if options.pack is not None:
        recipe = DuetTraining(clip=engine.kit.backbone, data=options.pack)
        settings = AblationSettings(
            num_steps=options.steps or NUM_STEPS, seed=options.seed, device=engine.device
        )
        total += len(variants(recipe))
    progress = ProgressLine("ablations")
    rows: list[dict[str, Any]] = []
    for done, part in enumerate(parts):
        progress(done, total)
        rows += part
    if recipe is not None and settings is not None:
        for done, row in enumerate(duet_ablations(recipe, settings), len(parts) + 1):
            rows.append(asdict(row))
            progress(done, total)
    return rows


def _untrained_parts(engine: Engine) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the ablations without training, each measured when it is iterated."""
    gallery, folder = shipped_gallery(engine), assets_folder() / "gallery"
    protocol = catalogue.read_protocol(gallery, folder)
    composer = engine.composer(DEFAULT_COMPOSER)
    by_skill = {
        skill: catalogue.read_protocol(gallery, folder, skill=skill)
        for skill in catalogue.read_skills(folder)
    }
    yield ablations.balance_rows(DEFAULT_COMPOSER, composer, protocol, gallery)
    yield ablations.skill_rows(DEFAULT_COMPOSER, composer, by_skill, gallery)
    for name in engine.kit.search_tower.composers:
        yield ablations.tower_rows(name, engine.composer(name), protocol, gallery)
    yield ablations.shift_rows(
        engine.search_backbone, protocol, gallery, num_tokens=INVERSION_TOKENS
    )
