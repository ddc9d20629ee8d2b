"""`duet index`."""

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from retrieval.encode import IndexOptions, IndexReport, index_folder
from retrieval.store import MANIFEST
from studio.commands.search import DEFAULT_INDEX
from studio.commands.shared import ProgressLine, open_engine, print_json, say
from studio.errors import UsageError

NUM_REASONS_SHOWN = 20
KNOWN_COLUMNS = ("kind", "domain", "caption")


def run(arguments: argparse.Namespace) -> int:
    """Index a folder and tell what became of every picture."""
    known = _known(arguments.items, arguments.folder)
    engine = open_engine(arguments)
    index = arguments.index or arguments.folder / DEFAULT_INDEX
    if arguments.rebuild and (index / MANIFEST).exists():
        shutil.rmtree(index)
    report = index_folder(
        arguments.folder,
        index,
        engine.backbone,
        kit=engine.kit.name,
        options=IndexOptions(known=known),
        progress=ProgressLine("indexed"),
    )
    if arguments.json:
        skipped = [{"path": one.path, "reason": one.reason} for one in report.skipped]
        counts = {name: getattr(report, name) for name in ("num_added", "num_kept", "num_removed")}
        print_json({"index": str(index), **counts, "skipped": skipped})
    else:
        _tell(report, index, engine.kit.knows)
    return 0


def _tell(report: IndexReport, index: Path, knows: str) -> None:
    say(
        f"{report.num_added} added, {report.num_kept} unchanged, {report.num_removed} removed, "
        f"{len(report.skipped)} left out. The index is {index}."
    )
    for one in report.skipped[:NUM_REASONS_SHOWN]:
        say(f"  left out {one.path}: {one.reason}")
    if len(report.skipped) > NUM_REASONS_SHOWN:
        say(f"  and {len(report.skipped) - NUM_REASONS_SHOWN} more; --json lists them all.")
    if knows:
        say(knows)


def _known(items: Path | None, folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Read what a table knows of pictures; its paths start at its own folder, or at `folder`."""
    if items is None:
        return {}
    try:
        rows = pq.read_table(items, columns=["path", *KNOWN_COLUMNS]).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{items} must be a parquet file with path, {', '.join(KNOWN_COLUMNS)}."
        ) from error
    root = folder.resolve()

    def inside(path: str) -> str:
        file = (items.parent / path).resolve()
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else path

    known = {inside(row["path"]): {name: row[name] or "" for name in KNOWN_COLUMNS} for row in rows}
    if not any((root / path).is_file() for path in known):
        raise UsageError(
            f"{items} names no picture of {folder}; its paths must start there or beside it."
        )
    return known
