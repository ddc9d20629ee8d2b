"""Versions of a table and their upkeep: every commit makes one, a scan reads one."""

from datetime import UTC, datetime, timedelta
from typing import Any

KEPT_SUPERSEDED = timedelta(hours=1)
NEVER = timedelta(days=36500)
INDEXED_ROWS = 4096  # above, an index of ids is faster than a scan
MAX_FRAGMENTS = 32  # every commit adds one, which costs a reader one or two files


def tidy(table: Any, config: object) -> None:  # noqa: ANN401  untyped in its library
    """Merge small commits and update the index of ids, where worthwhile.

    Args:
        table: Table to tidy.
        config: Configuration of the index of ids.
    """
    indexed, count = indexed_rows(table), int(table.count_rows())
    if indexed is None and count >= INDEXED_ROWS:
        table.create_index("id", config=config)
        indexed = count
    behind = indexed is not None and count - indexed >= INDEXED_ROWS
    fragments = table.stats()["fragment_stats"]["num_fragments"]
    if behind or fragments > MAX_FRAGMENTS:
        table.optimize(cleanup_older_than=age_to_drop(table))


def indexed_rows(table: Any) -> int | None:  # noqa: ANN401
    """Return the number of rows in the index of ids; None without an index."""
    indices = [index for index in table.list_indices() if list(index.columns) == ["id"]]
    return int(indices[0].num_indexed_rows) if indices else None


def age_to_drop(table: Any) -> timedelta:  # noqa: ANN401  untyped in its library
    """Return the age beyond which no version can be in use.

    The engine drops versions by the time of their creation, but a week-old version may have been
    superseded a second ago and still be read. The youngest version older than an hour is kept:
    those before it were superseded at least an hour ago.
    """
    now = datetime.now(UTC)
    created = [version["timestamp"].astimezone(UTC) for version in table.list_versions()]
    old = [time for time in created if now - time > KEPT_SUPERSEDED]
    return now - max(old) + timedelta(seconds=1) if old else NEVER


def read_through(table: Any) -> None:  # noqa: ANN401
    """Read every column of every row; errors of the engine propagate."""
    for _ in table.search().select(table.schema.names).to_batches():
        pass


def restore_readable(table: Any) -> int | None:  # noqa: ANN401
    """Restore the youngest readable version; return its number, or None without one."""
    numbers = sorted(int(version["version"]) for version in table.list_versions())
    for number in reversed(numbers):
        try:
            table.checkout(number)
            read_through(table)
        except (OSError, RuntimeError, ValueError):
            continue
        table.restore(number)
        return number
    table.checkout_latest()
    return None
