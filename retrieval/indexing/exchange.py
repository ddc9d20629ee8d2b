"""Vectors as clip-retrieval lays them out: img_emb/img_emb_N.npy, metadata/metadata_N.parquet.

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
from retrieval.indexing.walk import Skipped
from retrieval.store.location import IndexPlace
from retrieval.store.roots import manifest_of
from retrieval.store.schema import Item
from retrieval.store.table import Store

VECTORS, METADATA = "img_emb", "metadata"
ROWS_OF_A_FILE = 1_000_000
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What became of imported vectors.

    Attributes:
        num_added: In the index.
        skipped: Left out, with reasons.
    """

    num_added: int
    skipped: tuple[Skipped, ...]


def export_vectors(store: Store, folder: Path) -> int:
    """Write all vectors (float16) with path and caption; returns how many.

    Rows are ordered by id, a million a file.

    Raises:
        GalleryError: The index cannot be read or the folder not be written.
    """
    found = store.ids_and_vectors()
    ids = found.ids.astype(str).tolist()
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
            np.save(_vectors_file(folder, number), found.vectors[rows])
            pq.write_table(pa.table(table), _metadata_file(folder, number))
    except OSError as error:
        raise GalleryError(
            f"{folder} could not be written: {error.strerror or error}. Choose another place."
        ) from error
    return len(ids)


def import_vectors(
    source: Path, root: Path, index: IndexPlace, backbone: Backbone, *, kit: str
) -> ImportReport:
    """Make or extend an index with vectors that another program computed.

    They are believed to be of the kit's encoder; only their width can be checked. The manifest
    tells where they came from. Such an index has no region codes. A picture that is not below
    `root`, or no picture, is left out.

    Raises:
        GalleryError: The files are missing, do not fit together or have another width; the root
            is no folder, or the index has region codes or is of another encoder.
    """
    manifest = manifest_of([root], index, backbone, kit=kit, origin=f"imported from {source.name}")
    shards = list(_shards(source, manifest.dim))
    store = Store.create(index, manifest, regions=False)
    if store.has_regions:
        raise GalleryError(
            f"The index {index} has region codes, which imported vectors lack. Choose another "
            "--index, or start anew with --rebuild."
        )
    run = _Import(root.resolve(), store)
    for shard in shards:
        run.take(shard)
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

    def take(self, shard: _Shard) -> None:
        for start in range(0, shard.table.num_rows, ROWS_AT_ONCE):
            rows = shard.table.slice(start, ROWS_AT_ONCE).to_pylist()
            vectors = np.asarray(shard.vectors[start : start + ROWS_AT_ONCE], np.float32)
            lengths = np.linalg.norm(vectors, axis=1)
            kept: list[int] = []
            items: list[Item] = []
            for place, row in enumerate(rows):
                one = self._look_at(row, float(lengths[place]))
                if isinstance(one, Skipped):
                    self.skipped.append(one)
                else:
                    kept.append(place)
                    items.append(one)
            if items:
                self._store.add(items, vectors[kept] / lengths[kept, None])

    def _look_at(self, row: dict[str, str | None], length: float) -> Item | Skipped:
        named = row["image_path"] or ""
        path = (self._root / named).resolve()
        shown = printable(named)
        if not (np.isfinite(length) and length > 0):
            return Skipped(path=shown, reason="Its vector has no length.")
        if not path.is_relative_to(self._root):
            return Skipped(path=shown, reason="It lies outside the folder of the pictures.")
        limits = ImageLimits()
        try:
            data = read_regular(path, limits.max_bytes)
            picture = open_picture(data, limits, least_px=1)
            found = path.stat()
        except ImageError as error:
            return Skipped(path=shown, reason=f"It {error.reason}")
        except (OSError, ValueError):
            return Skipped(path=shown, reason="It is not there or cannot be read.")
        id_, below = content_id(data), path.relative_to(self._root).as_posix()
        if (first := self.paths_by_id.setdefault(id_, below)) != below:
            return Skipped(path=shown, reason=f"It has the same content as {printable(first)}.")
        return Item(
            id=id_,
            path=below,
            size_bytes=found.st_size,
            mtime_ns=found.st_mtime_ns,
            width_px=picture.width_px,
            height_px=picture.height_px,
            caption=row.get("caption") or "",
            taken=picture.taken,
        )


def _shards(source: Path, dim: int) -> Iterator[_Shard]:
    """Open and check all files before anything is written; numbers may have leading zeros."""
    files = sorted((source / VECTORS).glob(f"{VECTORS}_*.npy"))
    if not files:
        raise GalleryError(f"{source} must hold {VECTORS}/{VECTORS}_0.npy and metadata; check it.")
    for file in files:
        number = file.stem.removeprefix(f"{VECTORS}_")
        beside = source / METADATA / f"{METADATA}_{number}.parquet"
        try:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
            names = pq.read_schema(beside).names
            wanted = [name for name in ("image_path", "caption") if name in names]
            table = pq.read_table(beside, columns=wanted)
        except (OSError, ValueError, EOFError) as error:
            raise GalleryError(f"{file} or {beside} cannot be read: {error}") from error
        if vectors.ndim != 2 or vectors.shape[1] != dim or vectors.dtype.kind != "f":
            raise GalleryError(
                f"The vectors of {file} must be floats of the kit's width ({dim}), got "
                f"{vectors.dtype} of shape {vectors.shape}. Choose the kit that made them."
            )
        if "image_path" not in wanted or table.num_rows != len(vectors):
            raise GalleryError(
                f"{beside} must have a column image_path and {len(vectors)} rows, as many as "
                f"{file.name}, got {table.num_rows}."
            )
        yield _Shard(vectors=vectors, table=table)


def _vectors_file(folder: Path, number: int) -> Path:
    return folder / VECTORS / f"{VECTORS}_{number}.npy"


def _metadata_file(folder: Path, number: int) -> Path:
    return folder / METADATA / f"{METADATA}_{number}.parquet"
