"""`duet bench generation`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch.nn import functional

from composer.query import Query
from composer.sketch import rasterise
from composer.training.public_trunk import PublicFeatures, is_installed
from generation import benchmark
from generation.feature_judge import FeatureJudge
from generation.judge import Judge
from generation.quality import edge_ratios, kernel_distance, variety
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.metrics import Interval, bootstrap, paired_bootstrap
from studio.commands.bench_gallery import count_of, shipped_gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine, warn
from studio.engine import Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder
from studio.sheet import Tile, contact_sheet

NUM_DRAWN = 400
NUM_ON_SHEET = 20
NUM_VARIED = 25  # queries that are drawn with further seeds
NUM_SEEDS = 4
_REAL = "real"
_VARIED = "sketch+text"


def bench_generation(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Draw test queries in every condition and judge the images; the first row is of real ones.

    Where the package of the public trunk is installed, rows about the pictures as such follow: a
    second judge's word on the kind, distances from real pictures that were not asked for.

    Raises:
        GalleryError: The gallery is not there.
        PipelineError: The kit does not draw.
        UsageError: The kit has no judge, the count is not positive, or a condition is unknown.
    """
    conditions = _conditions_of(options)
    if engine.kit.judge is None:
        raise UsageError(f"The kit {engine.kit.name!r} has no judge of generated images.")
    count = count_of(options, NUM_DRAWN)
    judge = Judge.load(engine.kit.judge)
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    order = order_of(protocol, options)
    cases = _cases(engine, protocol, order[:count], options.seed)

    def photos(numbers: Sequence[int]) -> list[Image.Image]:
        files = (gallery.root / gallery.items[protocol.cases[n].target].path for n in numbers)
        return [Image.open(file).convert("RGB") for file in files]

    drawn = {_REAL: photos(order[:count].tolist())}
    progress = ProgressLine("conditions drawn")
    for name, condition in conditions.items():
        drawn[name] = benchmark.draw(engine.pipeline, cases, condition, engine.kit.drawing)
        progress(len(drawn) - 1, len(conditions))
    if options.sheet:
        _write_sheet(options.sheet, cases, drawn)
    judged = {name: benchmark.outcomes(judge, cases, made) for name, made in drawn.items()}
    rows = [_judged_row(name, outcomes) for name, outcomes in judged.items()]
    if not is_installed():
        warn("Rows about sharpness and likeness need the extra `train`; they are left out.")
        return rows
    others = photos(order[count : 2 * count].tolist())
    if not others:
        warn("No picture is left to compare with; rows about likeness are left out.")
        return rows
    return rows + _picture_rows(engine, cases, drawn, others, options.seed)


def _conditions_of(options: BenchOptions) -> dict[str, benchmark.Condition]:
    for way in options.ways or ():
        if way not in benchmark.CONDITIONS:
            names = ", ".join(f"{name!r}" for name in benchmark.CONDITIONS)
            raise UsageError(f"--ways must be of {names}; got {way!r}.")
    return {name: benchmark.CONDITIONS[name] for name in options.ways or benchmark.CONDITIONS}


def read_cases(engine: Engine, options: BenchOptions) -> list[benchmark.DrawingCase]:
    """Return test queries of trained kinds, picked by the seed, composed for the kit.

    Raises:
        GalleryError: The gallery is not there.
        UsageError: The count is not positive.
    """
    count = count_of(options, NUM_DRAWN)
    protocol = catalogue.read_protocol(shipped_gallery(engine), assets_folder() / "gallery")
    return _cases(engine, protocol, order_of(protocol, options)[:count], options.seed)


def order_of(protocol: catalogue.Protocol, options: BenchOptions) -> Int[np.ndarray, " q"]:
    """Return the numbers of the queries of trained kinds, in an order that the seed decides."""
    rng = np.random.default_rng(options.seed)
    return rng.permutation(np.flatnonzero(protocol.trained_kinds))


def _cases(
    engine: Engine, protocol: catalogue.Protocol, numbers: Int[np.ndarray, " q"], seed: int
) -> list[benchmark.DrawingCase]:
    picked = [protocol.cases[number] for number in numbers.tolist()]
    return [_case(engine, protocol, case, seed) for case in picked]


def _case(
    engine: Engine, protocol: catalogue.Protocol, case: catalogue.Case, seed: int
) -> benchmark.DrawingCase:
    designs = [c.design for c in protocol.cases if c.kind == case.kind]
    sibling = next(
        name for name in designs[designs.index(case.design) :] + designs if name != case.design
    )
    sketch = protocol.sketches[case.design]
    return benchmark.DrawingCase(
        sketch=sketch,
        sibling=protocol.sketches[sibling],
        both=engine.compose(Query(sketch=sketch, text=case.attributes)),
        drawing=engine.compose(Query(sketch=sketch)),
        words=engine.compose(Query(text=case.attributes)),
        kind=case.kind,
        part=case.part,
        colour=case.colour,
        finishes=case.finishes,
        seed=seed + case.target,
    )


