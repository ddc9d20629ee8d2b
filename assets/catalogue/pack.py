"""The training pack: parquet shards of captioned pictures and sketches, made design by design.

Each design is rendered into two small files of a working folder; the shards are put together from
these in the plan's order. A stopped run resumes where it was; one plan always gives one pack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assets.catalogue import record, work
from assets.catalogue.domains import stylise
from assets.catalogue.kinds import KINDS
from assets.catalogue.plan import SKILLS, Design, Split, catalogue, generator, shots
from assets.catalogue.render import Render, prepare, render
from assets.catalogue.words import DOMAINS

IMAGE_PX = 128
SPP = 12
QUALITY = 88
DOMAIN_EVERY = 4  # one view in so many is also painted in one named domain
SHARD_BYTES = 12 << 20  # of rows before compression; shards stay below 15 MiB
_NAMED = tuple(domain for domain in DOMAINS if domain != "photo")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """Where the pack goes and how much of it is made."""

    out: Path
    num_workers: int = 2
    limit: int | None = None


def pack(options: PackOptions) -> None:
    """Make the training pack, or what is missing of it.

    Raises:
        ValueError: If the options make no sense.
        OSError: If the folder cannot be written.
    """
    designs = catalogue(Split.TRAIN, Split.VALIDATION)[: options.limit]
    folder = options.out / "designs"
    work.run(
        work.Job(task=make_design, is_done=is_done, folder=folder), designs, options.num_workers
    )
    _join(designs, folder, options.out)


def is_done(design: Design, folder: Path) -> bool:
    """Return whether both files of a design are there."""
    return all(path.exists() for path in _files(design, folder))


def make_design(design: Design, folder: Path) -> int:
    """Render, stylise and draw one design into its two files; return its number of pictures."""
    kind = KINDS[design.kind]
    prepared = prepare(kind.build(design.shape))
    names = [solid.part.name for solid in prepared.solids]
    rows = []
    for index, shot in enumerate(shots(design)):
        colourway = kind.colourways[shot.colourway]
        picture = render(prepared, colourway, shot.view, IMAGE_PX, SPP)
        named = [part for part, _ in colourway.finishes]
        parts = record.png(record.part_map(picture.buffers.part_ids, names, named))
        for domain, image in _media(design, index, picture):
            id = shot.id if domain == "photo" else f"{shot.id}-{domain}"
            columns = record.word_columns(
                kind, design, id=id, colourway=shot.colourway, domain=domain
            )
            rows.append(columns | {"image": record.webp(image, QUALITY), "parts": parts})
    sketches = [record.sketch_row(kind, design, prepared, skill) for skill in SKILLS]
    image_file, sketch_file = _files(design, folder)
    record.write_table(sketches, record.SKETCHES, sketch_file)
    record.write_table(rows, record.IMAGES, image_file)
    return len(rows)


def domain_of(design: Design, index: int) -> str | None:
    """Return the named domain that the picture at `index` of a design is also shown in, if any."""
    turn = (design.index + index) % DOMAIN_EVERY
    if design.split is not Split.TRAIN or turn:
        return None
    return _NAMED[(design.index * 2 + index // DOMAIN_EVERY) % len(_NAMED)]


def painted(picture: Render, domain: str, design: Design, index: int) -> record.Picture:
    """Show the picture at `index` of a design in a domain, always with the same hand."""
    return stylise(picture, domain, generator(design.id, domain, index))


def _media(design: Design, index: int, picture: Render) -> Iterator[tuple[str, record.Picture]]:
    yield "photo", picture.image
    domain = domain_of(design, index)
    if domain is not None:
        yield domain, painted(picture, domain, design, index)


def _files(design: Design, folder: Path) -> tuple[Path, Path]:
    return folder / f"{design.id}.images.parquet", folder / f"{design.id}.sketches.parquet"


def _join(designs: Sequence[Design], folder: Path, out: Path) -> None:
    """Write the shards anew from the designs' files, one shard in memory at a time."""
    for index, (name, schema) in enumerate(
        (("images", record.IMAGES), ("sketches", record.SKETCHES))
    ):
        paths = (_files(design, folder)[index] for design in designs)
        written = []
        for number, shard in enumerate(_shards(paths)):
            path = out / f"{name}-{number:03d}.parquet"
            record.write_table(shard.to_pylist(), schema, path)
            written.append(path)
        for stale in set(out.glob(f"{name}-*.parquet")) - set(written):
            stale.unlink()


def _shards(paths: Iterator[Path]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for path in paths:
        table = pq.read_table(path)
        if held and sum(t.nbytes for t in held) + table.nbytes > SHARD_BYTES:
            yield pa.concat_tables(held)
            held = []
        held.append(table)
    if held:
        yield pa.concat_tables(held)
