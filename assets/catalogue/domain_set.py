"""Designs in every domain: pictures, two tables of them, and sketches.

Each design stands in the set as a photo and once in each domain, all from one render, and with one
drawing. Only designs of training kinds, so that the change of domain is measured and not the kind.
The domains that words can name have a table, and the two that no caption names another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from assets.catalogue import record, work
from assets.catalogue.kinds import KINDS
from assets.catalogue.pack import QUALITY, SPP, painted
from assets.catalogue.plan import Design, Shot, Split, catalogue, shots, skill_of
from assets.catalogue.render import prepare, render
from assets.catalogue.words import DOMAINS, UNNAMED_DOMAINS

IMAGE_PX = 128
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
PICTURES = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("design", pa.string()),
        ("kind", pa.string()),
        ("domain", pa.string()),
        ("colourway", pa.int32()),
    ]
)
TABLES = (("sketches", record.SKETCHES), ("domains", PICTURES), ("unnamed", PICTURES))


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainOptions:
    """Where the set goes, of which designs it is, and how many.

    Attributes:
        out: Folder of the pictures and tables.
        work: Folder of what is finished, for resuming after a stop.
        num_workers: Processes.
        limit: Number of designs, kinds taking turns.
        split: Which designs: "train", "validation" or "test".
    """

    out: Path
    work: Path
    num_workers: int
    limit: int
    split: str = Split.TEST


def domain_set(options: DomainOptions) -> None:
    """Make the set, or what is missing of it.

    Raises:
        ValueError: If the options make no sense.
        OSError: If a folder cannot be written.
    """
    if options.limit < 1:
        raise ValueError(f"`limit` must be at least 1, got {options.limit}.")
    if options.split not in SPLITS:
        known = ", ".join(SPLITS)
        raise ValueError(f"`split` must be one of {known}, got {options.split!r}.")
    designs = catalogue(Split(options.split))[: options.limit]
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    maker = DomainMaker(out=options.out)
    job = work.Job(task=maker, is_done=maker.is_done, folder=options.work)
    work.run(job, designs, options.num_workers)
    names = [design.id for design in designs]
    record.join_tables(TABLES, names, options.work, options.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainMaker:
    """Makes the pictures and rows of a design, in the first colourway that it wears."""

    out: Path

    def is_done(self, design: Design, folder: Path) -> bool:
        """Return whether the pictures and rows of a design are there."""
        tables = all(record.part_file(folder, design.id, name).exists() for name, _ in TABLES)
        rows = picture_rows(design, (*DOMAINS, *UNNAMED_DOMAINS))
        return tables and all((self.out / row["path"]).exists() for row in rows)

    def __call__(self, design: Design, folder: Path) -> int:
        """Make one design; return its number of pictures."""
        kind, shot = KINDS[design.kind], _shot(design)
        prepared = prepare(kind.build(design.shape))
        picture = render(prepared, kind.colourways[shot.colourway], shot.view, IMAGE_PX, SPP)
        named, unnamed = picture_rows(design), picture_rows(design, UNNAMED_DOMAINS)
        for row in (*named, *unnamed):
            image = painted(picture, row["domain"], design, index=0)
            record.write_webp(image, QUALITY, self.out / row["path"])
        sketch = record.sketch_row(kind, design, prepared, skill_of(design))
        for (name, schema), rows in zip(TABLES, ([sketch], named, unnamed), strict=True):
            record.write_table(rows, schema, record.part_file(folder, design.id, name))
        return len(named) + len(unnamed)


def picture_rows(design: Design, domains: Sequence[str] = DOMAINS) -> list[record.Row]:
    """Return all that a table says of a design's pictures, in the order of the domains."""
    shot = _shot(design)
    ids = {d: shot.id if d == "photo" else f"{shot.id}-{d}" for d in domains}
    return [
        {
            "id": id,
            "path": f"images/{id}.webp",
            "design": design.id,
            "kind": design.kind,
            "domain": domain,
            "colourway": shot.colourway,
        }
        for domain, id in ids.items()
    ]


def _shot(design: Design) -> Shot:
    return shots(design)[0]
