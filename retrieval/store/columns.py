"""Columns of a table as arrays, without a Python object per row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from retrieval.store.schema import checked_id

BATCH_ROWS = 8192


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IdsAndVectors:
    """Ids and vectors of n items, ordered by id.

    Attributes:
        ids: 32 hex digits each, as bytes.
        vectors: Unit vectors, float16 as stored.
        version: Version of the table that they were read from.
    """

    ids: Shaped[np.ndarray, " n"]
    vectors: Float[np.ndarray, "n d"]
    version: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RowAddresses:
    """Row address of each id in one version of a table; several times faster than an id search.

    Attributes:
        table: Checked out at that version.
        ids: As bytes, ascending.
        rows: Row addresses, one per id.
    """

    table: Any
    ids: Shaped[np.ndarray, " n"]
    rows: Shaped[np.ndarray, " n"]

    def take(self, ids: Sequence[str], names: list[str]) -> pa.Table:
        """Return the rows of the ids that exist, in no particular order."""
        keys = np.array([checked_id(id_) for id_ in ids], "S32")
        positions = np.searchsorted(self.ids, keys).clip(max=len(self.ids) - 1)
        rows = self.rows[positions[self.ids[positions] == keys]].tolist()
        return self.table.take_row_ids(rows).select(names).to_arrow()


def matrix(column: Any, width: int) -> Shaped[np.ndarray, "n d"]:  # noqa: ANN401  pyarrow's types are untyped
    """Return a column of fixed-width lists as a matrix that shares its memory."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def id_bytes(column: Any) -> Shaped[np.ndarray, " n"]:  # noqa: ANN401
    """Return a column of ids as fixed-width bytes, without a Python object per row."""
    fixed = column.cast(pa.binary()).cast(pa.binary(32))
    start = 32 * fixed.offset
    return np.frombuffer(fixed.buffers()[1], "S1")[start : start + 32 * len(fixed)].view("S32")


def reorder(rows: Float[np.ndarray, "n d"], order: Int[np.ndarray, " n"], width: int = 64) -> None:
    """Reorder the rows of a matrix in place, by blocks of columns to avoid a full copy."""
    for start in range(0, rows.shape[1], width):
        rows[:, start : start + width] = rows[order, start : start + width]


def scan(table: Any, names: list[str]) -> Any:  # noqa: ANN401  a reader of batches, untyped there
    """Read columns of a table in batches of rows."""
    return table.search().select(names).to_batches(batch_size=BATCH_ROWS)


def distinct_texts(batches: Iterable[pa.RecordBatch], most: int) -> list[str]:
    """Return the distinct texts of the only column, sorted; none if there are more than `most`."""
    texts: set[str] = set()
    for batch in batches:
        texts.update(filter(None, batch.column(0).unique().to_pylist()))
        if len(texts) > most:
            return []
    return sorted(texts)


def id_condition(ids: Sequence[str]) -> str:
    """Return an SQL condition that selects rows by id."""
    quoted = ", ".join(f"'{checked_id(id_)}'" for id_ in ids)
    return f"id IN ({quoted})"
