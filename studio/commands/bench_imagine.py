"""`duet bench retrieval --imagine`: searches by generated pictures beside plain ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int

from composer.composed import ComposedQuery
from composer.query import Query
from generation.generate import generate_each
from generation.request import GenerateRequest, settings_of
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.metrics import Interval, accuracy_at, bootstrap, paired_bootstrap
from retrieval.benchmarks.rerank import ranks_of_queries
from retrieval.refine import averaged_with_pictures
from retrieval.search import Gallery
from studio.best_of import MAX_BEST_OF, check_number, picture_features
from studio.commands.bench_gallery import count_of, shipped_gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import ComposeOptions, Engine
from studio.imagine import check_single_feature
from studio.kit_file import assets_folder

NUM_QUERIES = 200
_BATCH = 16

Ranks = Int[np.ndarray, " q"]


def imagine_rows(engine: Engine, options: BenchOptions, num: int) -> list[dict[str, Any]]:
    """Rank the shipped gallery by plain queries and by the same averaged with generated pictures.

    Rows "imagined minus plain" have paired intervals over the same queries; `wins` says whether
    that of Acc@1 excludes zero from above.

    Args:
        engine: The kit; it must draw.
        options: Number of queries, seed, steps of drawing.
        num: Pictures for each query.

    Raises:
        GalleryError: The gallery is not there.
        PipelineError: The kit does not draw.
        UsageError: A number is out of range, or the default composer compares two features.
    """
    check_number(num, "--imagine")
    gallery = shipped_gallery(engine)
    protocol = _picked(gallery, options)
    rows: list[dict[str, Any]] = []
    for mode in catalogue.MODES:
        plain = [_compose(engine, protocol, case, mode) for case in protocol.cases]
        check_single_feature(plain[0])
        imagined = _imagine_each(engine, protocol, plain, mode, options, num)
        before = ranks_of_queries(protocol, gallery, plain)
        after = ranks_of_queries(protocol, gallery, imagined)
        for rerank, ranks in before.items():
            for split, mask in _splits(protocol):
                about = {"query": mode, "rerank": rerank, "split": split}
                rows += _rows(about, ranks[mask], after[rerank][mask], num)
    return rows


def _picked(gallery: Gallery, options: BenchOptions) -> catalogue.Protocol:
    """Return the protocol with some of its cases, picked by the seed."""
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    count = count_of(options, NUM_QUERIES)
    order = np.random.default_rng(options.seed).permutation(len(protocol.cases))
    cases = tuple(protocol.cases[number] for number in order[:count])
    return replace(protocol, cases=cases)


def _splits(protocol: catalogue.Protocol) -> list[tuple[str, Bool[np.ndarray, " q"]]]:
    splits = [("seen", protocol.trained_kinds), ("unseen", ~protocol.trained_kinds)]
    return [(split, mask) for split, mask in splits if mask.any()]


def _compose(
    engine: Engine, protocol: catalogue.Protocol, case: catalogue.Case, mode: str
) -> ComposedQuery:
    query = Query(
        sketch=None if mode == "text" else protocol.sketches[case.design],
        text="" if mode == "sketch" else case.attributes,
    )
    return engine.compose(query, ComposeOptions(composer=engine.default_composer))


def _imagine_each(
    engine: Engine,
    protocol: catalogue.Protocol,
    queries: Sequence[ComposedQuery],
    mode: str,
    options: BenchOptions,
    num: int,
) -> list[ComposedQuery]:
    """Return each query averaged with the features of its pictures, drawn in large batches."""
    settings = settings_of(engine.kit.drawing, seed=options.seed)
    if options.steps is not None:
        settings = replace(settings, num_inference_steps=options.steps)
    requests = [
        GenerateRequest(
            query=engine.drawable(query),
            control_sketch=None if mode == "text" else protocol.sketches[case.design],
            settings=replace(settings, seed=options.seed + case.target * MAX_BEST_OF + number),
        )
        for query, case in zip(queries, protocol.cases, strict=True)
        for number in range(num)
    ]
    progress, parts = ProgressLine(f"pictures of {mode}"), []
    for start in range(0, len(requests), _BATCH):
        images = generate_each(engine.pipeline, requests[start : start + _BATCH])
        parts.append(picture_features(engine, images).cpu())
        progress(min(start + _BATCH, len(requests)), len(requests))
    features = torch.cat(parts).split(num)
    return [
        replace(query, feature=averaged_with_pictures(query.feature, pictures))
        for query, pictures in zip(queries, features, strict=True)
    ]


def _rows(about: dict[str, Any], plain: Ranks, imagined: Ranks, num: int) -> list[dict[str, Any]]:
    """Return a row for each way to search, and one for their difference."""
    rows: list[dict[str, Any]] = []
    for name, count, ranks in (("plain", 0, plain), ("imagined", num, imagined)):
        first = bootstrap((ranks == 1).astype(float))
        rows.append(
            {
                **{"search": name, "num_imagined": count, **about, "num_queries": len(ranks)},
                **{f"acc@{k}": accuracy_at(ranks, k) for k in catalogue.KS},
                **_interval("acc_1", first),
            }
        )
    gains = {k: _gain(plain, imagined, k) for k in catalogue.KS}
    rows.append(
        {
            **{"search": "imagined minus plain", "num_imagined": num, **about},
            "num_queries": len(plain),
            **{f"acc@{k}": gain.mean for k, gain in gains.items()},
            **{
                name: value
                for k, gain in gains.items()
                for name, value in _interval(f"acc_{k}", gain).items()
            },
            "wins": gains[1].low > 0,
        }
    )
    return rows


def _gain(plain: Ranks, imagined: Ranks, k: int) -> Interval:
    return paired_bootstrap((imagined <= k).astype(float), (plain <= k).astype(float))


def _interval(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}
