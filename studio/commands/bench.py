"""`duet bench`."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from composer import names
from composer.data.encoder_sets import Part, sketchy_of
from composer.query import Query
from composer.sketch import Sketch
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.confidence import (
    confidence_rows,
    gallery_queries,
    natural_gallery,
    natural_queries,
)
from retrieval.benchmarks.end_to_end import end_to_end_rows, lance_row, synthetic_gallery
from retrieval.benchmarks.engines import engine_rows
from retrieval.benchmarks.rerank import both_ranks
from retrieval.benchmarks.scale import LEAST_ITEMS, scale_row
from retrieval.confidence import load_calibrations
from studio.commands.bench_ablations import bench_ablations
from studio.commands.bench_best_of import best_of_rows
from studio.commands.bench_composers import bench_composers, bench_evidence, bench_partial
from studio.commands.bench_domains import bench_domains
from studio.commands.bench_drawings import bench_drawings
from studio.commands.bench_gallery import count_of, shipped_gallery
from studio.commands.bench_generation import bench_generation
from studio.commands.bench_imagine import imagine_rows
from studio.commands.bench_index import bench_index
from studio.commands.bench_pictures import bench_balance, bench_pictures
from studio.commands.bench_speed import bench_speed, measured_engine
from studio.commands.bench_tokens import bench_tokens
from studio.commands.options import BenchOptions
from studio.commands.shared import print_json, print_line
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder
from studio.speed import SKETCH

COMPARED = (DEFAULT_COMPOSER, names.SLERP)
NUM_VECTORS = 1_000_000


def run(options: BenchOptions) -> int:
    """Measure, then print a table or JSON."""
    with measured_engine(options) as engine:
        rows = BENCHES[options.bench](engine, options)
    heading = {
        "bench": options.bench,
        "kit": engine.kit.name,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": options.seed,
    }
    if options.json:
        print_json({**heading, "rows": rows})
    else:
        print_line("  ".join(f"{name} {value}" for name, value in heading.items()))
        print_rows(rows)
    return 0


def bench_retrieval(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Rank the shipped gallery for the default composer, its baseline, and the backbone alone.

    `duet bench composers` measures all composers. With `--imagine`, plain searches are compared
    with searches by generated pictures instead.

    Raises:
        GalleryError: The gallery is not there.
        UsageError: The number of pictures or queries is out of range.
    """
    if options.imagine is not None:
        return imagine_rows(engine, options, options.imagine)
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    ranks = {}
    rows: list[dict[str, Any]] = []
    for name in (name for name in COMPARED if name in engine.kit.search_tower.composers):
        composer = engine.composer(name)
        encoded = catalogue.encode_sketches(protocol, composer)
        for mode in catalogue.MODES:
            for rerank, values in both_ranks(protocol, gallery, composer, mode, encoded).items():
                ranks[name, mode, rerank] = values
                table = catalogue.table(name, mode, protocol, values, rerank=rerank)
                rows += [row.as_json() for row in table]
    rows += _gains(ranks, protocol)
    kinds = sorted({case.kind for case in protocol.cases})
    for row in catalogue.clip_rows(protocol, gallery, engine.search_backbone, kinds):
        rows.append(
            {
                "composer": "backbone",
                "query": "caption",
                "split": row.split,
                "R@10": row.caption_recall_10,
                "kind_accuracy": row.kind_accuracy,
            }
        )
    return rows


