"""`duet bench composers`: every composer of the kit on the same queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from composer import names
from composer.backbone import Backbone
from composer.images import open_image
from composer.kit_parts import ComposerFiles
from composer.sketch import rasterise
from composer.strategies import load_composer
from composer.strategies.protocol import Composer, LightEncoder
from retrieval.benchmarks import catalogue, real
from retrieval.benchmarks.behaviour import behaviour_row
from retrieval.benchmarks.cost import cost_row, tower_row
from retrieval.benchmarks.media import media_rows, open_media
from retrieval.benchmarks.partial import partial_rows
from retrieval.benchmarks.pointing import pointing_rows
from retrieval.benchmarks.renditions import NUM_PHOTOS, open_renditions, rendition_rows
from retrieval.benchmarks.rerank import both_ranks
from retrieval.benchmarks.reworded import reworded
from retrieval.benchmarks.scenes import read_scenes, scene_rows
from retrieval.search import Gallery
from studio.commands.bench_gallery import count_of, shipped_gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder
from studio.report import ReportQuery, weights_digest, write_report
from studio.sheet import Tile, contact_sheet

BACKBONE = "backbone"
# The frozen backbone alone: drawings are encoded as they are, and mixed half and half with words.
BARE = {"alpha": 0.5, "moves_sketches": False, "uses_tuned_tower": False}
# Written for this benchmark; no training uses them.
NEUTRAL = (
    "somebody made this",
    "done in a few minutes",
    "this is what I mean",
    "have a look at this",
    "as I imagine it",
    "just as it is",
    "made for you",
    "nothing more to say",
)
NUM_BEHAVIOUR = 64
NUM_TIMED = 9
NUM_EXAMPLES, NUM_ON_SHEET, TOP_K = 12, 4, 10
BOTH = "sketch+text"
REWORDED = "sketch+text, reworded"


Measure = Callable[[str, Composer], list[dict[str, Any]]]

MEASURES: Mapping[str, Callable[[Composer, real.RealSet, int], list[dict[str, Any] | None]]] = {
    "chairv2": lambda composer, dataset, _: [
        measure(composer, dataset, has_words=has_words)
        for has_words in (False, True)
        for measure in (real.chair_row, real.chair_reranked)
    ],
    "sketchy": lambda composer, dataset, _: [real.class_row(composer, dataset)],
    "pacs": lambda composer, dataset, seed: [
        real.conversion(composer, dataset, seed=seed, mode=mode) for mode in catalogue.MODES
    ],
}


def _open_scenes(folder: Path, backbone: Backbone) -> Measure:
    scenes = read_scenes(folder, backbone)
    return lambda name, composer: scene_rows(name, composer, scenes)


def _open_domains(folder: Path, backbone: Backbone) -> Measure:
    media = open_media(folder, backbone)
    return lambda _, composer: media_rows(composer, media)


# Data shipped beside the gallery: from the folder's name to the function that opens it.
EXTRA: Mapping[str, Callable[[Path, Backbone], Measure]] = {
    "scenes": _open_scenes,
    "domains": _open_domains,
}


def bench_composers(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Measure every composer on the catalogue, and on real drawings with `--natural`.

    With `--imagenet-r`, they are measured on ImageNet-R instead.

    Raises:
        GalleryError: The gallery is not there.
        DatasetError: An archive of the natural folder is missing or has another layout, or
            ImageNet-R has.
        UsageError: The kit lacks a composer of `--composers`.
    """
    selected = _names(engine, options.composers)
    if options.imagenet_r is not None:
        return _imagenet_r_rows(engine, options, selected, *options.imagenet_r)
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    sets = (
        {} if options.natural is None else real.open_real(options.natural, engine.search_backbone)
    )
    extra = {
        name: open_data(assets_folder() / name, engine.search_backbone)
        for name, open_data in EXTRA.items()
        if (assets_folder() / name).is_dir()
    }
    composers = {name: _composer(engine, name) for name in selected}
    progress = ProgressLine("composers measured")
    rows: list[dict[str, Any]] = []
    for done, (name, composer) in enumerate(composers.items()):
        progress(done, len(composers))
        rows += _catalogue_rows(name, composer, protocol, gallery)
        rows += [
            {**row, "composer": name}
            for which, dataset in sets.items()
            for row in MEASURES[which](composer, dataset, options.seed)
            if row is not None
        ]
        for measure in extra.values():
            rows += [{**row, "composer": name} for row in measure(name, composer)]
        rows.append({**_behaviour(composer, protocol), "composer": name})
        drawn = list(protocol.sketches.values())[:NUM_TIMED]
        rows.append({**asdict(cost_row(composer, drawn)), "composer": name})
        if isinstance(composer, LightEncoder):
            rows.append(asdict(tower_row(name, composer, drawn)))
    progress(len(composers), len(composers))
    if options.sheet or options.page:
        examples = _examples(composers, protocol, gallery, options.seed)
        if options.sheet:
            _sheet(examples).save(options.sheet)
        if options.page:
            write_report(options.page, _heading(engine, options), rows, examples)
    return rows


def _imagenet_r_rows(
    engine: Engine, options: BenchOptions, selected: Sequence[str], path: Path, real: Path
) -> list[dict[str, Any]]:
    num_photos = count_of(options, NUM_PHOTOS)
    renditions = open_renditions(path, real, engine.search_backbone)
    progress = ProgressLine("composers measured")
    rows: list[dict[str, Any]] = []
    for done, name in enumerate(selected):
        progress(done, len(selected))
        composer = _composer(engine, name)
        measured = rendition_rows(composer, renditions, seed=options.seed, num_photos=num_photos)
        rows += [{**row, "composer": name} for row in measured]
    progress(len(selected), len(selected))
    return rows


