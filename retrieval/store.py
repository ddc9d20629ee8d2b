"""The store: one LanceDB table is the truth about a gallery; a manifest says who encoded it."""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int8

from composer.layout import NUM_CODES
from retrieval.gallery import GalleryError

MANIFEST = "store.json"
TABLE = "items"
REGIONS = "regions"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Who encoded a gallery and where its files are.

    Attributes:
        gallery_hash: The vision tower and its preprocessing; queries must carry the same.
        dim: Width of the joint space.
        kit: Name of the kit, for messages alone.
        root: Folder of the pictures, relative to the index folder where that is possible.
    """

    gallery_hash: str
    dim: int
    kit: str
    root: str
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One picture of a gallery, without its vector.

    Attributes:
        id: Hash of the file's content, 32 hex digits.
        path: Below the gallery's root, with forward slashes.
        size_bytes: Of the file.
        mtime_ns: Of the file, nanoseconds since the epoch.
        width_px: Of the decoded picture.
        height_px: Of the decoded picture.
        kind: What it shows, where that is known.
        domain: Its medium, where that is known.
        caption: A description, where there is one.
        tags: Free words.
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


class Store:
    """An open index folder.

    Attributes:
        has_regions: Whether it stores region codes; indexes made before there were any do not, and
            take none when pictures are added.
    """

    def __init__(self, folder: Path, manifest: Manifest, table: "lancedb.table.Table") -> None:
        """Used by `create` and `open`.

        Raises:
            GalleryError: Region codes are stored in another size.
        """
        self.folder, self.manifest = folder, manifest
        self._table: Any = table  # its stubs know neither merge_insert nor search chains
        self.has_regions = _check_regions(folder, table.schema)

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "Store":
        """Make an empty index, or open the one that is there.

        Raises:
            GalleryError: The folder cannot be written, or holds an index of another encoder.
        """
        if (folder / MANIFEST).exists():
            return cls.open(folder, manifest.gallery_hash)
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            base = _connect(folder)
            if (folder / f"{TABLE}.lance").exists():  # left by a creation that was stopped
                base.drop_table(TABLE)
            table = base.create_table(TABLE, schema=_schema(manifest.dim))
            _write_manifest(folder, manifest)
        return cls(folder, manifest, table)

    @classmethod
    def open(cls, folder: Path, gallery_hash: str | None = None) -> "Store":
        """Open an index; with `gallery_hash`, only one that this encoder made.

        Raises:
            GalleryError: There is no index, it is damaged, or another encoder made it.
        """
        try:
            found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            manifest = Manifest(**found)
        except FileNotFoundError as error:
            raise GalleryError(
                f"{folder} holds no index. Make one with: duet index FOLDER --index {folder}"
            ) from error
        except (ValueError, TypeError, OSError) as error:
            raise GalleryError(
                f"{folder / MANIFEST} is damaged. Make the index anew: duet index FOLDER"
            ) from error
        if gallery_hash is not None and manifest.gallery_hash != gallery_hash:
            raise GalleryError(
                f"The index {folder} was made by another encoder (kit {manifest.kit!r}, "
                f"{manifest.gallery_hash}, here {gallery_hash}). Rebuild it with: "
                f"duet index {_root_of(folder, manifest)} --index {folder} --rebuild"
            )
        with _told(folder):
            return cls(folder, manifest, _connect(folder).open_table(TABLE))

    @property
    def root(self) -> Path:
        """Folder of the pictures."""
        return _root_of(self.folder, self.manifest)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return int(self._table.count_rows())

    def add(
        self,
        items: Sequence[Item],
        vectors: Float[np.ndarray, "n d"],
        regions: Int8[np.ndarray, "n c"],
    ) -> None:
        """Commit a batch: rows of the same path or the same id are replaced.

        Raises:
            GalleryError: The disk is full or the folder cannot be written. Nothing of the batch
                is then kept, and all earlier commits are.
        """
        columns = {name: [getattr(item, name) for item in items] for name in Item.__slots__}
        columns["tags"] = [list(tags) for tags in columns["tags"]]
        flat = pa.array(vectors.astype(np.float16).ravel(), type=pa.float16())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, self.manifest.dim)
        schema = _schema(self.manifest.dim)
        if self.has_regions:
            columns[REGIONS] = pa.FixedSizeListArray.from_arrays(
                pa.array(regions.ravel(), type=pa.int8()), NUM_CODES
            )
        else:
            schema = schema.remove(schema.get_field_index(REGIONS))
        rows = pa.table(columns, schema=schema)
        with _told(self.folder):
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Delete rows by id.

        Raises:
            GalleryError: The folder cannot be written.
        """
        if ids:
            quoted = ", ".join(f"'{checked_id(one)}'" for one in ids)
            with _told(self.folder):
                self._table.delete(f"id IN ({quoted})")

    def items(self) -> list[Item]:
        """Return every item, ordered by path."""
        return sorted(map(_item, self._rows([*Item.__slots__])), key=lambda item: item.path)

    def read(self) -> tuple[list[Item], Float[np.ndarray, "n d"]]:
        """Return every item with its unit vector (float16 as stored), ordered by path."""
        rows = self._rows([*Item.__slots__, "vector"])
        rows.sort(key=lambda row: row["path"])
        vectors = np.array([row.pop("vector") for row in rows], dtype=np.float16)
        return [_item(row) for row in rows], vectors.reshape(len(rows), self.manifest.dim)

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return the region codes of items, in the order of `ids`; zeros where one is gone.

        Raises:
            GalleryError: The index stores none, or cannot be read.
        """
        if not self.has_regions:
            raise GalleryError(
                f"The index {self.folder} has no region codes. Add them with: "
                f"duet index {self.root} --index {self.folder} --rebuild"
            )
        found = np.zeros((len(ids), NUM_CODES), dtype=np.int8)
        if not ids:
            return found
        places = {checked_id(one): place for place, one in enumerate(ids)}
        quoted = ", ".join(f"'{one}'" for one in places)
        with _told(self.folder):
            search = self._table.search().where(f"id IN ({quoted})").select(["id", REGIONS])
            rows = search.limit(len(ids)).to_arrow()
        codes = rows[REGIONS].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        found[[places[one] for one in rows["id"].to_pylist()]] = codes.reshape(-1, NUM_CODES)
        return found

    def compact(self) -> None:
        """Merge small commits; versions a week old are dropped, as readers may use younger ones."""
        with _told(self.folder):
            self._table.optimize()

    def _rows(self, columns: list[str]) -> list[dict[str, Any]]:
        with _told(self.folder):
            return self._table.search().select(columns).limit(len(self) or 1).to_list()


def checked_id(text: str) -> str:
    """Return an id that is safe inside a filter.

    Raises:
        ValueError: It is not 32 hex digits.
    """
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(f"An item's id must be 32 hex digits, got {text!r}.")
    return text


def _item(row: dict[str, Any]) -> Item:
    fields: dict[str, Any] = {**row, "tags": tuple(row["tags"] or ())}
    return Item(**fields)


def _connect(folder: Path) -> lancedb.DBConnection:
    return lancedb.connect(str(folder), read_consistency_interval=timedelta(0))


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("size_bytes", pa.int64()),
            pa.field("mtime_ns", pa.int64()),
            pa.field("width_px", pa.int32()),
            pa.field("height_px", pa.int32()),
            pa.field("kind", pa.string()),
            pa.field("domain", pa.string()),
            pa.field("caption", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("vector", pa.list_(pa.float16(), dim)),
            pa.field(REGIONS, pa.list_(pa.int8(), NUM_CODES)),
        ]
    )


def _check_regions(folder: Path, schema: pa.Schema) -> bool:
    """Tell whether a table stores region codes, and refuse those of another size."""
    if REGIONS not in schema.names:
        return False
    found = schema.field(REGIONS).type
    if found != pa.list_(pa.int8(), NUM_CODES):
        raise GalleryError(
            f"The region codes of the index {folder} must be {NUM_CODES} bytes an item, got "
            f"{found}. Make the index anew: duet index FOLDER --index {folder} --rebuild"
        )
    return True


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    fresh = folder / f"{MANIFEST}.new"
    fresh.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    fresh.replace(folder / MANIFEST)


def _root_of(folder: Path, manifest: Manifest) -> Path:
    root = Path(manifest.root)
    return root if root.is_absolute() else Path(os.path.normpath(folder / root))


def relative_root(folder: Path, root: Path) -> str:
    """Return how a manifest names `root`: relative when index and pictures can move together."""
    inside, outside = folder.resolve(), root.resolve()
    if inside.is_relative_to(outside) or inside.parent == outside.parent:
        return Path(os.path.relpath(outside, inside)).as_posix()
    return outside.as_posix()


@contextmanager
def _told(folder: Path) -> Generator[None, None, None]:
    """Turn what the engine or the disk reports into one sentence of ours."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, PermissionError) as error:
        if isinstance(error, GalleryError):
            raise
        said = str(error)
        if "No space left" in said or getattr(error, "errno", None) == 28:
            raise GalleryError(
                f"The disk of {folder} is full. Free some space and run the command again; what "
                "was committed is kept."
            ) from error
        if isinstance(error, PermissionError) or "Permission denied" in said:
            raise GalleryError(
                f"{folder} cannot be written. Choose another place with --index DIR."
            ) from error
        first = said.splitlines()[0] if said else type(error).__name__
        raise GalleryError(f"The index {folder} cannot be used: {first}") from error


def metadata_of(item: Item) -> Mapping[str, str | int | list[str]]:
    """Return what a result list shows of an item, JSON-ready and without empty fields."""
    fields = asdict(item) | {"tags": list(item.tags)}
    return {name: value for name, value in fields.items() if value and name != "mtime_ns"}