def bench_search(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Time exact search beside other engines on synthetic vectors, then a whole search.

    Raises:
        UsageError: The count of vectors is not positive.
    """
    rows = [
        row.as_json()
        for num_queries in (1, 64)
        for row in engine_rows(
            count_of(options, NUM_VECTORS),
            options.dim,
            seed=options.seed,
            num_queries=num_queries,
            device=options.kit.device,
        )
    ]
    sketch = Sketch.from_strokes([np.array(stroke) for stroke in SKETCH])
    with tempfile.TemporaryDirectory() as folder:
        gallery = synthetic_gallery(Path(folder) / "index", options.items, engine.search_backbone)
        searches = end_to_end_rows(
            gallery, lambda words: engine.compose(Query(sketch=sketch, text=words))
        )
        searches.append(lance_row(Path(folder) / "index", seed=options.seed))
    return rows + [row.as_json() for row in searches]


def bench_scale(_: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Grow synthetic galleries of a hundredth, a tenth and all of `--count` items.

    Raises:
        UsageError: The count is too small for one gallery.
    """
    most = count_of(options, NUM_VECTORS, least=LEAST_ITEMS)
    rows: list[dict[str, Any]] = []
    for size in (size for size in (most // 100, most // 10, most) if size >= LEAST_ITEMS):
        with tempfile.TemporaryDirectory() as folder:
            row = scale_row(
                Path(folder) / "index", size, options.dim,
                seed=options.seed, milvus=options.publish,
            )  # fmt: skip
        rows.append(row.as_json())
    return rows


def bench_confidence(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Measure confidence on the shipped gallery, with the targets in it and with them removed.

    With `--natural`, also on photos of Sketchy's held-out classes.

    Raises:
        DatasetError: The archive of Sketchy is missing or has another layout.
        GalleryError: The gallery is not there.
        UsageError: The kit has no calibration of the default composer.
    """
    if DEFAULT_COMPOSER not in engine.kit.search_tower.confidence:
        raise UsageError(
            f"The kit {engine.kit.name!r} has no calibration of {DEFAULT_COMPOSER}; make it with: "
            "duet train confidence"
        )
    calibrations = load_calibrations(engine.kit.search_tower.confidence[DEFAULT_COMPOSER])
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    composer = engine.composer(DEFAULT_COMPOSER)
    measure = partial(
        confidence_rows,
        DEFAULT_COMPOSER,
        calibrations=calibrations,
        is_judged=engine.is_calibrated_for,
    )
    rows = measure(gallery_queries(protocol, composer), gallery)
    if options.natural is not None:
        photos = sketchy_of(options.natural, Part.HELD_OUT)
        with tempfile.TemporaryDirectory() as folder:
            shown = natural_gallery(photos, engine.search_backbone, Path(folder, "index"))
            rows += measure(natural_queries(photos, composer), shown)
    return [asdict(row) for row in rows]


def bench_drawn(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Judge generated images in every condition; with `--best-of`, the best of several beside one.

    Raises:
        GalleryError: The gallery is not there.
        PipelineError: The kit does not draw.
        UsageError: The kit has no judge, or a number is out of range.
    """
    if options.best_of is not None:
        return best_of_rows(engine, options, options.best_of)
    return bench_generation(engine, options)


BENCHES = {
    "retrieval": bench_retrieval,
    "composers": bench_composers,
    "partial": bench_partial,
    "drawings": bench_drawings,
    "ablations": bench_ablations,
    "evidence": bench_evidence,
    "confidence": bench_confidence,
    "domains": bench_domains,
    "generation": bench_drawn,
    "pictures": bench_pictures,
    "balance": bench_balance,
    "index": bench_index,
    "scale": bench_scale,
    "search": bench_search,
    "speed": bench_speed,
    "tokens": bench_tokens,
}


def _gains(ranks: Mapping[Any, Any], protocol: catalogue.Protocol) -> list[dict[str, Any]]:
    """Return the lead of duet with sketch and words over every other composer and query."""
    rows: list[dict[str, Any]] = []
    splits = [("seen", protocol.trained_kinds), ("unseen", ~protocol.trained_kinds)]
    for split, mask in ((split, mask) for split, mask in splits if mask.any()):
        for name, mode, rerank in ranks:
            both = ranks.get((DEFAULT_COMPOSER, "sketch+text", rerank))
            if both is None or (name, mode) == (DEFAULT_COMPOSER, "sketch+text"):
                continue
            gap = catalogue.gain(both, ranks[name, mode, rerank], mask)
            rows.append(
                {
                    "composer": f"duet minus {name}",
                    "query": mode,
                    "rerank": rerank,
                    "split": split,
                    "acc@1": gap.mean,
                    "acc_1_low": gap.low,
                    "acc_1_high": gap.high,
                }
            )
    return rows


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print flat rows as tables; a row with other fields starts a new one."""
    fields: list[str] = []
    for row in rows:
        if list(row) != fields:
            fields = list(row)
            print_line("")
            print_line("  ".join(f"{name:>14}" for name in fields))
        cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        print_line("  ".join(f"{value:>14}" for value in cells))
