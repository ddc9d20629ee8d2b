"""`duet index`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from retrieval.engines.lance import MIN_ROWS, LanceIndex
from retrieval.indexing.embed import Embedder
from retrieval.indexing.encode import IndexOptions, IndexReport, index_folders
from retrieval.indexing.exchange import export_vectors, import_vectors
from retrieval.indexing.walk import Skipped
from retrieval.indexing.watch import watch
from retrieval.store.location import IndexPlace, base_of
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.roots import root_for
from retrieval.store.table import Store
from studio.commands.search import DEFAULT_INDEX
from studio.commands.shared import ProgressLine, open_engine, print_json, say
from studio.engine import NO_MILVUS, Engine
from studio.errors import UsageError

NUM_REASONS_SHOWN = 20
NO_RAY = "--engine ray needs the library ray: pip install 'duet-studio[cluster]'"
KNOWN_COLUMNS = ("kind", "domain", "caption")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked with an index: update, watch, check, import or export."""
    index = _place(arguments)
    if arguments.check or arguments.repair:
        return _check(arguments, index)
    if arguments.export_to is not None:
        num_rows = export_vectors(Store.open(index), arguments.export_to)
        say(f"{num_rows} vectors are in {arguments.export_to}.")
        return 0
    known = _known(arguments.items, arguments.folders, index)
    engine = open_engine(arguments)
    if arguments.rebuild and base_of(index).is_made:
        discard_index(index)
    if arguments.import_from is not None:
        return _import(arguments, index, engine)

    options = IndexOptions(known=known, near=arguments.near)
    embedder = _cluster(engine, options) if arguments.engine == "ray" else None

    def update() -> IndexReport:
        return index_folders(
            arguments.folders,
            index,
            engine.backbone,
            kit=engine.kit.name,
            options=options,
            embedder=embedder,
            progress=ProgressLine("indexed", unit="images"),
        )

    def tell(knows: str) -> None:
        report = update()
        _set_engine(arguments, index)
        _tell(arguments, report, index, knows, publish(arguments, index))

    tell(engine.kit.knows)
    if arguments.watch:
        watch(arguments.folders, index if isinstance(index, Path) else None, lambda: tell(""))
    return 0


def _cluster(engine: Engine, options: IndexOptions) -> Embedder:
    try:
        from retrieval.indexing.cluster import ClusterEmbedder
    except ImportError as error:
        raise UsageError(NO_RAY) from error
    return ClusterEmbedder(
        engine.kit.backbone, engine.backbone.gallery_hash, device=engine.device, options=options
    )


def _set_engine(arguments: argparse.Namespace, index: IndexPlace) -> None:
    """Build LanceDB's own index, or drop it; nothing where nothing is said."""
    if arguments.engine not in ("exact", "lance"):
        return
    on_disk = LanceIndex(Store.open(index))
    if arguments.engine == "exact":
        on_disk.drop()
    elif not on_disk.is_built and not on_disk.build(min_rows=MIN_ROWS) and not arguments.json:
        say(f"Fewer than {MIN_ROWS:,} pictures are searched exactly: that is as fast.")


def publish(arguments: argparse.Namespace, index: IndexPlace) -> dict[str, int]:
    """Send an index to Milvus where that is asked for; returns what became of its items."""
    if not arguments.publish:
        return {}
    try:
        from retrieval.indexing.publish import publish as send
    except ImportError as error:
        raise UsageError(NO_MILVUS) from error
    report = send(
        Store.open(index),
        arguments.publish,
        root=arguments.publish_root,
        rebuild=arguments.rebuild,
        progress=ProgressLine("published"),
    )
    return {"num_sent": report.num_sent, "num_withdrawn": report.num_removed}


def _place(arguments: argparse.Namespace) -> IndexPlace:
    """Return where the index is.

    Raises:
        UsageError: There are several folders and no `--index`.
    """
    if arguments.index is not None:
        return arguments.index
    if len(arguments.folders) > 1:
        raise UsageError("Several folders share one index: say where with --index DIR.")
    return arguments.folders[0] / DEFAULT_INDEX


