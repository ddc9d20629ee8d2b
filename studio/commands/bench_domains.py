"""`duet bench domains`: photographs moved into every domain, by words and by examples."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from composer.data.domain_pictures import NAMED, UNNAMED, DomainPicture, read_domain_pictures
from composer.images import open_image
from composer.query import Query
from composer.training.public_trunk import PublicFeatures, is_installed
from generation.domain_judge import DomainJudge
from generation.request import TransferRequest, settings_of
from generation.sample import sample_each
from generation.transfer import plan_transfer
from retrieval.benchmarks.media import DOMAIN_WORDS
from retrieval.errors import GalleryError
from studio.commands.bench_gallery import count_of
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.domain_measures import Figures, Moved, figures_row, judge_rows, measure
from studio.domain_ways import WAYS, Asking, DomainWorld
from studio.domains import Learning, neutral_features
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder
from studio.sheet import Tile, contact_sheet

NUM_PHOTOS = 28  # of each domain: some 200 for the seven that have names
NUM_ON_SHEET = 4
PHOTO = "photo"
_BATCH = 8


def bench_domains(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Move photographs of test designs into each domain, each way, and judge the results.

    Every photograph is moved into one domain, in all ways. The judge, fitted to train designs in
    all domains, names kind and domain; its own accuracy on real pictures comes first, then what it
    says of the photographs as they are, a row for each domain and way, and rows for all domains
    that have names and for those without. `leaked` is the share taken for a kind of the examples
    that is not the photograph's; without examples, for one kind as chance has it.

    Raises:
        DatasetError: The pictures of the domains are not there.
        GalleryError: The photographs are not there.
        PipelineError: The kit does not draw.
        UsageError: The public trunk is not installed, a way is not known, or a number is out of
            range.
    """
    ways, count = _ways_of(options), count_of(options, NUM_PHOTOS)
    folder = assets_folder() / "domains"
    pictures = read_domain_pictures(folder, NAMED, UNNAMED)
    judge = DomainJudge.load(folder, PublicFeatures())
    kinds, rng = sorted({one.kind for one in pictures}), np.random.default_rng(options.seed)
    world = DomainWorld(
        engine=engine,
        pictures=pictures,
        learning=Learning(photos=neutral_features(engine)),
        kind=kinds[int(rng.integers(len(kinds)))],
    )
    domains = [one for one in dict.fromkeys(p.domain for p in pictures) if one != PHOTO]
    photos = photographs(pictures, {*kinds} - {world.kind}, rng)
    if count * len(domains) > len(photos):
        raise UsageError(f"--count must be at most {len(photos) // len(domains)} here.")
    unmoved = [Moved(source=p, image=open_image(p.file)) for p in photos[: count * len(domains)]]
    rows = judge_rows(judge, pictures)
    rows.append(figures_row(PHOTO, "nothing", measure(judge, unmoved, PHOTO, frozenset())))
    figures: dict[tuple[str, str], list[Figures]] = {}
    tiles: list[Tile] = []
    progress = ProgressLine("transfers", unit="domains")
    for number, domain in enumerate(domains):
        sources = photos[number * count : (number + 1) * count]
        for way in ways:
            if (asking := WAYS[way](world, domain)) is None:
                continue
            moved = _move(asking, sources, options)
            figures[way, domain] = measure(judge, moved, domain, asking.shown)
            tiles += [Tile(image=m.image, title=f"{domain}: {way}") for m in moved[:NUM_ON_SHEET]]
        progress(number + 1, len(domains))
    if options.sheet:
        contact_sheet(tiles, num_columns=3 * NUM_ON_SHEET, tile_px=128).save(options.sheet)
    return rows + _rows(figures, ways)


def _ways_of(options: BenchOptions) -> tuple[str, ...]:
    if not is_installed():
        raise UsageError("The judge of domains needs the extra `train`; install it.")
    for way in options.ways or ():
        if way not in WAYS:
            raise UsageError(f"--ways must be of {', '.join(WAYS)}; got {way!r}.")
    return options.ways or tuple(WAYS)


def photographs(
    pictures: Sequence[DomainPicture], kinds: set[str], rng: np.random.Generator
) -> list[DomainPicture]:
    """Return photographs of the shipped gallery, in a random order, no design twice before all.

    Args:
        pictures: Their designs are left out.
        kinds: The kinds to take.
        rng: Decides the order.

    Raises:
        GalleryError: The gallery is not there.
    """
    folder, designs = assets_folder() / "gallery", {one.design for one in pictures}
    try:
        columns = ["path", "design", "kind", "domain"]
        table = pq.read_table(folder / "items.parquet", columns=columns).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise GalleryError(f"The shipped gallery in {folder} is damaged; reinstall it.") from error
    photos = [
        DomainPicture(file=Path(folder, row.pop("path")), **row)
        for row in table
        if row["domain"] == PHOTO and row["kind"] in kinds and row["design"] not in designs
    ]
    order = [photos[i] for i in rng.permutation(len(photos))]
    turns, counts = list[int](), Counter[str]()
    for one in order:
        turns.append(counts[one.design])
        counts[one.design] += 1
    return [order[i] for i in np.argsort(turns, kind="stable")]


def _move(asking: Asking, sources: Sequence[DomainPicture], options: BenchOptions) -> list[Moved]:
    pipeline, moved = asking.engine.pipeline, list[Moved]()
    for start in range(0, len(sources), _BATCH):
        part = sources[start : start + _BATCH]
        seeds = range(options.seed + start, options.seed + start + len(part))
        requests = [_request(asking, p, s, options) for p, s in zip(part, seeds, strict=True)]
        images = sample_each(pipeline, [plan_transfer(pipeline, one) for one in requests])
        moved += [Moved(source=s, image=i) for s, i in zip(part, images, strict=True)]
    return moved


def _request(
    asking: Asking, source: DomainPicture, seed: int, options: BenchOptions
) -> TransferRequest:
    engine, image = asking.engine, open_image(source.file)
    kit = engine.kit.drawing.for_transfer()
    composer = ComposeOptions(composer=engine.default_composer)
    query = engine.compose(Query(image=image, text=asking.text), composer)
    request = TransferRequest(
        query=engine.drawable(query),
        source=image,
        strength=kit.strength if options.strength is None else options.strength,
        is_faithful=options.is_faithful,
        settings=settings_of(kit, seed=seed),
    )
    engine.check_transfer(request)
    return request


def _rows(
    figures: dict[tuple[str, str], list[Figures]], ways: Sequence[str]
) -> list[dict[str, Any]]:
    rows = [figures_row(domain, way, part) for (way, domain), part in figures.items()]
    for name, is_named in (("all named", True), ("all unnamed", False)):
        for way in ways:
            parts = [
                one
                for (asked, domain), part in figures.items()
                if asked == way and (domain in DOMAIN_WORDS) is is_named
                for one in part
            ]
            if parts:
                rows.append(figures_row(name, way, parts))
    return rows
