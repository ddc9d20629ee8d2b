"""`duet index`."""

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
from retrieval.store.address import IndexLocation
from retrieval.store.location import storage_at
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.roots import root_for
from retrieval.store.table import Store
from studio.commands.options import IndexCommandOptions
from studio.commands.shared import DEFAULT_INDEX, ProgressLine, open_engine, print_json, print_line
from studio.engine import Engine
from studio.errors import UsageError
from studio.galleries import NO_MILVUS

NUM_LISTED = 20
NO_RAY = "--engine ray needs the library ray: pip install 'duet-studio[cluster]'"
METADATA_COLUMNS = ("kind", "domain", "caption")


def run(options: IndexCommandOptions) -> int:
    """Update, watch, check, import or export an index."""
    index = _index_location(options)
    if options.check or options.repair:
        return _check(options, index)
    if options.export_to is not None:
        num_rows = export_vectors(Store.open(index), options.export_to)
        print_line(f"{num_rows} vectors were written to {options.export_to}.")
        return 0
    items = read_items(options.items, options.folders, index)
    engine = open_engine(options.kit)
    if options.rebuild and storage_at(index).exists:
        discard_index(index)
    if options.import_from is not None:
        return _import(options, options.import_from, index, engine)

    index_options = IndexOptions(facts_by_path=items, near=options.near)
    embedder = _cluster_embedder(engine, index_options) if options.engine == "ray" else None

    def update() -> IndexReport:
        return index_folders(
            options.folders,
            index,
            engine.search_backbone,
            kit=engine.kit.name,
            options=index_options,
            embedder=embedder,
            progress=ProgressLine("indexed", unit="images"),
        )

    def update_and_report(note: str) -> None:
        report = update()
        _set_engine(options, index)
        _print_report(options, report, index, note, publish(options, index))

    update_and_report(engine.kit.knows)
    if options.watch:
        watch(
            options.folders,
            index if isinstance(index, Path) else None,
            lambda: update_and_report(""),
        )
    return 0


def _cluster_embedder(engine: Engine, options: IndexOptions) -> Embedder:
    try:
        from retrieval.indexing.cluster import ClusterEmbedder
    except ImportError as error:
        raise UsageError(NO_RAY) from error
    return ClusterEmbedder(
        engine.kit.search_tower.backbone,
        engine.search_backbone.gallery_hash,
        device=engine.device,
        options=options,
    )


def _set_engine(options: IndexCommandOptions, index: IndexLocation) -> None:
    """Build LanceDB's vector index, or drop it; do nothing without `--engine`."""
    if options.engine not in ("exact", "lance"):
        return
    lance = LanceIndex(Store.open(index))
    if options.engine == "exact":
        lance.drop()
    elif not lance.is_built and not lance.build(min_rows=MIN_ROWS) and not options.json:
        print_line(f"Fewer than {MIN_ROWS:,} pictures: exact search is as fast and stays in use.")


def publish(options: IndexCommandOptions, index: IndexLocation) -> dict[str, int]:
    """Send an index to Milvus if `--publish` is given; return the counts of its items."""
    if not options.publish:
        return {}
    try:
        from retrieval.indexing.publish import publish as send
    except ImportError as error:
        raise UsageError(NO_MILVUS) from error
    report = send(
        Store.open(index),
        options.publish,
        root=options.publish_root,
        rebuild=options.rebuild,
        progress=ProgressLine("published"),
    )
    return {"num_sent": report.num_sent, "num_withdrawn": report.num_removed}


def _index_location(options: IndexCommandOptions) -> IndexLocation:
    """Return the path or the address of the index.

    Raises:
        UsageError: There are several folders and no `--index`.
    """
    if options.index is not None:
        return options.index
    folder, *others = options.folders
    if others:
        raise UsageError("Several folders share one index: choose its location with --index DIR.")
    return folder / DEFAULT_INDEX


