"""`duet bench pictures` and `duet bench balance`: what a kit draws, to look at.

The queries are fixed in advance: one test design of each kind that kits are trained on, by the
catalogue's freehand drawings, and eight of ChairV2's held-out chairs, drawn by people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from composer.data import archives
from composer.data.qmul import chairv2_parts, open_chairv2
from composer.query import Query
from composer.sketch import Sketch, rasterise
from generation.control import control_image, sketch_agreement
from generation.judge import Judge
from generation.request import GenerateRequest, settings_of
from retrieval.benchmarks import catalogue
from studio.commands.bench_gallery import count_of
from studio.commands.bench_generation import order_of
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import ComposeOptions, Engine
from studio.kit_file import assets_folder
from studio.sheet import Tile, contact_sheet

BALANCES = (0.0, 0.25, 0.5, 0.75, 1.0)
NUM_BALANCED = 40
NUM_BALANCED_ON_SHEET = 10
_COLUMNS_OF_PAIRS = 4
_TILE_PX = 192
_CHAIR_WORDS = (
    ("seat", "red", "with a red leather seat and black metal legs"),
    ("seat", "navy", "with a navy fabric seat and oak wood legs"),
    ("seat", "yellow", "with a yellow plastic seat and white metal legs"),
    ("seat", "green", "with a green fabric seat and walnut wood legs"),
    ("seat", "white", "with a white plastic seat and oak wood legs"),
    ("seat", "teal", "with a teal fabric seat and black metal legs"),
    ("seat", "brown", "with a brown leather seat and walnut wood legs"),
    ("seat", "orange", "with an orange plastic seat and grey metal legs"),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FixedQuery:
    """A drawing with words, and what a picture of them should show.

    Attributes:
        sketch: The drawing.
        words: The words, which do not name its kind.
        kind: Kind of the drawn object.
        part: The part that the words name first.
        colour: Its colour word.
        drawn_by: "catalogue" or "person".
    """

    sketch: Sketch
    words: str
    kind: str
    part: str
    colour: str
    drawn_by: str = "catalogue"


def bench_pictures(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Draw the fixed queries; with `--sheet`, show each drawing beside what became of it.

    Raises:
        PipelineError: The kit does not draw.
        DatasetError: The archive of ChairV2 is missing or has another layout.
    """
    queries = catalogue_queries(assets_folder() / "gallery")
    if options.natural is not None:
        queries += peoples_chairs(options.natural)
    pictures = draw(engine, queries, 0.5, options.seed)
    if options.sheet:
        tiles: list[Tile] = []
        for query, picture in zip(queries, pictures, strict=True):
            tiles += [_ink(query), Tile(image=picture, title=query.words)]
        contact_sheet(tiles, num_columns=2 * _COLUMNS_OF_PAIRS, tile_px=_TILE_PX).save(
            options.sheet
        )
    return _rows(engine, queries, pictures)


