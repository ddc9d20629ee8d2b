"""`duet bench composers`: every composer of the kit, on the same queries, in one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from composer.backbone import Backbone
from composer.images import open_image
from composer.kit_parts import ComposerFiles
from composer.sketch import rasterise
from composer.strategies import load_composer
from composer.strategies.protocol import Composer, LightEncoder
from retrieval.benchmarks import catalogue, real
from retrieval.benchmarks.behaviour import behaviour_row
from retrieval.benchmarks.cost import cost_row, tower_row
from retrieval.benchmarks.evidence import evidence_rows
from retrieval.benchmarks.media import media_rows, open_media
from retrieval.benchmarks.partial import partial_rows
from retrieval.benchmarks.rerank import both_ranks
from retrieval.benchmarks.scenes import read_scenes, scene_rows
from retrieval.search import Gallery
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.errors import UsageError
from studio.kits import assets_folder
from studio.report import Shown, weights_digest, write_report
from studio.sheet import Tile, contact_sheet

BACKBONE = "backbone"
# The frozen backbone itself: a drawing is seen as it is, and mixed with words half and half.
BARE = {"alpha": 0.5, "moves_sketches": False, "uses_tuned_tower": False}
# Written for this table: no training has seen them.
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
NUM_SHOWN, NUM_ON_SHEET, TOP_K = 12, 4, 10
BOTH = "sketch+text"


Measure = Callable[[str, Composer], list[dict[str, Any]]]

MEASURES: Mapping[str, Callable[[Composer, real.RealSet, int], list[dict[str, Any] | None]]] = {
    "chairv2": lambda composer, found, _: [
        real.chair_row(composer, found),
        real.chair_reranked(composer, found),
    ],
    "sketchy": lambda composer, found, _: [real.class_row(composer, found)],
    "pacs": lambda composer, found, seed: [real.conversion(composer, found, seed=seed)],
}


def _open_scenes(folder: Path, backbone: Backbone) -> Measure:
    scenes = read_scenes(folder, backbone)
    return lambda name, composer: scene_rows(name, composer, scenes)


def _open_domains(folder: Path, backbone: Backbone) -> Measure:
    media = open_media(folder, backbone)
    return lambda _, composer: media_rows(composer, media)


# Shipped beside the gallery: folder to what opens it.
EXTRA: Mapping[str, Callable[[Path, Backbone], Measure]] = {
    "scenes": _open_scenes,
    "domains": _open_domains,
}


def bench_composers(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Measure every composer on the catalogue, and on real drawings where these are given.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
        DatasetError: An archive of the natural folder is missing or has another layout.
        UsageError: A composer is named that the kit has not.
    """
    names = _names(engine, options.composers)
    gallery = engine.gallery()
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    sets = {} if options.natural is None else real.open_real(options.natural, engine.backbone)
    extra = {
        name: opened(assets_folder() / name, engine.backbone)
        for name, opened in EXTRA.items()
        if (assets_folder() / name).is_dir()
    }
    composers = {name: _composer(engine, name) for name in names}
    progress = ProgressLine("composers measured")
    rows: list[dict[str, Any]] = []
    for done, (name, composer) in enumerate(composers.items()):
        progress(done, len(composers))
        rows += _catalogue_rows(name, composer, protocol, gallery)
        rows += [
            {**row, "composer": name}
            for which, found in sets.items()
            for row in MEASURES[which](composer, found, options.seed)
            if row is not None
        ]
        for found in extra.values():
            rows += [{**row, "composer": name} for row in found(name, composer)]
        rows.append({**_behaviour(composer, protocol), "composer": name})
        drawn = list(protocol.sketches.values())[:NUM_TIMED]
        rows.append({**asdict(cost_row(composer, drawn)), "composer": name})
        if isinstance(composer, LightEncoder):
            rows.append(asdict(tower_row(name, composer, drawn)))
    progress(len(composers), len(composers))
    if options.sheet or options.page:
        shown = _shown(composers, protocol, gallery, options.seed)
        if options.sheet:
            _sheet(shown).save(options.sheet)
        if options.page:
            write_report(options.page, _heading(engine, options), rows, shown)
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
    """Measure the default composer while strokes arrive.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
    """
    gallery = engine.gallery()
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    composer = engine.composer(DEFAULT_COMPOSER)
    return partial_rows(DEFAULT_COMPOSER, composer, protocol, gallery)


