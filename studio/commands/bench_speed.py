"""`duet bench speed`."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from composer.peak_memory import used_bytes
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.drawable import with_tokens
from composer.strategies.inversion import InversionSettings
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine, open_engine, warn
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.random_kit import random_kit
from studio.speed import SKETCH, timings
from studio.speed_columns import COLUMNS, Workload, column_rows

NUM_STEPS = 20
GPU_BATCHES, CPU_BATCHES = (1, 4), (1,)
CONTROLS = {"both": (False, True), "with": (True,), "without": (False,)}
WORDS = "a red chair"
# Tokens of random weights say nothing, so that few steps towards them are enough.
BRIEFLY = InversionSettings(num_tokens=4, num_restarts=1, max_steps=2)


@contextmanager
def measured_engine(options: BenchOptions) -> Generator[Engine, None, None]:
    """Open the engine that a benchmark measures: of a kit, or of random weights in its shapes.

    Raises:
        KitError: There is no such kit.
        UsageError: Random weights are to be measured with another benchmark than of speed.
    """
    if not options.has_random_weights:
        yield open_engine(options.kit)
        return
    if options.bench != "speed":
        raise UsageError("Random weights say nothing but time and memory; use duet bench speed.")
    with tempfile.TemporaryDirectory() as folder:
        yield open_engine(options.kit, kit=random_kit(options.kit.kit, Path(folder)))


def bench_speed(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Time queries and searches of a kit with a gallery, and drawing in all columns.

    The planned memory is that of the pipeline for one image, and what was in use before.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
        PipelineError: The kit does not draw.
        UsageError: A number is out of range.
    """
    rows: list[dict[str, Any]] = []
    _ = engine.backbone
    used = used_bytes(torch.device(engine.device))
    composers = engine.kit.search_tower.composers
    if not options.has_random_weights and ComposeOptions().composer in composers:
        rows += [timing.as_json() for timing in timings(engine, str(engine.kit.folder))]
    if engine.kit.pipeline is None:
        return rows
    is_gpu = torch.device(engine.device).type != "cpu"
    batches = options.batches or (GPU_BATCHES if is_gpu else CPU_BATCHES)
    workload = Workload(
        num_steps=NUM_STEPS if options.steps is None else options.steps,
        batches=batches,
        columns=tuple(COLUMNS) if options.columns is None else options.columns,
        controls=CONTROLS[options.control],
    )
    columns = _columns(engine, workload, has_random_weights=options.has_random_weights)
    planned = engine.pipeline.planned_bytes
    planned_gb = None if planned is None else round((used + planned) / 1e9, 3)
    return rows + [{**row, "planned_gb": planned_gb} for row in columns]


def _columns(
    engine: Engine, workload: Workload, *, has_random_weights: bool
) -> list[dict[str, Any]]:
    if has_random_weights:
        warn("The weights are random: times and memory are real, the pictures show nothing.")
    sketch = Sketch.from_strokes([np.array(stroke) for stroke in SKETCH])
    composed = engine.compose(
        Query(sketch=sketch, text=WORDS), ComposeOptions(composer=engine.default_composer)
    )
    if has_random_weights:
        composed = with_tokens(engine.backbone, composed, BRIEFLY)
    progress = ProgressLine("columns measured")
    rows: list[dict[str, Any]] = []
    num_controls = sum(1 for one in workload.controls if engine.pipeline.has_control or not one)
    total = len(workload.batches) * num_controls * (1 + len(workload.columns))
    for row in column_rows(engine, composed, sketch, workload):
        rows.append(row)
        progress(len(rows), total)
    for problem in engine.pipeline.problems:
        warn(problem)
    return rows