def _check(options: IndexCommandOptions, index: IndexLocation) -> int:
    """Print the findings of a check; return 1 if some need a repair."""
    report = check_index(index, repair=options.repair)
    if options.json:
        findings = [asdict(finding) for finding in report.findings]
        print_json(
            {"index": str(index), "num_items": report.num_items, "sound": report.is_sound}
            | {"findings": findings}
        )
    else:
        for finding in report.findings:
            print_line(f"{finding.what} {finding.mended}".rstrip())
            for example in finding.examples:
                print_line(f"  {example}")
        count = f"The index {index} holds {report.num_items} pictures"
        if report.is_sound:
            print_line(f"{count} and is sound.")
        else:
            print_line(
                f"{count}. Repair it with: duet index {options.folders[0]} --index {index} --repair"
            )
    return 0 if report.is_sound else 1


def _import(
    options: IndexCommandOptions, vectors: Path, index: IndexLocation, engine: Engine
) -> int:
    folder, *others = options.folders
    if others:
        raise UsageError("--import takes one folder, which contains the pictures.")
    report = import_vectors(vectors, folder, index, engine.search_backbone, kit=engine.kit.name)
    if options.json:
        print_json(
            {"index": str(index), "num_added": report.num_added, **_skipped_as_json(report.skipped)}
        )
    else:
        print_line(
            f"{report.num_added} imported, {len(report.skipped)} skipped. The index is {index}."
        )
        _print_skipped(report.skipped)
    return 0


def _print_report(
    options: IndexCommandOptions,
    report: IndexReport,
    index: IndexLocation,
    note: str,
    published: Mapping[str, int],
) -> None:
    if options.json:
        counts = {name: value for name, value in asdict(report).items() if name.startswith("num_")}
        captions = [asdict(skipped) for skipped in report.captions_left_out]
        print_json(
            {"index": str(index), **counts, **_skipped_as_json(report.skipped)}
            | {"captions_left_out": captions, **published}
        )
        return
    print_line(
        f"{report.num_added} added, {report.num_kept} unchanged, {report.num_removed} removed, "
        f"{len(report.skipped)} skipped. The index is {index}."
    )
    if report.num_moved or report.num_updated:
        print_line(
            f"{report.num_moved} moved, {report.num_updated} updated, without encoding them again."
        )
    if report.num_near:
        print_line(f"{report.num_near} are near-duplicates of other pictures.")
    if published:
        print_line(f"Published to {options.publish}: {published['num_sent']} sent.")
    _print_skipped(report.skipped)
    _print_skipped(report.captions_left_out)
    if note:
        print_line(note)


def _skipped_as_json(skipped: Sequence[Skipped]) -> dict[str, object]:
    return {"skipped": [asdict(file) for file in skipped]}


def _print_skipped(skipped: Sequence[Skipped]) -> None:
    for file in skipped[:NUM_LISTED]:
        print_line(f"  skipped {file.path}: {file.reason}")
    if len(skipped) > NUM_LISTED:
        print_line(f"  and {len(skipped) - NUM_LISTED} more; --json lists them all.")


def read_items(
    items: Path | None, folders: Sequence[Path], index: IndexLocation
) -> Mapping[str, Mapping[str, str]]:
    """Read the metadata of pictures; paths start at the table's folder, or at the root."""
    if items is None:
        return {}
    try:
        rows = pq.read_table(items, columns=["path", *METADATA_COLUMNS]).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{items} must be a parquet file with path, {', '.join(METADATA_COLUMNS)}."
        ) from error
    root = root_for(folders, index).resolve()

    def below_root(path: str) -> str:
        file = (items.parent / path).resolve()
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else path

    metadata = {
        below_root(row["path"]): {name: row[name] or "" for name in METADATA_COLUMNS}
        for row in rows
    }
    if not any((root / path).is_file() for path in metadata):
        raise UsageError(
            f"{items} names no picture of {root}; its paths must start there or at its folder."
        )
    return metadata
