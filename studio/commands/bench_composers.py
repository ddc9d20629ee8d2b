"""`duet bench composers`: every composer of the kit, on the same queries, in one table."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from composer.images import open_image
from composer.kit_parts import ComposerFiles
from composer.query import Query
from composer.sketch import rasterise
from composer.strategies import load_composer
from composer.strategies.protocol import Composer, LightEncoder
from retrieval.benchmarks import catalogue, real
from retrieval.benchmarks.behaviour import behaviour_row
from retrieval.benchmarks.cost import cost_row, tower_row
from retrieval.benchmarks.partial import partial_rows
from retrieval.search import Gallery
from retrieval.sheet import Tile, contact_sheet
from studio.commands.shared import ProgressLine
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.kits import assets_folder

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
NUM_SHOWN, TOP_K = 4, 8


MEASURES: Mapping[str, Callable[[Composer, real.RealSet, int], dict[str, Any]]] = {
    "chairv2": lambda composer, found, _: real.chair_row(composer, found),
    "sketchy": lambda composer, found, _: real.class_row(composer, found),
    "pacs": lambda composer, found, seed: real.conversion(composer, found, seed=seed),
}


def bench_composers(engine: Engine, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every composer on the catalogue, and on real drawings where these are given.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
        DatasetError: An archive of the natural folder is missing or has another layout.
    """
    gallery = engine.gallery()
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    sets = {} if arguments.natural is None else real.open_real(arguments.natural, engine.backbone)
    composers = dict(_composers(engine))
    progress = ProgressLine("composers measured")
    rows: list[dict[str, Any]] = []
    for done, (name, composer) in enumerate(composers.items()):
        progress(done, len(composers))
        rows += _catalogue_rows(name, composer, protocol, gallery)
        rows += [
            {**MEASURES[which](composer, found, arguments.seed), "composer": name}
            for which, found in sets.items()
        ]
        rows.append({**_behaviour(composer, protocol), "composer": name})
        drawn = list(protocol.sketches.values())[:NUM_TIMED]
        rows.append({**asdict(cost_row(composer, drawn)), "composer": name})
        if isinstance(composer, LightEncoder):
            rows.append(asdict(tower_row(name, composer, drawn)))
    progress(len(composers), len(composers))
    if arguments.sheet:
        _write_sheet(arguments.sheet, composers, protocol, gallery)
    return rows


def bench_partial(engine: Engine, _: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the default composer while strokes arrive.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
    """
    gallery = engine.gallery()
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    composer = engine.composer(DEFAULT_COMPOSER)
    return partial_rows(DEFAULT_COMPOSER, composer, protocol, gallery)


def _composers(engine: Engine) -> Iterator[tuple[str, Composer]]:
    """Yield the kit's composers and, to compare, its frozen backbone."""
    for name in engine.kit.composers:
        yield name, engine.composer(name)
    bare = ComposerFiles(settings=BARE)
    yield "backbone", load_composer("slerp", engine.backbone, bare)


def _catalogue_rows(
    name: str, composer: Composer, protocol: catalogue.Protocol, gallery: Gallery
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for mode in catalogue.MODES:
        features = catalogue.query_features(protocol, composer, mode)
        ranks = catalogue.ranks(protocol, gallery.index, features)
        rows += [row.as_json() for row in catalogue.table(name, mode, protocol, ranks)]
    return rows


def _behaviour(composer: Composer, protocol: catalogue.Protocol) -> dict[str, Any]:
    """Ask about one drawing of each of the first designs of seen kinds."""
    first = {case.design: case for case in reversed(protocol.cases) if case.seen}
    cases = list(first.values())[:: max(1, len(first) // NUM_BEHAVIOUR)][:NUM_BEHAVIOUR]
    sketches = [protocol.sketches[case.design] for case in cases]
    words = [case.attributes for case in cases]
    return asdict(behaviour_row(composer, sketches, NEUTRAL, words))


def _write_sheet(
    path: Path,
    composers: Mapping[str, Composer],
    protocol: catalogue.Protocol,
    gallery: Gallery,
) -> None:
    """Write the first hits of every composer for a few queries; those it missed stay in."""
    rng = np.random.default_rng(0)
    picked = rng.permutation(np.flatnonzero(protocol.seen))[:NUM_SHOWN]
    tiles: list[Tile] = []
    for case in (protocol.cases[number] for number in picked):
        sketch = protocol.sketches[case.design]
        for name, composer in composers.items():
            encoded = composer.encode(Query(sketch=sketch))
            ranking = gallery.search(composer.compose(encoded, case.attributes), top_k=TOP_K)
            tiles.append(Tile(image=Image.fromarray(rasterise(sketch, 256)), title=name))
            tiles += [Tile(image=open_image(hit.file), title=str(hit.rank)) for hit in ranking.hits]
    contact_sheet(tiles, num_columns=1 + TOP_K, tile_px=110).save(path)
