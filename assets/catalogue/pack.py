"""The training pack: parquet shards of captioned pictures and sketches, made design by design.

Each design is rendered into two small files of a working folder; the shards are put together from
these in the plan's order. A stopped run resumes where it was; one plan always gives one pack.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assets.catalogue import record, work
from assets.catalogue.domains import stylise
from assets.catalogue.kinds import KINDS
from assets.catalogue.plan import SKILLS, Design, Shot, Split, catalogue, generator, shots
from assets.catalogue.render import Render, buffers, prepare, render
from assets.catalogue.scene import PreparedObject
from assets.catalogue.sketch import Curve, contours
from assets.catalogue.words import DOMAINS

IMAGE_PX = 256
LEAST_PX, MOST_PX = 96, 1024
SPP = 12
QUALITY = 88
DOMAIN_EVERY = 4  # one view in so many is also painted in one named domain
SHARD_BYTES = 12 << 20  # of rows before compression; shards stay below 15 MiB
_NAMED = tuple(domain for domain in DOMAINS if domain != "photo")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackOptions:
    """Where the pack goes, size and quality of its pictures, and how many designs it has."""

    out: Path
    image_px: int = IMAGE_PX
    spp: int = SPP
    num_workers: int = 2
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check the size."""
        if not LEAST_PX <= self.image_px <= MOST_PX:
            raise ValueError(
                f"`image_px` must be from {LEAST_PX} to {MOST_PX}, got {self.image_px}."
            )
        if self.spp < 1:
            raise ValueError(f"`spp` must be at least 1, got {self.spp}.")


def pack(options: PackOptions) -> None:
    """Make the training pack, or what is missing of it.

    Raises:
        ValueError: If the options make no sense, or the folder holds a pack of other pictures.
        OSError: If the folder cannot be written.
    """
    everything = catalogue(Split.TRAIN, Split.VALIDATION)
    _claim(options, everything)
    designs, folder = everything[: options.limit], options.out / "designs"
    maker = DesignMaker(image_px=options.image_px, spp=options.spp)
    work.run(work.Job(task=maker, is_done=is_done, folder=folder), designs, options.num_workers)
    _join(designs, folder, options.out)


def is_done(design: Design, folder: Path) -> bool:
    """Return whether both files of a design are there."""
    return all(path.exists() for path in _files(design, folder))


@dataclass(frozen=True, kw_only=True, slots=True)
class DesignMaker:
    """Makes the rows of a design, with pictures of one size and quality."""

    image_px: int
    spp: int

    def __call__(self, design: Design, folder: Path) -> int:
        """Render, stylise and draw one design into its two files; return its pictures' number."""
        kind = KINDS[design.kind]
        prepared = prepare(kind.build(design.shape))
        rows = [
            row
            for index, shot in enumerate(shots(design))
            for row in self._pictures(design, prepared, index, shot)
        ]
        sketches = [record.sketch_row(kind, design, prepared, skill) for skill in SKILLS]
        image_file, sketch_file = _files(design, folder)
        record.write_table(sketches, record.SKETCHES, sketch_file)
        record.write_table(rows, record.IMAGES, image_file)
        return len(rows)

    def _pictures(
        self, design: Design, prepared: PreparedObject, index: int, shot: Shot
    ) -> Iterator[record.Row]:
        """Yield the rows of a shot: the photo, and the medium that it is also shown in, if any."""
        kind = KINDS[design.kind]
        colourway = kind.colourways[shot.colourway]
        picture = render(prepared, colourway, shot.view, self.image_px, self.spp)
        names = [solid.part.name for solid in prepared.solids]
        named = [part for part, _ in colourway.finishes]
        parts = record.png(record.part_map(picture.buffers.part_ids, names, named))
        curves = _curves(prepared, shot, picture)
        for domain, image in _media(design, index, picture):
            id = shot.id if domain == "photo" else f"{shot.id}-{domain}"
            yield (
                record.word_columns(kind, design, id=id, colourway=shot.colourway, domain=domain)
                | record.view_columns(kind, design, shot, domain)
                | record.drawing_columns(curves, id)
                | {"image": record.webp(image, QUALITY), "parts": parts}
            )


def _curves(prepared: PreparedObject, shot: Shot, picture: Render) -> tuple[Curve, ...]:
    """Return the visible lines of a picture, traced at one size for pictures of any size."""
    has_size = picture.buffers.part_ids.shape[0] == record.SKETCH_PX
    seen = picture.buffers if has_size else buffers(prepared, shot.view.camera, record.SKETCH_PX)
    return contours(seen)


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


def _claim(options: PackOptions, designs: Sequence[Design]) -> None:
    """Note in the folder which pictures it is for.

    Raises:
        ValueError: If it holds others.
    """
    path, folder = options.out / "plan.json", options.out / "designs"
    wanted = {"image_px": options.image_px, "spp": options.spp, "plan": _fingerprint(designs)}
    if path.exists():
        held = json.loads(path.read_text())
    else:
        held = {} if folder.exists() and any(folder.iterdir()) else wanted
    if held != wanted:
        size = f" of {held['image_px']} px" if "image_px" in held else ""
        raise ValueError(
            f"{options.out} holds pictures{size} from another plan, size, quality or version, not "
            f"those of {options.image_px} px and {options.spp} samples asked for. Choose another "
            "folder, or delete that one."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted) + "\n")


def _fingerprint(designs: Sequence[Design]) -> str:
    """Return a hash of all that the plan says of these designs, and of the rows' columns."""
    content = hashlib.sha256(str(record.IMAGES).encode())
    for design in designs:
        content.update(repr((design, shots(design))).encode())
    return content.hexdigest()[:16]


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
