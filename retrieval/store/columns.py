"""Columns of a table as arrays, a million rows without a million Python objects."""

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
    """What an engine needs of n items, ordered by id: the same at every version that holds them.

    Attributes:
        ids: 32 hex digits each, as bytes.
        vectors: Unit vectors, float16 as stored.
        version: Of the table they were read from.
    """

    ids: Shaped[np.ndarray, " n"]
    vectors: Float[np.ndarray, "n d"]
    version: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Addresses:
    """Where one version of a table keeps each id: found there several times faster than by id.

    Attributes:
        table: Pinned at that version.
        ids: As bytes, ascending.
        rows: Their addresses.
    """

    table: Any
    ids: Shaped[np.ndarray, " n"]
    rows: Shaped[np.ndarray, " n"]

    def take(self, wanted: Sequence[str], names: list[str]) -> pa.Table:
        """Return the rows of those of the ids that are there, in an order of its own."""
        known, keys = self.ids, np.array([checked_id(one) for one in wanted], "S32")
        places = np.searchsorted(known, keys).clip(max=len(known) - 1)
        rows = self.rows[places[known[places] == keys]].tolist()
        return self.table.take_row_ids(rows).select(names).to_arrow()


def matrix(column: Any, width: int) -> Shaped[np.ndarray, "n d"]:  # noqa: ANN401  pyarrow's types are untyped
    """Return a column of lists of one width as a matrix that shares its memory."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def id_bytes(column: Any) -> Shaped[np.ndarray, " n"]:  # noqa: ANN401
    """Return a column of ids as fixed-width bytes, without a Python object a row."""
    fixed = column.cast(pa.binary()).cast(pa.binary(32))
    start = 32 * fixed.offset
    return np.frombuffer(fixed.buffers()[1], "S1")[start : start + 32 * len(fixed)].view("S32")


def reorder(rows: Float[np.ndarray, "n d"], order: Int[np.ndarray, " n"], width: int = 64) -> None:
    """Order the rows of a matrix in place, some columns at a time to spare a second copy."""
    for start in range(0, rows.shape[1], width):
        rows[:, start : start + width] = rows[order, start : start + width]


def scan(table: Any, names: list[str]) -> Any:  # noqa: ANN401  a reader of batches, untyped there
    """Read some columns of a table, some thousand rows at once."""
    return table.search().select(names).to_batches(batch_size=BATCH_ROWS)


def different(batches: Iterable[pa.RecordBatch], most: int) -> list[str]:
    """Return the different texts of the only column, in order; none for more than `most`."""
    found: set[str] = set()
    for batch in batches:
        found.update(filter(None, batch.column(0).unique().to_pylist()))
        if len(found) > most:
            return []
    return sorted(found)


def is_one_of(ids: Sequence[str]) -> str:
    """Return SQL that holds for the rows of some ids."""
    quoted = ", ".join(f"'{checked_id(one)}'" for one in ids)
    return f"id IN ({quoted})"
