"""`duet bench generation --best-of`: the best of several pictures beside one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from generation import benchmark
from generation.best_of import agreements, best_first
from generation.judge import Judge
from retrieval.benchmarks.metrics import bootstrap, paired_bootstrap
from studio.best_of import check_number, picture_features
from studio.commands.bench_generation import interval_fields, read_cases
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import Engine
from studio.errors import UsageError

CONDITION = "sketch+text"
_MEASURES: dict[str, Callable[[benchmark.Outcome], float]] = {
    "kind": lambda outcome: float(outcome.kind),
    "colour": lambda outcome: float(outcome.colour),
    "joint": lambda outcome: float(outcome.joint),
    "sketch_agreement": lambda outcome: outcome.agreement,
}


def best_of_rows(engine: Engine, options: BenchOptions, num: int) -> list[dict[str, Any]]:
    """Judge the best of `num` pictures of each query, and one picture of a seed of its own.

    The judge saw none of the scores, and the single picture is not among those that were scored.

    Raises:
        GalleryError: The gallery is not there.
        PipelineError: The kit does not draw.
        UsageError: The kit has no judge, or a number is out of range.
    """
    check_number(num, "--best-of")
    if engine.kit.judge is None:
        raise UsageError(f"The kit {engine.kit.name!r} has no judge of generated images.")
    judge = Judge.load(engine.kit.judge)
    cases = read_cases(engine, options)
    progress = ProgressLine("pictures of each query")
    drawn: list[list[Image.Image]] = []
    for number in range(num + 1):
        again = benchmark.with_seeds(cases, number)
        condition = benchmark.CONDITIONS[CONDITION]
        drawn.append(benchmark.draw(engine.pipeline, again, condition, engine.kit.drawing))
        progress(number + 1, num + 1)
    alone, *scored = drawn
    best = [
        _best(engine, case, [pictures[at] for pictures in scored]) for at, case in enumerate(cases)
    ]
    return _rows(
        benchmark.outcomes(judge, cases, alone), benchmark.outcomes(judge, cases, best), num
    )


def _best(
    engine: Engine, case: benchmark.DrawingCase, pictures: Sequence[Image.Image]
) -> Image.Image:
    scored = agreements(case.both, picture_features(engine, pictures))
    return pictures[best_first(scored)[0]]


def _rows(
    alone: Sequence[benchmark.Outcome], best: Sequence[benchmark.Outcome], num: int
) -> list[dict[str, Any]]:
    name, count = f"best of {num}", {"query": CONDITION, "num_queries": len(alone)}
    single, chosen, gain = (
        {"pictures": pictures, **count} for pictures in ("one", name, f"{name} minus one")
    )
    for measure in _MEASURES:
        ones, bests = _values(alone, measure), _values(best, measure)
        single |= interval_fields(measure, bootstrap(ones))
        chosen |= interval_fields(measure, bootstrap(bests))
        gain |= interval_fields(measure, paired_bootstrap(bests, ones))
    return [single, chosen, gain]


def _values(outcomes: Sequence[benchmark.Outcome], measure: str) -> Float[np.ndarray, " q"]:
    return np.array([_MEASURES[measure](outcome) for outcome in outcomes])
