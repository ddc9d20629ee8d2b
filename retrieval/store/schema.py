"""What an index keeps: the columns of its table, and the manifest that says who encoded it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from composer.errors import InputError
from composer.files import write_text
from composer.layout import NUM_CODES
from retrieval.errors import GalleryError

MANIFEST = "store.json"
REGIONS = "regions"
SCHEMA_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Who encoded a gallery and where its files are.

    Attributes:
        gallery_hash: The vision tower and its preprocessing; queries must carry the same.
        dim: Width of the joint space.
        kit: Name of the kit, for messages alone.
        root: Folder of the pictures, relative to the index folder where that is possible.
        schema: Version of this layout; every earlier one can be read.
        origin: Where vectors came from that no kit of ours computed; empty where all are ours.
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
        path: Below the gallery's root, with forward slashes.
        size_bytes: Of the file.
        mtime_ns: Of the file, nanoseconds since the epoch.
        width_px: Of the upright picture.
        height_px: Of the upright picture.
        kind: What it shows, where that is known.
        domain: Its medium, where that is known.
        caption: A description, where there is one.
        tags: Free words.
        taken: When the camera took it, "YYYY-MM-DDTHH:MM:SS" in its own time; empty if unknown.
        near: Id of the first of a group of near-duplicates; empty for that first one and for
            pictures that are like no other.
        caption_mtime_ns: Of the text file that the caption was read from; 0 where it came from
            elsewhere.
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


FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Item))
_TYPES: Mapping[str, pa.DataType] = {
    "size_bytes": pa.int64(),
    "mtime_ns": pa.int64(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "tags": pa.list_(pa.string()),
    "caption_mtime_ns": pa.int64(),
}
_UNSHOWN = ("mtime_ns", "caption_mtime_ns")


def arrow_schema(dim: int, *, regions: bool = True) -> pa.Schema:
    """Return the columns of a table of items with vectors of a width."""
    columns = [
        pa.field(name, _TYPES.get(name, pa.string()), nullable=name not in ("id", "path"))
        for name in FIELDS
    ]
    columns.append(pa.field("vector", pa.list_(pa.float16(), dim)))
    if regions:
        columns.append(pa.field(REGIONS, pa.list_(pa.int8(), NUM_CODES)))
    return pa.schema(columns)


def has_regions(place: str, schema: pa.Schema) -> bool:
    """Tell whether a table stores region codes.

    Raises:
        GalleryError: It stores some of another size.
    """
    if REGIONS not in schema.names:
        return False
    found = schema.field(REGIONS).type
    if found != pa.list_(pa.int8(), NUM_CODES):
        raise GalleryError(
            f"The region codes of the index {place} must be {NUM_CODES} bytes an item, got "
            f"{found}. Make the index anew: duet index FOLDER --index {place} --rebuild"
        )
    return True


def columns_of(items: list[Item], names: list[str]) -> dict[str, Any]:
    """Return the values of items by column, of the columns asked for."""
    columns: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in names}
    if "tags" in columns:
        columns["tags"] = [list(tags) for tags in columns["tags"]]
    if "near" in columns:  # null says that nobody has looked for near-duplicates
        columns["near"] = [near or None for near in columns["near"]]
    return columns


def items_of_rows(rows: pa.RecordBatch | pa.Table) -> list[Item]:
    """Return the items of rows; columns that an earlier layout lacks are empty."""
    columns = {name: rows.column(name).to_pylist() for name in rows.schema.names if name in FIELDS}
    if "tags" in columns:
        columns["tags"] = [tuple(tags or ()) for tags in columns["tags"]]
    if "near" in columns:
        columns["near"] = [near or "" for near in columns["near"]]
    names = list(columns)
    return [
        Item(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def metadata_of(item: Item) -> Mapping[str, str | int | list[str]]:
    """Return what a result list shows of an item, JSON-ready and without empty fields."""
    values = asdict(item) | {"tags": list(item.tags)}
    return {name: value for name, value in values.items() if value and name not in _UNSHOWN}


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
        GalleryError: There is none, it is damaged, or a later version of the program wrote it.
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


def parse_manifest(text: str, place: str) -> Manifest:
    """Read the manifest of the index at a place.

    Raises:
        GalleryError: It is damaged, or a later version of the program wrote it.
    """
    try:
        found = json.loads(text)
        schema = int(found.get("schema", 1))
        if schema <= SCHEMA_VERSION:
            return Manifest(**found)
    except (ValueError, TypeError, AttributeError) as error:
        raise _damaged(place) from error
    raise GalleryError(
        f"The layout of the index {place} must be {SCHEMA_VERSION} or earlier, got {schema}. "
        "Use the version of the program that made it, or rebuild it: duet index FOLDER --index "
        f"{place} --rebuild"
    )


def _damaged(place: str) -> GalleryError:
    return GalleryError(
        f"The manifest of the index {place} is damaged. Make the index anew: duet index FOLDER "
        f"--index {place} --rebuild"
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the one that is there, whole or not at all."""
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n", is_durable=True)


def root_of(folder: Path, manifest: Manifest) -> Path:
    """Return the folder of the pictures."""
    root = Path(manifest.root)
    return root if root.is_absolute() else Path(os.path.normpath(folder / root))


def relative_root(folder: Path, root: Path) -> str:
    """Return how a manifest names `root`: relative when index and pictures can move together."""
    inside, outside = folder.resolve(), root.resolve()
    if inside.is_relative_to(outside) or inside.parent == outside.parent:
        return Path(os.path.relpath(outside, inside)).as_posix()
    return outside.as_posix()