def _check(arguments: argparse.Namespace, index: IndexPlace) -> int:
    """Tell what is wrong with an index; the code is 1 where something is left to mend."""
    report = check_index(index, repair=arguments.repair)
    if arguments.json:
        findings = [asdict(finding) for finding in report.findings]
        sound = report.is_sound
        print_json(
            {"index": str(index), "num_items": report.num_items, "sound": sound}
            | {"findings": findings}
        )
    else:
        for finding in report.findings:
            say(f"{finding.what} {finding.mended}".rstrip())
            for example in finding.examples:
                say(f"  {example}")
        count = f"The index {index} holds {report.num_items} pictures"
        if report.is_sound:
            say(f"{count} and is sound.")
        else:
            say(
                f"{count}. Mend it with: duet index {arguments.folders[0]} --index {index} --repair"
            )
    return 0 if report.is_sound else 1


def _import(arguments: argparse.Namespace, index: IndexPlace, engine: Engine) -> int:
    if len(arguments.folders) > 1:
        raise UsageError("Give --import the one folder that the pictures are in.")
    report = import_vectors(
        arguments.import_from, arguments.folders[0], index, engine.backbone, kit=engine.kit.name
    )
    if arguments.json:
        print_json({"index": str(index), "num_added": report.num_added, **_reasons(report.skipped)})
    else:
        say(f"{report.num_added} imported, {len(report.skipped)} left out. The index is {index}.")
        _list(report.skipped)
    return 0


def _tell(
    arguments: argparse.Namespace,
    report: IndexReport,
    index: IndexPlace,
    knows: str,
    published: Mapping[str, int],
) -> None:
    if arguments.json:
        counts = {name: value for name, value in asdict(report).items() if name.startswith("num_")}
        captions = [asdict(one) for one in report.captions_left_out]
        print_json(
            {"index": str(index), **counts, **_reasons(report.skipped)}
            | {"captions_left_out": captions, **published}
        )
        return
    say(
        f"{report.num_added} added, {report.num_kept} unchanged, {report.num_removed} removed, "
        f"{len(report.skipped)} left out. The index is {index}."
    )
    if report.num_moved or report.num_updated:
        say(f"{report.num_moved} moved, {report.num_updated} told anew, without embedding again.")
    if report.num_near:
        say(f"{report.num_near} are near-duplicates of another picture.")
    if published:
        say(f"Published to {arguments.publish}: {published['num_sent']} sent.")
    _list(report.skipped)
    _list(report.captions_left_out)
    if knows:
        say(knows)


def _reasons(skipped: Sequence[Skipped]) -> dict[str, object]:
    return {"skipped": [asdict(one) for one in skipped]}


def _list(skipped: Sequence[Skipped]) -> None:
    for one in skipped[:NUM_REASONS_SHOWN]:
        say(f"  left out {one.path}: {one.reason}")
    if len(skipped) > NUM_REASONS_SHOWN:
        say(f"  and {len(skipped) - NUM_REASONS_SHOWN} more; --json lists them all.")


def _known(
    items: Path | None, folders: Sequence[Path], index: IndexPlace
) -> Mapping[str, Mapping[str, str]]:
    """Read what a table knows of pictures; its paths start at its own folder, or at the root."""
    if items is None:
        return {}
    try:
        rows = pq.read_table(items, columns=["path", *KNOWN_COLUMNS]).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{items} must be a parquet file with path, {', '.join(KNOWN_COLUMNS)}."
        ) from error
    root = root_for(folders, index).resolve()

    def inside(path: str) -> str:
        file = (items.parent / path).resolve()
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else path

    known = {inside(row["path"]): {name: row[name] or "" for name in KNOWN_COLUMNS} for row in rows}
    if not any((root / path).is_file() for path in known):
        raise UsageError(
            f"{items} names no picture of {root}; its paths must start there or beside it."
        )
    return known
