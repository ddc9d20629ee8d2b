"""The store of a gallery: a LanceDB table of its items, and a manifest."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int8, Shaped
from lancedb.index import BTree

from composer.layout import NUM_CODES
from retrieval.errors import GalleryError
from retrieval.filters.targets import to_sql
from retrieval.filters.tree import Filter
from retrieval.store import versions
from retrieval.store.address import IndexLocation
from retrieval.store.columns import (
    IdsAndVectors,
    RowAddresses,
    distinct_texts,
    id_bytes,
    id_condition,
    matrix,
    reorder,
    scan,
)
from retrieval.store.location import Storage, storage_at
from retrieval.store.schema import (
    FIELDS,
    FOLDERS,
    REGIONS,
    Item,
    Manifest,
    arrow_schema,
    columns_of,
    has_regions,
    items_of_rows,
)

IDS_AT_ONCE = 1000
MARKS_AT_ONCE = 250_000
LOOKED_UP_AT_ONCE = 20_000  # by the index of ids; a million exhausts the engine's memory


class Store:
    """An open index: one writer at a time, any number of concurrent readers.

    The engine runs threads: child processes must be spawned, never forked.

    Attributes:
        storage: Folder or object store that holds the table.
        manifest: Encoder of the gallery and root of its pictures.
        has_regions: Whether it stores region codes; earlier indexes do not, and store none for
            pictures that are added.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        """Open the table; used by `create` and `open`.

        Raises:
            GalleryError: The table cannot be opened, or its region codes are of another size.
        """
        self.storage, self.manifest = storage, manifest
        self._table = storage.open_table()
        self._schema: pa.Schema = self._table.schema
        self._addresses: RowAddresses | None = None
        self.has_regions = has_regions(self.location, self._schema)

    @classmethod
    def create(
        cls, location: IndexLocation, manifest: Manifest, *, regions: bool = True
    ) -> "Store":
        """Create an empty index, or open an existing one.

        Raises:
            GalleryError: The location cannot be written, or holds an index of another encoder.
        """
        storage = storage_at(location)
        if not storage.exists:
            storage.create(manifest, arrow_schema(manifest.dim, regions=regions))
        return cls.open(location, manifest.gallery_hash)

    @classmethod
    def open(cls, location: IndexLocation, gallery_hash: str | None = None) -> "Store":
        """Open an index; with `gallery_hash`, only one of this encoder.

        Raises:
            GalleryError: There is no index, it is damaged, or another encoder made it.
        """
        storage = storage_at(location)
        manifest = storage.read_manifest()
        if gallery_hash is not None and manifest.gallery_hash != gallery_hash:
            raise GalleryError(
                f"The index {storage} was made by another encoder (kit {manifest.kit!r}, "
                f"{manifest.gallery_hash}, not {gallery_hash}). Rebuild it with: "
                f"duet index {storage.root_of(manifest)} --index {storage} --rebuild"
            )
        return cls(storage, manifest)

    @property
    def location(self) -> str:
        """The folder or address, for messages."""
        return str(self.storage)

    @property
    def root(self) -> Path:
        """Folder of the pictures."""
        return self.storage.root_of(self.manifest)

    @property
    def has_near(self) -> bool:
        """Whether its layout can mark near-duplicates; earlier layouts cannot."""
        return "near" in self._schema.names

    @property
    def has_copies(self) -> bool:
        """Whether its layout holds the paths of copies; earlier layouts do not."""
        return "copies" in self._schema.names

    @property
    def version(self) -> int:
        """Number of the last commit; reads of one version agree."""
        with self.storage.translate_errors():
            return int(self._table.version)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return int(self._table.count_rows())

    def add(
        self,
        items: Sequence[Item],
        vectors: Float[np.ndarray, "n d"],
        regions: Int8[np.ndarray, "n c"] | None = None,
    ) -> None:
        """Commit a batch durably; rows with the same id are replaced.

        Args:
            items: Items of the batch.
            vectors: Their unit vectors.
            regions: Their region codes; required if the index stores region codes.

        Raises:
            GalleryError: The disk is full or the folder cannot be written. The batch is then
                discarded; earlier commits are kept.
        """
        columns = columns_of(list(items), self._names((*FIELDS, FOLDERS)))
        flat = pa.array(vectors.astype(np.float16).ravel(), type=pa.float16())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, self.manifest.dim)
        if self.has_regions:
            assert regions is not None
            columns[REGIONS] = pa.FixedSizeListArray.from_arrays(
                pa.array(regions.ravel(), type=pa.int8()), NUM_CODES
            )
        rows = self._rows_of(columns)
        with self.storage.writing():
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)

    def update(self, items: Sequence[Item]) -> None:
        """Commit the fields of existing items; their vectors, region codes and groups are kept.

        Raises:
            GalleryError: The disk is full or the folder cannot be written.
        """
        if items:
            names = [name for name in self._names((*FIELDS, FOLDERS)) if name != "near"]
            self._merge(columns_of(list(items), names))

    def mark_near(self, ids: Sequence[str], firsts: Sequence[str | None]) -> None:
        """Commit for each of `ids` the first item of its group; empty for that item itself.

        None marks an item as not yet searched for near-duplicates. A commit covers 250,000 items,
        and reads the whole table from 20,000 on.

        Raises:
            GalleryError: The disk is full or the folder cannot be written.
        """
        for start in range(0, len(ids), MARKS_AT_ONCE):
            batch = slice(start, start + MARKS_AT_ONCE)
            self._merge({"id": list(ids[batch]), "near": list(firsts[batch])})

    def remove(self, ids: Sequence[str]) -> None:
        """Delete rows by id.

        Raises:
            GalleryError: The folder cannot be written.
        """
        for start in range(0, len(ids), IDS_AT_ONCE):
            with self.storage.writing():
                self._table.delete(id_condition(ids[start : start + IDS_AT_ONCE]))

    def items(self, fields: Sequence[str] = FIELDS) -> list[Item]:
        """Return every item, ordered by path, with the given fields; the others are empty.

        Args:
            fields: Names of attributes of an item, `id` and `path` included.
        """
        items: list[Item] = []
        with self.storage.translate_errors():
            for batch in scan(self._table, self._names(fields)):
                items += items_of_rows(batch)
        return sorted(items, key=lambda item: item.path)

    def ids_and_vectors(self) -> IdsAndVectors:
        """Return all ids and vectors of one version, without a Python object per row.

        Needs little more memory than the vectors.

        Raises:
            GalleryError: The index cannot be read.
        """
        with self.storage.translate_errors():
            table: Any = self.storage.open_table()
            table.checkout(table.version)  # later commits do not change what is read
            count = int(table.count_rows())
            ids, rows = np.empty(count, "S32"), np.empty(count, np.uint64)
            vectors = np.empty((count, self.manifest.dim), np.float16)
            done = 0
            for batch in scan(table, ["id", "vector", "_rowid"]):
                part = slice(done, done + batch.num_rows)
                ids[part] = id_bytes(batch.column("id"))
                rows[part] = batch.column("_rowid").to_numpy()
                vectors[part] = matrix(batch.column("vector"), self.manifest.dim)
                done = part.stop
        order = ids.argsort(kind="stable")
        reorder(vectors, order)
        ids = ids[order]
        if count:
            self._addresses = RowAddresses(table=table, ids=ids, rows=rows[order])
        return IdsAndVectors(ids=ids, vectors=vectors, version=int(table.version))

    def items_of(self, ids: Sequence[str]) -> list[Item | None]:
        """Return items in the order of `ids`; None where there is none.

        Raises:
            GalleryError: The index cannot be read.
        """
        names = self._names(FIELDS)
        items = {item.id: item for rows in self._lookup(ids, names) for item in items_of_rows(rows)}
        return [items.get(id_) for id_ in ids]

    def ids_where(self, where: Filter) -> Shaped[np.ndarray, " n"]:
        """Return the ids, as bytes, of all items that match a condition, ascending.

        Raises:
            GalleryError: The index cannot be read.
        """
        absent = [name for name in (*FIELDS, FOLDERS) if name not in self._schema.names]
        return self.ids_where_sql(to_sql(where, absent=absent))

    def ids_where_sql(self, sql: str) -> Shaped[np.ndarray, " n"]:
        """Return the ids, as bytes, of all rows that match a trusted SQL condition, ascending."""
        with self.storage.translate_errors():
            search = self._table.search().where(sql).select(["id"])
            parts = [id_bytes(batch.column("id")) for batch in search.to_batches()]
        return np.sort(np.concatenate([np.empty(0, "S32"), *parts]))

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return the region codes of items, in the order of `ids`; zeros for a missing item.

        Raises:
            GalleryError: The index stores none, or cannot be read.
        """
        if not self.has_regions:
            raise GalleryError(
                f"The index {self.location} has no region codes. Add them with: "
                f"duet index {self.root} --index {self.location} --rebuild"
            )
        return self._fill(np.zeros((len(ids), NUM_CODES), dtype=np.int8), ids, REGIONS)

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return the vectors of items, in the order of `ids`; zeros for a missing item.

        Raises:
            GalleryError: The index cannot be read.
        """
        return self._fill(np.zeros((len(ids), self.manifest.dim), dtype=np.float16), ids, "vector")

    def values_of(self, name: str, most: int) -> list[str]:
        """Return the distinct texts of a column, sorted; none if there are more than `most`.

        Raises:
            GalleryError: The index cannot be read.
        """
        with self.storage.translate_errors():
            return distinct_texts(scan(self._table, self._names([name])), most)

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items: a deterministic random sample.

        Ids are hashes, so the lowest ones are a random draw.

        Raises:
            GalleryError: The index cannot be read.
        """
        share = count / max(1, len(self))
        if where is not None:
            ids = self.ids_where(where)[:count]
        else:
            lowest = "true" if share >= 1 else f"id < '{int(share * 16**8):08x}'"
            ids = self.ids_where_sql(lowest)
        return [id_.decode() for id_ in ids]

    def read_through(self) -> None:
        """Read every column of every row.

        Raises:
            GalleryError: A row cannot be read.
        """
        with self.storage.translate_errors():
            versions.read_through(self._table)

    def restore_readable(self) -> int:
        """Restore the youngest version whose rows can all be read, and return its number.

        Raises:
            GalleryError: There is none.
        """
        with self.storage.writing():
            number = versions.restore_readable(self._table)
        if number is None:
            raise GalleryError(
                f"No version of the index {self.location} can be read. Rebuild it with: "
                f"duet index {self.root} --index {self.location} --rebuild"
            )
        return number

    def compact(self) -> None:
        """Merge small commits and update the index of ids, where worthwhile.

        Versions superseded more than an hour ago are dropped; readers may use later ones.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with self.storage.writing():
            versions.tidy(self._table, BTree())

    def indexed_rows(self) -> int | None:
        """Return the number of rows in the index of ids; None without an index."""
        with self.storage.translate_errors():
            return versions.indexed_rows(self._table)

    def _names(self, names: Sequence[str]) -> list[str]:
        """Return the names of existing columns; earlier layouts have fewer."""
        return [name for name in names if name in self._schema.names]

    def _rows_of(self, columns: dict[str, Any]) -> pa.Table:
        return pa.table(columns, schema=pa.schema([self._schema.field(name) for name in columns]))

    def _merge(self, columns: dict[str, Any]) -> None:
        if set(columns) <= set(self._schema.names):
            with self.storage.writing():
                merge = self._table.merge_insert("id").when_matched_update_all()
                merge.use_index(len(columns["id"]) <= LOOKED_UP_AT_ONCE)
                merge.execute(self._rows_of(columns))

    def _fill(
        self, target: Shaped[np.ndarray, "n d"], ids: Sequence[str], name: str
    ) -> Shaped[np.ndarray, "n d"]:
        """Copy a column of lists into the rows of the ids that exist, and return the target."""
        positions = {id_: position for position, id_ in enumerate(ids)}
        for rows in self._lookup(ids, ["id", name]):
            values = matrix(rows.column(name).combine_chunks(), target.shape[1])
            target[[positions[id_] for id_ in rows.column("id").to_pylist()]] = values
        return target

    def _lookup(self, ids: Sequence[str], names: list[str]) -> Generator[pa.Table, None, None]:
        """Yield the rows of ids, a thousand ids at a time."""
        addresses = self._addresses
        if addresses is not None and addresses.table.version != self.version:
            addresses = self._addresses = None
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            with self.storage.translate_errors():
                if addresses is not None:
                    rows = addresses.take(part, names)
                else:
                    rows = self._table.search().where(id_condition(part)).select(names).to_arrow()
            yield rows
