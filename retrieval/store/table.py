"""The store: one LanceDB table is the truth about a gallery; a manifest says who encoded it."""

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
from retrieval.store.columns import (
    Addresses,
    IdsAndVectors,
    different,
    id_bytes,
    is_one_of,
    matrix,
    reorder,
    scan,
)
from retrieval.store.location import Base, IndexPlace, base_of
from retrieval.store.schema import (
    FIELDS,
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
LOOKED_UP_AT_ONCE = 20_000  # by the index of ids; the engine has no memory for a million


class Store:
    """An open index: one writer at a time, any number of readers beside it.

    The engine runs threads of its own: a child process must be spawned, never forked.

    Attributes:
        has_regions: Whether it stores region codes; indexes made before there were any do not, and
            take none when pictures are added.
    """

    def __init__(self, base: Base, manifest: Manifest) -> None:
        """Used by `create` and `open`.

        Raises:
            GalleryError: The table cannot be opened, or region codes are stored in another size.
        """
        self.base, self.manifest = base, manifest
        self._table = base.open_table()
        self._schema: pa.Schema = self._table.schema
        self._addresses: Addresses | None = None
        self.has_regions = has_regions(self.place, self._schema)

    @classmethod
    def create(cls, place: IndexPlace, manifest: Manifest, *, regions: bool = True) -> "Store":
        """Make an empty index, or open the one that is there.

        Raises:
            GalleryError: The place cannot be written, or holds an index of another encoder.
        """
        base = base_of(place)
        if not base.is_made:
            base.make(manifest, arrow_schema(manifest.dim, regions=regions))
        return cls.open(place, manifest.gallery_hash)

    @classmethod
    def open(cls, place: IndexPlace, gallery_hash: str | None = None) -> "Store":
        """Open an index; with `gallery_hash`, only one that this encoder made.

        Raises:
            GalleryError: There is no index, it is damaged, or another encoder made it.
        """
        base = base_of(place)
        manifest = base.read_manifest()
        if gallery_hash is not None and manifest.gallery_hash != gallery_hash:
            raise GalleryError(
                f"The index {base} was made by another encoder (kit {manifest.kit!r}, "
                f"{manifest.gallery_hash}, here {gallery_hash}). Rebuild it with: "
                f"duet index {base.root_of(manifest)} --index {base} --rebuild"
            )
        return cls(base, manifest)

    @property
    def place(self) -> str:
        """The folder or address, for messages."""
        return str(self.base)

    @property
    def root(self) -> Path:
        """Folder of the pictures."""
        return self.base.root_of(self.manifest)

    @property
    def has_near(self) -> bool:
        """Whether it can mark near-duplicates; earlier layouts cannot."""
        return "near" in self._schema.names

    @property
    def version(self) -> int:
        """Counts commits: two reads at one version find the same."""
        with self.base.told():
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
        """Commit a batch, down to the disk: rows of the same id are replaced.

        Args:
            items: What is known of each.
            vectors: Their unit vectors.
            regions: Their region codes; needed where the index stores any.

        Raises:
            GalleryError: The disk is full or the folder cannot be written. Nothing of the batch
                is then kept, and all earlier commits are.
        """
        columns = columns_of(list(items), self._names(FIELDS))
        flat = pa.array(vectors.astype(np.float16).ravel(), type=pa.float16())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, self.manifest.dim)
        if self.has_regions:
            assert regions is not None
            columns[REGIONS] = pa.FixedSizeListArray.from_arrays(
                pa.array(regions.ravel(), type=pa.int8()), NUM_CODES
            )
        rows = self._rows_of(columns)
        with self.base.writing():
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(rows)

    def update(self, items: Sequence[Item]) -> None:
        """Commit what is known of items that are there; their vectors, codes and groups stay.

        Raises:
            GalleryError: The disk is full or the folder cannot be written.
        """
        if items:
            names = [name for name in self._names(FIELDS) if name != "near"]
            self._merge(columns_of(list(items), names))

    def mark_near(self, ids: Sequence[str], firsts: Sequence[str | None]) -> None:
        """Commit, for each of `ids`, the first item of its group; empty for the first itself.

        None marks an item as one that nobody has looked at. A commit takes 250,000 of them,
        and reads the whole table where they are many.

        Raises:
            GalleryError: The disk is full or the folder cannot be written.
        """
        for start in range(0, len(ids), MARKS_AT_ONCE):
            some = slice(start, start + MARKS_AT_ONCE)
            self._merge({"id": list(ids[some]), "near": list(firsts[some])})

    def remove(self, ids: Sequence[str]) -> None:
        """Delete rows by id.

        Raises:
            GalleryError: The folder cannot be written.
        """
        for start in range(0, len(ids), IDS_AT_ONCE):
            with self.base.writing():
                self._table.delete(is_one_of(ids[start : start + IDS_AT_ONCE]))

    def items(self, fields: Sequence[str] = FIELDS) -> list[Item]:
        """Return every item, ordered by path; other fields than those asked for are empty.

        Args:
            fields: Names of an item's attributes, `id` and `path` among them.
        """
        found: list[Item] = []
        with self.base.told():
            for batch in scan(self._table, self._names(fields)):
                found += items_of_rows(batch)
        return sorted(found, key=lambda item: item.path)

    def ids_and_vectors(self) -> IdsAndVectors:
        """Return all ids and vectors of one version, without a Python object a row.

        Takes the memory of the vectors and little more.

        Raises:
            GalleryError: The index cannot be read.
        """
        with self.base.told():
            table: Any = self.base.open_table()
            table.checkout(table.version)  # what is committed while this reads stays out
            count = int(table.count_rows())
            ids, rows = np.empty(count, "S32"), np.empty(count, np.uint64)
            vectors = np.empty((count, self.manifest.dim), np.float16)
            done = 0
            for batch in scan(table, ["id", "vector", "_rowid"]):
                here = slice(done, done + batch.num_rows)
                ids[here] = id_bytes(batch.column("id"))
                rows[here] = batch.column("_rowid").to_numpy()
                vectors[here] = matrix(batch.column("vector"), self.manifest.dim)
                done = here.stop
        order = ids.argsort(kind="stable")
        reorder(vectors, order)
        ids = ids[order]
        if count:
            self._addresses = Addresses(table=table, ids=ids, rows=rows[order])
        return IdsAndVectors(ids=ids, vectors=vectors, version=int(table.version))

    def items_of(self, ids: Sequence[str]) -> list[Item | None]:
        """Return items in the order of `ids`; None for one that is not there.

        Raises:
            GalleryError: The index cannot be read.
        """
        names = self._names(FIELDS)
        found = {item.id: item for rows in self._lookup(ids, names) for item in items_of_rows(rows)}
        return [found.get(one) for one in ids]

    def ids_where(self, where: Filter) -> Shaped[np.ndarray, " n"]:
        """Return the ids, as bytes, of all items that pass a condition, in ascending order.

        Raises:
            GalleryError: The index cannot be read.
        """
        absent = [name for name in FIELDS if name not in self._schema.names]
        return self.ids_where_sql(to_sql(where, absent=absent))

    def ids_where_sql(self, sql: str) -> Shaped[np.ndarray, " n"]:
        """Return the ids, as bytes, of all rows that pass SQL of our own making, ascending."""
        with self.base.told():
            search = self._table.search().where(sql).select(["id"])
            found = [id_bytes(batch.column("id")) for batch in search.to_batches()]
        return np.sort(np.concatenate([np.empty(0, "S32"), *found]))

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return the region codes of items, in the order of `ids`; zeros where one is gone.

        Raises:
            GalleryError: The index stores none, or cannot be read.
        """
        if not self.has_regions:
            raise GalleryError(
                f"The index {self.place} has no region codes. Add them with: "
                f"duet index {self.root} --index {self.place} --rebuild"
            )
        return self._fill(np.zeros((len(ids), NUM_CODES), dtype=np.int8), ids, REGIONS)

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return the vectors of items, in the order of `ids`; zeros where one is gone.

        Raises:
            GalleryError: The index cannot be read.
        """
        return self._fill(np.zeros((len(ids), self.manifest.dim), dtype=np.float16), ids, "vector")

    def values_of(self, name: str, most: int) -> list[str]:
        """Return the different texts of a column, in order; none where there are more than `most`.

        Raises:
            GalleryError: The index cannot be read.
        """
        with self.base.told():
            return different(scan(self._table, self._names([name])), most)

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items from all over the gallery, the same every time.

        Ids are hashes: those that begin lowest are a draw.

        Raises:
            GalleryError: The index cannot be read.
        """
        share = count / max(1, len(self))
        if where is not None:
            found = self.ids_where(where)[:count]
        else:
            lowest = "true" if share >= 1 else f"id < '{int(share * 16**8):08x}'"
            found = self.ids_where_sql(lowest)
        return [one.decode() for one in found]

    def read_through(self) -> None:
        """Read every column of every row, to see whether that is possible.

        Raises:
            GalleryError: It is not.
        """
        with self.base.told():
            versions.read_through(self._table)

    def restore_readable(self) -> int:
        """Go back to the youngest version all of whose rows can be read, and return its number.

        Raises:
            GalleryError: There is none.
        """
        with self.base.writing():
            number = versions.restore_readable(self._table)
        if number is None:
            raise GalleryError(
                f"No version of the index {self.place} can be read. Make it anew: duet index "
                f"{self.root} --index {self.place} --rebuild"
            )
        return number

    def compact(self) -> None:
        """Merge small commits and bring the index of ids up to date, where either is worth it.

        Versions that were superseded an hour ago are dropped; readers may still use later ones.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with self.base.writing():
            versions.tidy(self._table, BTree())

    def indexed_rows(self) -> int | None:
        """Return how many rows the index of ids knows; None where there is no index."""
        with self.base.told():
            return versions.indexed_rows(self._table)

    def _names(self, wanted: Sequence[str]) -> list[str]:
        """Return those of the columns that the table has; earlier layouts have fewer."""
        return [name for name in wanted if name in self._schema.names]

    def _rows_of(self, columns: dict[str, Any]) -> pa.Table:
        return pa.table(columns, schema=pa.schema([self._schema.field(name) for name in columns]))

    def _merge(self, columns: dict[str, Any]) -> None:
        if set(columns) <= set(self._schema.names):
            with self.base.writing():
                merge = self._table.merge_insert("id").when_matched_update_all()
                merge.use_index(len(columns["id"]) <= LOOKED_UP_AT_ONCE)
                merge.execute(self._rows_of(columns))

    def _fill(
        self, found: Shaped[np.ndarray, "n d"], ids: Sequence[str], name: str
    ) -> Shaped[np.ndarray, "n d"]:
        """Write a column of lists into the rows of those of the ids that are there."""
        places = {one: place for place, one in enumerate(ids)}
        for rows in self._lookup(ids, ["id", name]):
            values = matrix(rows.column(name).combine_chunks(), found.shape[1])
            found[[places[one] for one in rows.column("id").to_pylist()]] = values
        return found

    def _lookup(self, ids: Sequence[str], names: list[str]) -> Generator[pa.Table, None, None]:
        """Yield the rows of ids, a thousand ids at once."""
        known = self._addresses
        if known is not None and known.table.version != self.version:
            known = self._addresses = None
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = ids[start : start + IDS_AT_ONCE]
            with self.base.told():
                if known is not None:
                    rows = known.take(some, names)
                else:
                    rows = self._table.search().where(is_one_of(some)).select(names).to_arrow()
            yield rows