def bench_evidence(engine: Engine, _: BenchOptions) -> list[dict[str, Any]]:
    """Measure whether a word's strongest patch falls on the part it names, and a stroke's likewise.

    Raises:
        GalleryError: The gallery's tables are not there.
    """
    composer = engine.composer(DEFAULT_COMPOSER)
    rows = evidence_rows(composer, assets_folder() / "gallery")
    return [{"composer": DEFAULT_COMPOSER, **row} for row in rows]


def _names(engine: Engine, asked: Sequence[str] | None) -> list[str]:
    """Return the composers to measure: all of the kit and its frozen backbone, or those asked."""
    known = [*engine.kit.composers, BACKBONE]
    if strange := sorted(set(asked or ()) - set(known)):
        raise UsageError(f"The kit has no composer {strange[0]!r}; it has {', '.join(known)}.")
    return [name for name in known if asked is None or name in asked]


def _composer(engine: Engine, name: str) -> Composer:
    if name == BACKBONE:
        return load_composer("slerp", engine.backbone, ComposerFiles(settings=BARE))
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
    return rows


def _behaviour(composer: Composer, protocol: catalogue.Protocol) -> dict[str, Any]:
    """Ask about one drawing of each of the first designs of seen kinds."""
    first = {case.design: case for case in reversed(protocol.cases) if case.seen}
    cases = list(first.values())[:: max(1, len(first) // NUM_BEHAVIOUR)][:NUM_BEHAVIOUR]
    sketches = [protocol.sketches[case.design] for case in cases]
    words = [case.attributes for case in cases]
    return asdict(behaviour_row(composer, sketches, NEUTRAL, words))


def _shown(
    composers: Mapping[str, Composer], protocol: catalogue.Protocol, gallery: Gallery, seed: int
) -> list[Shown]:
    """Draw queries: half that the default composer finds first, half that it misses."""
    name = DEFAULT_COMPOSER if DEFAULT_COMPOSER in composers else next(iter(composers))
    features = catalogue.query_features(protocol, composers[name], BOTH)
    ranks = catalogue.ranks(protocol, gallery.matrix, features)
    rng = np.random.default_rng(seed)
    picked = [
        int(number)
        for some in (ranks == 1, ranks > TOP_K)
        for number in rng.permutation(np.flatnonzero(some))[: NUM_SHOWN // 2]
    ]
    cases = tuple(protocol.cases[number] for number in picked)
    sketches = {case.design: protocol.sketches[case.design] for case in cases}
    part = catalogue.Protocol(cases=cases, sketches=sketches)
    files = [gallery.root / item.path for item in gallery.items]
    answers: list[dict[str, tuple[int, list[Path]]]] = [{} for _ in cases]
    for name, composer in composers.items():
        features = catalogue.query_features(part, composer, BOTH)
        nearest = gallery.matrix.nearest(features.float(), TOP_K).rows.tolist()
        own = catalogue.ranks(part, gallery.matrix, features).tolist()
        for place, (rank, rows) in enumerate(zip(own, nearest, strict=True)):
            answers[place][name] = (rank, [files[row] for row in rows])
    return [
        Shown(
            sketch=Image.fromarray(rasterise(sketches[case.design], 256)),
            words=case.attributes,
            split="seen kind" if case.seen else "unseen kind",
            target=files[case.target],
            answers=found,
        )
        for case, found in zip(cases, answers, strict=True)
    ]


def _sheet(shown: Sequence[Shown]) -> Image.Image:
    """Some of the same pictures on one sheet: a row for each query and composer."""
    tiles: list[Tile] = []
    for query in shown[:: max(1, len(shown) // NUM_ON_SHEET)]:
        for name, (rank, files) in query.answers.items():
            tiles.append(Tile(image=query.sketch, title=name, subtitle=f"rank {rank}"))
            for place, file in enumerate(files, 1):
                mark = " (meant)" if file == query.target else ""
                tiles.append(Tile(image=open_image(file), title=f"{place}{mark}"))
    return contact_sheet(tiles, num_columns=1 + TOP_K, tile_px=110)
