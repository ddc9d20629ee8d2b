"""Reader of the catalogue's training pack: parquet shards of captioned pictures and sketches."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, UInt8
from PIL import Image

from composer.data.pictures import PictureTable, resize_squares
from composer.data.tree import DatasetError
from composer.data.views import VIEW_COLUMNS, PackView, read_view
from composer.sketch import Sketch, rasterise

IMAGE_PX = 128
PHOTO = "photo"
_ITEM_COLUMNS = (
    "id", "design", "kind", "split", "domain", "colourway", "part_names", "part_finishes",
    "part_colours", "caption", "attributes", "shape", "paraphrases",
)  # fmt: skip
_SKETCH_COLUMNS = ("design", "kind", "split", "skill", "seed", "strokes")
_SKETCH_CAPTIONS = (
    "a freehand drawing of {}",
    "a rough sketch of {}",
    "a simple line drawing of {}",
    "a pen sketch of {}",
)


class PackError(DatasetError):
    """A training pack that cannot be read, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackItem:
    """One picture of the pack.

    Attributes:
        id: Its name.
        design: The shape it shows; all colourways of a design share it.
        kind: What it is ("armchair").
        split: "train" or "validation".
        domain: "photo", or the medium.
        colourway: Number of the colourway within the kind.
        part_names: Named parts, the most conspicuous first.
        part_finishes: A finish phrase for each of them ("striped blue fabric").
        part_colours: A colour word for each of them.
        caption: The full description in one sentence.
        attributes: The finishes without kind and shape.
        shape: The shape without kind and finishes.
        paraphrases: Other wordings of the caption, some shorter.
    """

    id: str
    design: str
    kind: str
    split: str
    domain: str
    colourway: int
    part_names: tuple[str, ...]
    part_finishes: tuple[str, ...]
    part_colours: tuple[str, ...]
    caption: str
    attributes: str
    shape: str
    paraphrases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSketch:
    """One freehand sketch of a design, strokes in the unit square."""

    design: str
    kind: str
    split: str
    skill: int
    seed: int
    sketch: Sketch


