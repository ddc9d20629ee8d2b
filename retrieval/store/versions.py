"""The upkeep of a table, and its versions: every commit makes one, a reader holds it for a scan."""

from datetime import UTC, datetime, timedelta
from typing import Any

KEPT_SUPERSEDED = timedelta(hours=1)
NEVER = timedelta(days=36500)
INDEXED_ROWS = 4096  # from here on an index of ids is faster than a scan of them
MAX_FRAGMENTS = 32  # every commit adds one, and every one costs a reader a file or two


def tidy(table: Any, config: object) -> None:  # noqa: ANN401  untyped in its library
    """Merge small commits and bring the index of ids up to date, where either is worth it.

    Args:
        table: Whose.
        config: Kind of the index, as its library wants it.
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
    """Return how many rows the index of ids knows; None where there is no index."""
    found = [one for one in table.list_indices() if list(one.columns) == ["id"]]
    return int(found[0].num_indexed_rows) if found else None


def age_to_drop(table: Any) -> timedelta:  # noqa: ANN401  untyped in its library
    """Return the age beyond which no version can be in use.

    The engine drops by the time a version was made, which says nothing: a week-old one may be
    superseded, and in use, only now. The youngest of those made more than an hour ago stays,
    and those before it have been superseded for as long.
    """
    moment = datetime.now(UTC)
    made = [one["timestamp"].astimezone(UTC) for one in table.list_versions()]
    old = [time for time in made if moment - time > KEPT_SUPERSEDED]
    return moment - max(old) + timedelta(seconds=1) if old else NEVER


def read_through(table: Any) -> None:  # noqa: ANN401
    """Read every column of every row; raises what the engine raises where it cannot."""
    for _ in table.search().select(table.schema.names).to_batches():
        pass


def restore_readable(table: Any) -> int | None:  # noqa: ANN401
    """Go back to the youngest version that can be read; returns its number, None without one."""
    numbers = sorted(int(one["version"]) for one in table.list_versions())
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