def _judged_row(name: str, outcomes: Sequence[benchmark.Outcome]) -> dict[str, Any]:
    agreement = np.array([outcome.agreement for outcome in outcomes])
    sibling = np.array([outcome.agreement_sibling for outcome in outcomes])
    parts = [share for outcome in outcomes if (share := outcome.parts) is not None]
    return {
        "query": name,
        "num_queries": len(outcomes),
        **interval_fields(
            "kind", bootstrap(np.array([outcome.kind for outcome in outcomes], float))
        ),
        **interval_fields(
            "colour", bootstrap(np.array([outcome.colour for outcome in outcomes], float))
        ),
        **interval_fields(
            "joint", bootstrap(np.array([outcome.joint for outcome in outcomes], float))
        ),
        **interval_fields("parts", bootstrap(np.array(parts or [np.nan]))),
        "sketch_agreement": float(agreement.mean()),
        **interval_fields("over_sibling", paired_bootstrap(agreement, sibling)),
    }


def _picture_rows(
    engine: Engine,
    cases: Sequence[benchmark.DrawingCase],
    drawn: Mapping[str, Sequence[Image.Image]],
    others: Sequence[Image.Image],
    seed: int,
) -> list[dict[str, Any]]:
    """Compare each condition's pictures with the real ones, and with other real ones as sets."""
    see = PublicFeatures()
    path = engine.kit.feature_judge
    judge = None if path is None else FeatureJudge.load(path)
    held_out, rows = see(others), list[dict[str, Any]]()
    for name, pictures in drawn.items():
        features = see(pictures)
        row: dict[str, Any] = {"pictures": name}
        if judge is not None:
            named = zip(judge.name(features), cases, strict=True)
            hits = np.array([name == case.kind for name, case in named], float)
            row |= interval_fields("second_kind", bootstrap(hits))
        edges = edge_ratios(_pixels(pictures), _pixels(drawn[_REAL], pictures[0].size))
        row |= {"edges": edges[0], "edges_half": edges[1]}
        distance = kernel_distance(features, held_out, seed=seed)
        row |= {"kid": distance.mean, "kid_low": distance.low, "kid_high": distance.high}
        rows.append(row)
    varied = cases[:NUM_VARIED] if _VARIED in drawn else []
    return [*rows, _variety_row(engine, varied, see)] if varied else rows


def _variety_row(
    engine: Engine, cases: Sequence[benchmark.DrawingCase], see: PublicFeatures
) -> dict[str, Any]:
    condition = benchmark.CONDITIONS[_VARIED]
    by_seed = [
        see(
            benchmark.draw(
                engine.pipeline,
                benchmark.with_seeds(cases, number),
                condition,
                engine.kit.drawing,
            )
        )
        for number in range(NUM_SEEDS)
    ]
    features = np.stack(by_seed, axis=1)
    return {
        "pictures": f"{len(cases)} queries, {NUM_SEEDS} seeds each",
        "variety_of_a_query": variety(features),
        "variety_of_all": variety(features.reshape(1, -1, features.shape[-1])),
    }


def _pixels(pictures: Sequence[Image.Image], size: tuple[int, int] | None = None) -> torch.Tensor:
    """Return RGB in [-1, 1], brought to a size where one is given."""
    levels = [np.asarray(picture) for picture in pictures]
    images = torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if size is not None and images.shape[-2:] != size[::-1]:
        images = functional.interpolate(images, size[::-1], mode="bicubic", antialias=True)
    return images


def interval_fields(name: str, interval: Interval) -> dict[str, float]:
    """Return the mean of a measure under its name, and the ends of its interval."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _write_sheet(
    path: Path,
    cases: Sequence[benchmark.DrawingCase],
    drawn: Mapping[str, Sequence[Image.Image]],
) -> None:
    """Write a row for each of the first cases: the drawing, a real picture, every condition."""
    tiles: list[Tile] = []
    for number, case in enumerate(cases[:NUM_ON_SHEET]):
        ink = Image.fromarray(rasterise(case.sketch, 256))
        tiles.append(Tile(image=ink, title=case.both.text))
        tiles += [Tile(image=made[number], title=name) for name, made in drawn.items()]
    contact_sheet(tiles, num_columns=len(drawn) + 1, tile_px=140).save(path)
