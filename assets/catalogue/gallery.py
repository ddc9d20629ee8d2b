"""The shipped gallery: 1,200 pictures of test designs at full quality, their words and sketches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.catalogue import record, work
from assets.catalogue.kinds import KINDS
from assets.catalogue.plan import SKILLS, Design, Split, catalogue, shots, skill_of
from assets.catalogue.render import prepare, render

IMAGE_PX = 256
PARTS_PX = 128
QUALITY = 92
TABLES = (("items", record.ITEMS), ("parts", record.PARTS), ("sketches", record.SKETCHES))


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryOptions:
    """Where the gallery goes, its quality, and how much of it is made.

    Attributes:
        out: Folder of the gallery.
        work: Folder of what is finished of it, for resuming after a stop.
        spp: Samples a pixel.
        num_workers: Processes.
        limit: Number of designs, or None for all.
    """

    out: Path
    work: Path
    spp: int = 25
    num_workers: int = 2
    limit: int | None = None


def gallery(options: GalleryOptions) -> None:
    """Make the gallery, or what is missing of it.

    Raises:
        ValueError: If the options make no sense.
        OSError: If a folder cannot be written.
    """
    designs = catalogue(Split.TEST, Split.UNSEEN)[: options.limit]
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    maker = GalleryMaker(out=options.out, spp=options.spp)
    work.run(
        work.Job(task=maker, is_done=maker.is_done, folder=options.work),
        designs,
        options.num_workers,
    )
    names = [design.id for design in designs]
    record.join_tables(TABLES, names, options.work, options.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryMaker:
    """Makes the pictures and rows of a design."""

    out: Path
    spp: int

    def is_done(self, design: Design, folder: Path) -> bool:
        """Return whether the pictures and rows of a design are there."""
        tables = all(record.part_file(folder, design.id, name).exists() for name, _ in TABLES)
        return tables and all(self._image(shot.id).exists() for shot in shots(design))

    def __call__(self, design: Design, folder: Path) -> int:
        """Make one design; return its number of pictures."""
        kind = KINDS[design.kind]
        prepared = prepare(kind.build(design.shape))
        names = [solid.part.name for solid in prepared.solids]
        items, parts = [], []
        for shot in shots(design):
            colourway = kind.colourways[shot.colourway]
            picture = render(prepared, colourway, shot.view, IMAGE_PX, self.spp)
            record.write_webp(picture.image, QUALITY, self._image(shot.id))
            columns = record.word_columns(
                kind, design, id=shot.id, colourway=shot.colourway, domain="photo"
            )
            items.append(columns | {"path": f"images/{shot.id}.webp", "skill": skill_of(design)})
            named = [part for part, _ in colourway.finishes]
            part_map = record.part_map(picture.buffers.part_ids, names, named)
            step = IMAGE_PX // PARTS_PX
            parts.append({"id": shot.id, "parts": record.png(part_map[::step, ::step])})
        sketches = [record.sketch_row(kind, design, prepared, skill) for skill in SKILLS]
        rows: dict[str, Sequence[record.Row]] = {
            "items": items,
            "parts": parts,
            "sketches": sketches,
        }
        for name, schema in TABLES:
            record.write_table(rows[name], schema, record.part_file(folder, design.id, name))
        return len(items)

    def _image(self, id: str) -> Path:
        return self.out / "images" / f"{id}.webp"
