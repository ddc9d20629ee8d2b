"""Schema of an index: the columns of its table, and its manifest."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import pyarrow as pa

from composer.errors import InputError
from composer.files import write_text
from composer.layout import NUM_CODES
from retrieval.errors import GalleryError
from retrieval.filters.folders import folders_of

MANIFEST = "store.json"
REGIONS = "regions"
FOLDERS = "folders"  # of an item and its copies, for filters
SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Encoder of a gallery and location of its files.

    Attributes:
        gallery_hash: Hash of the vision tower and its preprocessing; queries must carry the same.
        dim: Width of the joint space.
        kit: Name of the kit, for messages only.
        root: Folder of the pictures, relative to the index folder where that is possible.
        schema: Version of the layout; earlier versions can be read.
        origin: Source of imported vectors; empty where a kit computed all of them.
    """

    gallery_hash: str
    dim: int
    kit: str
    root: str
    schema: int = SCHEMA_VERSION
    origin: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One picture of a gallery, without its vector.

    Attributes:
        id: Hash of the file's content, 32 hex digits.
        path: Relative to the gallery's root, with forward slashes.
        size_bytes: Of the file.
        mtime_ns: Of the file, nanoseconds since the epoch.
        width_px: Of the upright picture.
        height_px: Of the upright picture.
        kind: Kind of object in the picture; empty if unknown.
        domain: Medium of the picture; empty if unknown.
        caption: Description; may be empty.
        tags: Free keywords.
        taken: When the camera took it, "YYYY-MM-DDTHH:MM:SS" in local time; empty if unknown.
        near: Id of the first item of a group of near-duplicates; empty for that first item and for
            items without near-duplicates.
        caption_mtime_ns: Of the text file that holds the caption; 0 without such a file.
        ctime_ns: When the file or its entry was last changed; 0 if unknown.
        copies: Paths of further files of the same content.
    """

    id: str
    path: str
    size_bytes: int = 0
    mtime_ns: int = 0
    width_px: int = 0
    height_px: int = 0
    kind: str = ""
    domain: str = ""
    caption: str = ""
    tags: tuple[str, ...] = ()
    taken: str = ""
    near: str = ""
    caption_mtime_ns: int = 0
    ctime_ns: int = 0
    copies: tuple[str, ...] = ()


FIELDS: tuple[str, ...] = tuple(field.name for field in fields_of(Item))
_TYPES: Mapping[str, pa.DataType] = {
    "size_bytes": pa.int64(),
    "mtime_ns": pa.int64(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "tags": pa.list_(pa.string()),
    "caption_mtime_ns": pa.int64(),
    "ctime_ns": pa.int64(),
    "copies": pa.list_(pa.string()),
    FOLDERS: pa.list_(pa.string()),
}
_LISTS = ("tags", "copies")
_INTERNAL_FIELDS = ("mtime_ns", "caption_mtime_ns", "ctime_ns")


def arrow_schema(dim: int, *, regions: bool = True) -> pa.Schema:
    """Return the schema of a table of items with vectors of width `dim`."""
    columns = [
        pa.field(name, _TYPES.get(name, pa.string()), nullable=name not in ("id", "path"))
        for name in (*FIELDS, FOLDERS)
    ]
    columns.append(pa.field("vector", pa.list_(pa.float16(), dim)))
    if regions:
        columns.append(pa.field(REGIONS, pa.list_(pa.int8(), NUM_CODES)))
    return pa.schema(columns)


def has_regions(location: str, schema: pa.Schema) -> bool:
    """Tell whether a table stores region codes.

    Raises:
        GalleryError: The codes are of another size.
    """
    if REGIONS not in schema.names:
        return False
    stored = schema.field(REGIONS).type
    if stored != pa.list_(pa.int8(), NUM_CODES):
        raise GalleryError(
            f"The region codes of the index {location} must be {NUM_CODES} bytes per item, got "
            f"{stored}. Rebuild the index with: duet index FOLDER --index {location} --rebuild"
        )
    return True


def columns_of(items: list[Item], names: list[str]) -> dict[str, Any]:
    """Return the values of items by column."""
    fields = [name for name in names if name != FOLDERS]
    columns: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in fields}
    for name in _LISTS:
        if name in columns:
            columns[name] = [list(values) for values in columns[name]]
    if FOLDERS in names:
        columns[FOLDERS] = [folders_of((item.path, *item.copies)) for item in items]
    if "near" in columns:  # null: not yet searched for near-duplicates
        columns["near"] = [near or None for near in columns["near"]]
    return columns


def items_of_rows(rows: pa.RecordBatch | pa.Table) -> list[Item]:
    """Return the items of rows; columns missing from an earlier layout are empty."""
    columns = {name: rows.column(name).to_pylist() for name in rows.schema.names if name in FIELDS}
    for name in _LISTS:
        if name in columns:
            columns[name] = [tuple(values or ()) for values in columns[name]]
    if "near" in columns:
        columns["near"] = [near or "" for near in columns["near"]]
    names = list(columns)
    return [
        Item(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def metadata_of(item: Item) -> Mapping[str, str | int | list[str]]:
    """Return the fields of an item for a result list, JSON-ready and without empty ones."""
    values = asdict(item) | {name: list(getattr(item, name)) for name in _LISTS}
    return {name: value for name, value in values.items() if value and name not in _INTERNAL_FIELDS}


def checked_id(text: str) -> str:
    """Return an id that is safe inside a filter.

    Raises:
        InputError: It is not 32 hex digits.
    """
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise InputError(f"An item's id must be 32 hex digits, got {text!r}.")
    return text


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an index folder.

    Raises:
        GalleryError: It is missing or damaged, or a later version of the program wrote it.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise GalleryError(
            f"{folder} holds no index. Make one with: duet index FOLDER --index {folder}"
        ) from error
    except (ValueError, OSError) as error:
        raise _damaged(str(folder)) from error
    return parse_manifest(text, str(folder))


def parse_manifest(text: str, location: str) -> Manifest:
    """Parse the manifest of the index at a location.

    Raises:
        GalleryError: It is damaged, or a later version of the program wrote it.
    """
    try:
        fields = json.loads(text)
        schema = int(fields.get("schema", 1))
        if schema <= SCHEMA_VERSION:
            return Manifest(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(location) from error
    raise GalleryError(
        f"The layout of the index {location} must be {SCHEMA_VERSION} or earlier, got {schema}. "
        "Use the version of the program that made it, or rebuild it with: duet index FOLDER "
        f"--index {location} --rebuild"
    )


def _damaged(location: str) -> GalleryError:
    return GalleryError(
        f"The manifest of the index {location} is damaged. Rebuild the index with: duet index "
        f"FOLDER --index {location} --rebuild"
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of an index folder atomically."""
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n", is_durable=True)


def root_of(folder: Path, manifest: Manifest) -> Path:
    """Return the folder of the pictures."""
    root = Path(manifest.root)
    return root if root.is_absolute() else Path(os.path.normpath(folder / root))


def relative_root(folder: Path, root: Path) -> str:
    """Return `root` for the manifest: relative if index and pictures can move together."""
    inside, outside = folder.resolve(), root.resolve()
    if inside.is_relative_to(outside) or inside.parent == outside.parent:
        return Path(os.path.relpath(outside, inside)).as_posix()
    return outside.as_posix()