def bench_balance(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Draw test queries at five settings of the balance; `--sheet` shows ten of them.

    Raises:
        PipelineError: The kit does not draw.
        UsageError: The count is not positive.
    """
    protocol = catalogue.read_queries(assets_folder() / "gallery")
    numbers = order_of(protocol, options)[: count_of(options, NUM_BALANCED)]
    queries = [_query(protocol, protocol.cases[number]) for number in numbers.tolist()]
    progress, drawn = ProgressLine("settings drawn"), dict[float, list[Image.Image]]()
    for balance in BALANCES:
        drawn[balance] = draw(engine, queries, balance, options.seed)
        progress(len(drawn), len(BALANCES))
    if options.sheet:
        tiles: list[Tile] = []
        for number, query in enumerate(queries[:NUM_BALANCED_ON_SHEET]):
            tiles.append(_ink(query, query.words))
            tiles += [Tile(image=drawn[one][number], title=f"{one:g}") for one in BALANCES]
        contact_sheet(tiles, num_columns=len(BALANCES) + 1, tile_px=_TILE_PX).save(options.sheet)
    rows: list[dict[str, Any]] = []
    for balance, pictures in drawn.items():
        judged = _rows(engine, queries, pictures)
        means = {
            name: float(np.mean([row[name] for row in judged]))
            for name in ("kind_right", "colour_right", "sketch_agreement")
            if name in judged[0]
        }
        rows.append({"balance": balance, "num_queries": len(queries), **means})
    return rows


def catalogue_queries(folder: Path) -> list[FixedQuery]:
    """Return one query of each trained kind: the first design, kind by kind another colourway."""
    protocol = catalogue.read_queries(folder)
    trained = sorted((case for case in protocol.cases if case.trained_kind), key=_by_kind)
    queries: list[FixedQuery] = []
    for number, (_, cases) in enumerate(groupby(trained, key=_by_kind)):
        of_kind = list(cases)
        own = [case for case in of_kind if case.design == of_kind[0].design]
        queries.append(_query(protocol, own[number % len(own)]))
    return queries


def peoples_chairs(folder: Path) -> list[FixedQuery]:
    """Return drawings of eight of ChairV2's held-out chairs, evenly spaced, with fixed words.

    Raises:
        DatasetError: The archive is missing or has another layout.
    """
    chairs = chairv2_parts(open_chairv2(folder / archives.CHAIRV2)).held_out
    first = {drawing.instance: drawing for drawing in reversed(chairs.drawings)}
    names = sorted(first)
    chosen = np.linspace(0, len(names) - 1, len(_CHAIR_WORDS)).astype(int)
    return [
        FixedQuery(
            sketch=chairs.sketch(first[names[number]]),
            words=words,
            kind="chair",
            part=part,
            colour=colour,
            drawn_by="person",
        )
        for number, (part, colour, words) in zip(chosen.tolist(), _CHAIR_WORDS, strict=True)
    ]


def draw(
    engine: Engine, queries: Sequence[FixedQuery], balance: float, seed: int
) -> list[Image.Image]:
    """Draw one picture of each query; each has its own seed, the same at every balance."""
    how = ComposeOptions(composer=engine.default_composer, balance=balance)
    pictures: list[Image.Image] = []
    for number, query in enumerate(queries):
        request = GenerateRequest(
            query=engine.compose(Query(sketch=query.sketch, text=query.words), how),
            control_sketch=query.sketch,
            settings=settings_of(engine.kit.drawing, seed=seed + number),
        )
        pictures.append(engine.generate(request).images[0].image)
    return pictures


def _rows(
    engine: Engine, queries: Sequence[FixedQuery], pictures: Sequence[Image.Image]
) -> list[dict[str, Any]]:
    """Return what is measured of each picture; kind and colour need the kit's judge."""
    rows: list[dict[str, Any]] = []
    for query, picture in zip(queries, pictures, strict=True):
        levels = np.asarray(picture.convert("RGB"))
        lines = control_image(query.sketch, *levels.shape[:2])
        rows.append(
            {
                "drawn_by": query.drawn_by,
                "kind": query.kind,
                "words": query.words,
                "sketch_agreement": float(sketch_agreement(levels, lines)),
            }
        )
    if engine.kit.judge is not None:
        judge = Judge.load(engine.kit.judge)
        verdicts = judge.assess(pictures, [query.part for query in queries])
        for row, query, verdict in zip(rows, queries, verdicts, strict=True):
            row["kind_right"] = verdict.kind == query.kind
            row["colour_right"] = verdict.colour == query.colour
    return rows


def _query(protocol: catalogue.Protocol, case: catalogue.Case) -> FixedQuery:
    return FixedQuery(
        sketch=protocol.sketches[case.design],
        words=case.attributes,
        kind=case.kind,
        part=case.part,
        colour=case.colour,
    )


def _by_kind(case: catalogue.Case) -> str:
    return case.kind


def _ink(query: FixedQuery, title: str = "") -> Tile:
    return Tile(image=Image.fromarray(rasterise(query.sketch, 256)), title=title or query.kind)
