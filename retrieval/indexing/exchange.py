"""Vectors in the layout of clip-retrieval: img_emb/img_emb_N.npy, metadata/metadata_N.parquet.

https://github.com/rom1504/clip-retrieval
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from composer.backbone import Backbone
from composer.images import ImageError, ImageLimits, open_picture
from retrieval.errors import GalleryError
from retrieval.files import content_id, printable, read_regular
from retrieval.filters.folders import composed
from retrieval.indexing.walk import Skipped, storable_ns
from retrieval.store.address import IndexLocation
from retrieval.store.roots import manifest_of
from retrieval.store.schema import Item
from retrieval.store.table import Store

VECTORS, METADATA = "img_emb", "metadata"
ROWS_OF_A_FILE = 1_000_000
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """Result of an import.

    Attributes:
        num_added: Vectors added to the index.
        skipped: Pictures skipped, with reasons.
    """

    num_added: int
    skipped: tuple[Skipped, ...]


def export_vectors(store: Store, folder: Path) -> int:
    """Write all vectors (float16) with path and caption; return their number.

    Rows are ordered by id, a million per file.

    Raises:
        GalleryError: The index cannot be read, or the folder cannot be written.
    """
    gallery = store.ids_and_vectors()
    ids = gallery.ids.astype(str).tolist()
    try:
        for name in (VECTORS, METADATA):
            (folder / name).mkdir(parents=True, exist_ok=True)
        starts = range(0, max(1, len(ids)), ROWS_OF_A_FILE)
        for number, start in enumerate(starts):
            rows = slice(start, start + ROWS_OF_A_FILE)
            items = store.items_of(ids[rows])
            table = {
                "image_path": [item.path if item else "" for item in items],
                "caption": [item.caption if item else "" for item in items],
            }
            np.save(_vectors_file(folder, number), gallery.vectors[rows])
            pq.write_table(pa.table(table), _metadata_file(folder, number))
    except OSError as error:
        raise GalleryError(
            f"{folder} could not be written: {error.strerror or error}. Choose another folder."
        ) from error
    return len(ids)


def import_vectors(
    source: Path, root: Path, index: IndexLocation, backbone: Backbone, *, kit: str
) -> ImportReport:
    """Create or extend an index with vectors computed by another program.

    The vectors must be of the kit's encoder; only their width can be checked. The manifest records
    their origin. Such an index has no region codes. Files outside `root`, and files that are not
    pictures, are skipped.

    Raises:
        GalleryError: The files are missing, inconsistent or of another width; the root is not a
            folder, or the index has region codes or is of another encoder.
    """
    manifest = manifest_of([root], index, backbone, kit=kit, origin=f"imported from {source.name}")
    shards = list(_shards(source, manifest.dim))
    store = Store.create(index, manifest, regions=False)
    if store.has_regions:
        raise GalleryError(
            f"The index {index} has region codes, which imported vectors lack. Choose another "
            "--index, or replace it with --rebuild."
        )
    run = _Import(root.resolve(), store)
    for shard in shards:
        run.add(shard)
    store.compact()
    return ImportReport(num_added=len(run.paths_by_id), skipped=tuple(run.skipped))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shard:
    vectors: Float[np.ndarray, "n d"]  # mapped from the file, of any float type
    table: pa.Table


class _Import:
    def __init__(self, root: Path, store: Store) -> None:
        self._root, self._store = root, store
        self.paths_by_id: dict[str, str] = {}
        self.skipped: list[Skipped] = []

    def add(self, shard: _Shard) -> None:
        for start in range(0, shard.table.num_rows, ROWS_AT_ONCE):
            rows = shard.table.slice(start, ROWS_AT_ONCE).to_pylist()
            vectors = np.asarray(shard.vectors[start : start + ROWS_AT_ONCE], np.float32)
            lengths = np.linalg.norm(vectors, axis=1)
            kept: list[int] = []
            items: list[Item] = []
            for position, row in enumerate(rows):
                result = self._check_row(row, float(lengths[position]))
                if isinstance(result, Skipped):
                    self.skipped.append(result)
                else:
                    kept.append(position)
                    items.append(result)
            if items:
                self._store.add(items, vectors[kept] / lengths[kept, None])

    def _check_row(self, row: dict[str, str | None], length: float) -> Item | Skipped:
        image_path = row["image_path"] or ""
        path = (self._root / image_path).resolve()
        name = printable(image_path)
        if not (np.isfinite(length) and length > 0):
            return Skipped(path=name, reason="Its vector has no finite positive length.")
        if not path.is_relative_to(self._root):
            return Skipped(path=name, reason="It lies outside the folder of the pictures.")
        limits = ImageLimits()
        try:
            data = read_regular(path, limits.max_bytes)
            picture = open_picture(data, limits, least_px=1)
            status = path.stat()
        except ImageError as error:
            return Skipped(path=name, reason=f"It {error.reason}")
        except (OSError, ValueError):
            return Skipped(path=name, reason="It does not exist or cannot be read.")
        id_, below = content_id(data), path.relative_to(self._root).as_posix()
        if (first := self.paths_by_id.setdefault(id_, below)) != below:
            return Skipped(path=name, reason=f"It has the same content as {printable(first)}.")
        return Item(
            id=id_,
            path=below,
            size_bytes=status.st_size,
            mtime_ns=storable_ns(status.st_mtime_ns),
            width_px=picture.width_px,
            height_px=picture.height_px,
            ctime_ns=storable_ns(status.st_ctime_ns),
            caption=composed(row.get("caption") or ""),
            taken=picture.taken,
        )


def _shards(source: Path, dim: int) -> Iterator[_Shard]:
    """Open and check all files before the index is written; numbers may have leading zeros."""
    files = sorted((source / VECTORS).glob(f"{VECTORS}_*.npy"))
    if not files:
        raise GalleryError(f"{source} must hold {VECTORS}/{VECTORS}_0.npy and metadata; check it.")
    for file in files:
        number = file.stem.removeprefix(f"{VECTORS}_")
        beside = source / METADATA / f"{METADATA}_{number}.parquet"
        try:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
            names = pq.read_schema(beside).names
            columns = [name for name in ("image_path", "caption") if name in names]
            table = pq.read_table(beside, columns=columns)
        except (OSError, ValueError, EOFError) as error:
            raise GalleryError(f"{file} or {beside} cannot be read: {error}") from error
        if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype.kind != "f":
            raise GalleryError(
                f"The vectors of {file} must be floats of the kit's width ({dim}), got "
                f"{vectors.dtype} of shape {vectors.shape}. Choose the kit that computed them."
            )
        if "image_path" not in columns or table.num_rows != len(vectors):
            raise GalleryError(
                f"{beside} must have a column image_path and {len(vectors)} rows, as many as "
                f"{file.name}, got {table.num_rows}."
            )
        yield _Shard(vectors=vectors, table=table)


def _vectors_file(folder: Path, number: int) -> Path:
    return folder / VECTORS / f"{VECTORS}_{number}.npy"


def _metadata_file(folder: Path, number: int) -> Path:
    return folder / METADATA / f"{METADATA}_{number}.parquet"