def _heading(engine: Engine, options: BenchOptions) -> dict[str, Any]:
    return {
        "kit": engine.kit.name,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": options.seed,
        "weights": weights_digest(engine.kit),
        "composer": DEFAULT_COMPOSER,
    }


def bench_partial(engine: Engine, _: BenchOptions) -> list[dict[str, Any]]:
    """Measure the default composer on the first strokes of each drawing.

    Raises:
        GalleryError: The gallery is not there.
    """
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    composer = engine.composer(DEFAULT_COMPOSER)
    return partial_rows(DEFAULT_COMPOSER, composer, protocol, gallery)


def bench_evidence(engine: Engine, _: BenchOptions) -> list[dict[str, Any]]:
    """Measure whether the strongest patch of a word or stroke lies on the part that it denotes.

    Raises:
        GalleryError: The tables of the gallery are missing.
    """
    composer = engine.composer(DEFAULT_COMPOSER)
    rows = pointing_rows(composer, assets_folder() / "gallery")
    return [{"composer": DEFAULT_COMPOSER, **row} for row in rows]


def _names(engine: Engine, selected: Sequence[str] | None) -> list[str]:
    """Return the composers to measure: the selected ones, or all and the frozen backbone."""
    known = [*engine.kit.search_tower.composers, BACKBONE]
    if unknown := sorted(set(selected or ()) - set(known)):
        raise UsageError(f"The kit has no composer {unknown[0]!r}; it has {', '.join(known)}.")
    return [name for name in known if selected is None or name in selected]


def _composer(engine: Engine, name: str) -> Composer:
    if name == BACKBONE:
        return load_composer(names.SLERP, engine.search_backbone, ComposerFiles(settings=BARE))
    return engine.composer(name)


def _catalogue_rows(
    name: str, composer: Composer, protocol: catalogue.Protocol, gallery: Gallery
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    encoded = catalogue.encode_sketches(protocol, composer)
    for mode in catalogue.MODES:
        for rerank, ranks in both_ranks(protocol, gallery, composer, mode, encoded).items():
            table = catalogue.table(name, mode, protocol, ranks, rerank=rerank)
            rows += [row.as_json() for row in table]
    other = reworded(protocol)
    for rerank, ranks in both_ranks(other, gallery, composer, BOTH, encoded).items():
        table = catalogue.table(name, REWORDED, other, ranks, rerank=rerank)
        rows += [row.as_json() for row in table]
    return rows


def _behaviour(composer: Composer, protocol: catalogue.Protocol) -> dict[str, Any]:
    """Measure one drawing of each of the first designs of seen kinds."""
    first = {case.design: case for case in reversed(protocol.cases) if case.trained_kind}
    cases = list(first.values())[:: max(1, len(first) // NUM_BEHAVIOUR)][:NUM_BEHAVIOUR]
    sketches = [protocol.sketches[case.design] for case in cases]
    words = [case.attributes for case in cases]
    return asdict(behaviour_row(composer, sketches, NEUTRAL, words))


def _examples(
    composers: Mapping[str, Composer], protocol: catalogue.Protocol, gallery: Gallery, seed: int
) -> list[ReportQuery]:
    """Choose random queries: half with the target first, half without it in the first hits."""
    name = DEFAULT_COMPOSER if DEFAULT_COMPOSER in composers else next(iter(composers))
    queries = catalogue.composed_queries(protocol, composers[name], BOTH)
    ranks = catalogue.query_ranks(protocol, gallery, queries)
    rng = np.random.default_rng(seed)
    picked = [
        int(number)
        for mask in (ranks == 1, ranks > TOP_K)
        for number in rng.permutation(np.flatnonzero(mask))[: NUM_EXAMPLES // 2]
    ]
    cases = tuple(protocol.cases[number] for number in picked)
    sketches = {case.design: protocol.sketches[case.design] for case in cases}
    part = catalogue.Protocol(cases=cases, sketches=sketches)
    files = [gallery.root / item.path for item in gallery.items]
    answers: list[dict[str, tuple[int, list[Path]]]] = [{} for _ in cases]
    for name, composer in composers.items():
        queries = catalogue.composed_queries(part, composer, BOTH)
        scores = gallery.similarities(queries)
        nearest = scores.argsort(dim=1, descending=True, stable=True)[:, :TOP_K].tolist()
        targets = catalogue.query_ranks(part, gallery, queries).tolist()
        for answer, rank, rows in zip(answers, targets, nearest, strict=True):
            answer[name] = (rank, [files[row] for row in rows])
    return [
        ReportQuery(
            sketch=Image.fromarray(rasterise(sketches[case.design], 256)),
            words=case.attributes,
            split="seen kind" if case.trained_kind else "unseen kind",
            target=files[case.target],
            answers=answer,
        )
        for case, answer in zip(cases, answers, strict=True)
    ]


def _sheet(examples: Sequence[ReportQuery]) -> Image.Image:
    """Draw a sheet of some examples with a row for each query and composer."""
    tiles: list[Tile] = []
    for query in examples[:: max(1, len(examples) // NUM_ON_SHEET)]:
        for name, (rank, files) in query.answers.items():
            tiles.append(Tile(image=query.sketch, title=name, subtitle=f"rank {rank}"))
            for rank_of_hit, file in enumerate(files, 1):
                mark = " (target)" if file == query.target else ""
                tiles.append(Tile(image=open_image(file), title=f"{rank_of_hit}{mark}"))
    return contact_sheet(tiles, num_columns=1 + TOP_K, tile_px=110)