class CataloguePack:
    """A pack in memory, of pictures of any size: decoded on first use, kept at 128 px at most."""

    def __init__(
        self,
        items: Sequence[PackItem],
        sketches: Sequence[PackSketch],
        blobs: Mapping[str, pa.ChunkedArray],
        views: pa.Table | None = None,
    ) -> None:
        """Take what `open` read.

        Args:
            items: A row for each picture.
            sketches: The sketches of the designs, from other cameras.
            blobs: The encoded "image" and "parts" of each item.
            views: The view columns of each item; None where the pack has none.
        """
        self.items = tuple(items)
        self.sketches = tuple(sketches)
        self._blobs, self._views = blobs, views
        self._is_decoded = np.zeros(len(items), dtype=bool)
        # Untouched pages of a zeroed array take no memory, so this costs what is decoded.
        self._pixels = np.zeros((len(items), IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)

    @classmethod
    def open(cls, folder: Path) -> "CataloguePack":
        """Read the tables of a pack; pictures stay encoded.

        Raises:
            PackError: A file is missing, damaged or has other columns.
        """
        images = _read_shards(
            folder, "images", (*_ITEM_COLUMNS, "image", "parts"), optional=VIEW_COLUMNS
        )
        sketches = _read_shards(folder, "sketches", _SKETCH_COLUMNS)
        return cls(
            [_item(row) for row in images.select(_ITEM_COLUMNS).to_pylist()],
            [_sketch(row) for row in sketches.to_pylist()],
            {name: images.column(name) for name in ("image", "parts")},
            images.select(VIEW_COLUMNS) if VIEW_COLUMNS[0] in images.column_names else None,
        )

    def rows(self, *, split: str, domain: str | None = None) -> Int[np.ndarray, " n"]:
        """Return the indices of the pictures of a split, of one domain or of all."""
        return np.array(
            [
                row
                for row, item in enumerate(self.items)
                if item.split == split and domain in (None, item.domain)
            ],
            dtype=np.int64,
        )

    def validation_photos(self) -> Int[np.ndarray, " n"]:
        """Return the indices of the photos that choose among trainings.

        Raises:
            PackError: There is none.
        """
        return self._photos("validation")

    def training_photos(self) -> Int[np.ndarray, " n"]:
        """Return the indices of the photos that trainings learn from.

        Raises:
            PackError: There is none.
        """
        return self._photos("train")

    def _photos(self, split: str) -> Int[np.ndarray, " n"]:
        rows = self.rows(split=split, domain=PHOTO)
        if not len(rows):
            named = {"train": "training", "validation": "validation"}[split]
            raise PackError(
                f"The pack has no photo of its {named} designs; build it with more designs "
                "(a larger --limit)."
            )
        return rows

    def pixels(
        self, rows: Int[np.ndarray, " n"], size_px: int = IMAGE_PX
    ) -> UInt8[np.ndarray, "n {size_px} {size_px} 3"]:
        """Return RGB pictures, resized where they have another size.

        They are decoded on first use and kept at 128 px; larger ones are decoded at each call where
        more than 128 px are asked for.
        """
        if size_px > IMAGE_PX < self.image_px:
            return np.stack([self._picture(int(row), size_px) for row in rows])
        for row in rows[~self._is_decoded[rows]]:
            self._pixels[row] = self._picture(int(row), IMAGE_PX)
            self._is_decoded[row] = True
        return resize_squares(self._pixels[rows], size_px)

    @cached_property
    def image_px(self) -> int:
        """Side of the pictures as they are stored."""
        return self._decode("image", 0, "RGB").shape[0] if self.items else IMAGE_PX

    def parts(self, row: int, size_px: int = IMAGE_PX) -> UInt8[np.ndarray, "{size_px} {size_px}"]:
        """Return the part map of a picture: 0 is background, i + 1 is `part_names[i]` or a part."""
        return _nearest(self._decode("parts", row, "L"), size_px)

    @property
    def has_views(self) -> bool:
        """Whether the pack tells how its pictures were taken."""
        return self._views is not None

    def view(self, row: int) -> PackView:
        """Return how a picture was taken, with the drawing that lies on it.

        Raises:
            PackError: The pack was made without views, or the row is damaged.
        """
        if self._views is None:
            raise PackError(
                "The pack does not tell how its pictures were taken; "
                "build it anew with python -m assets.catalogue pack."
            )
        try:
            return read_view(self._views.slice(row, 1).to_pylist()[0])
        except (TypeError, ValueError) as error:
            raise PackError(f"The view of {self.items[row].id} in the pack is damaged.") from error

    def _picture(self, row: int, size_px: int) -> np.ndarray:
        picture = self._decode("image", row, "RGB").copy()  # torch wants it writable
        return resize_squares(picture[None], size_px)[0]

    def _decode(self, column: str, row: int, mode: str) -> np.ndarray:
        data = self._blobs[column][row].as_py()
        try:
            with Image.open(io.BytesIO(data), formats=["WEBP", "PNG"]) as opened:
                return np.asarray(opened.convert(mode))
        except (OSError, TypeError, ValueError, SyntaxError) as error:
            raise PackError(f"The {column} of {self.items[row].id} cannot be decoded.") from error


def _nearest(values: np.ndarray, size_px: int) -> np.ndarray:
    if values.shape[0] == size_px:
        return values
    return np.asarray(Image.fromarray(values).resize((size_px, size_px), Image.Resampling.NEAREST))


def picture_tables(pack: CataloguePack, split: str = "train") -> list[PictureTable]:
    """Return the pack as captioned tables: `catalogue_photos`, `_domains` and `_sketches`.

    A picture's captions are its caption and its paraphrases; those of a sketch name kind and shape.
    Groups are the kinds. Empty tables are left out.
    """
    rows = pack.rows(split=split)
    is_photo = np.array([pack.items[row].domain == PHOTO for row in rows], dtype=bool)
    tables = [
        _item_table(pack, "catalogue_photos", rows[is_photo]),
        _item_table(pack, "catalogue_domains", rows[~is_photo]),
        _sketch_table(pack, split),
    ]
    return [table for table in tables if table is not None]


def _item_table(pack: CataloguePack, name: str, rows: np.ndarray) -> PictureTable | None:
    if len(rows) == 0:
        return None
    items = [pack.items[row] for row in rows]
    return PictureTable(
        name=name,
        images=pack.pixels(rows),
        captions=tuple(tuple(dict.fromkeys((i.caption, *i.paraphrases))) for i in items),
        groups=tuple(item.kind for item in items),
    )


def _sketch_table(pack: CataloguePack, split: str) -> PictureTable | None:
    chosen = [sketch for sketch in pack.sketches if sketch.split == split]
    if not chosen:
        return None
    shapes = {item.design: item.shape for item in pack.items}
    ink = np.stack([rasterise(sketch.sketch, IMAGE_PX) for sketch in chosen])
    return PictureTable(
        name="catalogue_sketches",
        images=np.repeat(ink[..., None], 3, axis=-1),
        captions=tuple(_sketch_captions(s.kind, shapes.get(s.design, "")) for s in chosen),
        groups=tuple(sketch.kind for sketch in chosen),
    )


def _sketch_captions(kind: str, shape: str) -> tuple[str, ...]:
    noun = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    nouns = (noun, f"{noun} {shape}") if shape else (noun,)
    return tuple(template.format(thing) for template in _SKETCH_CAPTIONS for thing in nouns)


def _read_shards(
    folder: Path, name: str, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> pa.Table:
    """Read columns of all shards, and the optional ones where the shards have them all."""
    shards = sorted(folder.glob(f"{name}-*.parquet"))
    if not shards:
        raise PackError(
            f"{folder} has no {name}-*.parquet; build the pack with python -m assets.catalogue."
        )
    try:
        if optional and set(optional) <= set(pq.read_schema(shards[0]).names):
            columns = (*columns, *optional)
        return pa.concat_tables([pq.read_table(shard, columns=list(columns)) for shard in shards])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise PackError(f"The {name} of {folder} are damaged or from another version.") from error


def _item(row: Mapping[str, Any]) -> PackItem:
    try:
        lists = ("part_names", "part_finishes", "part_colours", "paraphrases")
        values: dict[str, Any] = {name: row[name] for name in _ITEM_COLUMNS}
        values |= {name: tuple(row[name] or ()) for name in lists}
        values["colourway"] = int(values["colourway"])
        values["shape"] = values["shape"] or ""
        values["attributes"] = values["attributes"] or ""
        return PackItem(**values)
    except (TypeError, ValueError) as error:
        raise PackError(f"The row of {row.get('id')} in the pack is incomplete.") from error


def _sketch(row: Mapping[str, Any]) -> PackSketch:
    try:
        strokes = [np.asarray(s, dtype=np.float32) / 255 for s in json.loads(row["strokes"])]
        return PackSketch(
            design=row["design"],
            kind=row["kind"],
            split=row["split"],
            skill=int(row["skill"]),
            seed=int(row["seed"]),
            sketch=Sketch.from_strokes(strokes),
        )
    except (TypeError, ValueError) as error:
        raise PackError(f"A sketch of {row.get('design')} in the pack is damaged.") from error
