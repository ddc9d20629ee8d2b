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
from retrieval.store.location import IndexPlace, base_of
from retrieval.store.maintenance import check_index, discard_index
from retrieval.store.roots import root_for
from retrieval.store.table import Store
from studio.commands.options import IndexCommandOptions
from studio.commands.search import DEFAULT_INDEX
from studio.commands.shared import ProgressLine, open_engine, print_json, print_line
from studio.engine import NO_MILVUS, Engine
from studio.errors import UsageError

NUM_REASONS_SHOWN = 20
NO_RAY = "--engine ray needs the library ray: pip install 'duet-studio[cluster]'"
KNOWN_COLUMNS = ("kind", "domain", "caption")


def run(options: IndexCommandOptions) -> int:
    """Do what is asked with an index: update, watch, check, import or export."""
    index = _place(options)
    if options.check or options.repair:
        return _check(options, index)
    if options.export_to is not None:
        num_rows = export_vectors(Store.open(index), options.export_to)
        print_line(f"{num_rows} vectors are in {options.export_to}.")
        return 0
    known = _known(options.items, options.folders, index)
    engine = open_engine(options.kit)
    if options.rebuild and base_of(index).is_made:
        discard_index(index)
    if options.import_from is not None:
        return _import(options, options.import_from, index, engine)

    how = IndexOptions(known=known, near=options.near)
    embedder = _cluster(engine, how) if options.engine == "ray" else None

    def update() -> IndexReport:
        return index_folders(
            options.folders,
            index,
            engine.backbone,
            kit=engine.kit.name,
            options=how,
            embedder=embedder,
            progress=ProgressLine("indexed", unit="images"),
        )

    def tell(knows: str) -> None:
        report = update()
        _set_engine(options, index)
        _tell(options, report, index, knows, publish(options, index))

    tell(engine.kit.knows)
    if options.watch:
        watch(options.folders, index if isinstance(index, Path) else None, lambda: tell(""))
    return 0


def _cluster(engine: Engine, options: IndexOptions) -> Embedder:
    try:
        from retrieval.indexing.cluster import ClusterEmbedder
    except ImportError as error:
        raise UsageError(NO_RAY) from error
    return ClusterEmbedder(
        engine.kit.backbone, engine.backbone.gallery_hash, device=engine.device, options=options
    )


def _set_engine(options: IndexCommandOptions, index: IndexPlace) -> None:
    """Build LanceDB's own index, or drop it; nothing where nothing is said."""
    if options.engine not in ("exact", "lance"):
        return
    on_disk = LanceIndex(Store.open(index))
    if options.engine == "exact":
        on_disk.drop()
    elif not on_disk.is_built and not on_disk.build(min_rows=MIN_ROWS) and not options.json:
        print_line(f"Fewer than {MIN_ROWS:,} pictures are searched exactly: that is as fast.")


def publish(options: IndexCommandOptions, index: IndexPlace) -> dict[str, int]:
    """Send an index to Milvus where that is asked for; returns what became of its items."""
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


def _place(options: IndexCommandOptions) -> IndexPlace:
    """Return where the index is.

    Raises:
        UsageError: There are several folders and no `--index`.
    """
    if options.index is not None:
        return options.index
    folder, *others = options.folders
    if others:
        raise UsageError("Several folders share one index: say where with --index DIR.")
    return folder / DEFAULT_INDEX


def _check(options: IndexCommandOptions, index: IndexPlace) -> int:
    """Tell what is wrong with an index; the code is 1 where something is left to mend."""
    report = check_index(index, repair=options.repair)
    if options.json:
        findings = [asdict(finding) for finding in report.findings]
        sound = report.is_sound
        print_json(
            {"index": str(index), "num_items": report.num_items, "sound": sound}
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
                f"{count}. Mend it with: duet index {options.folders[0]} --index {index} --repair"
            )
    return 0 if report.is_sound else 1


def _import(options: IndexCommandOptions, vectors: Path, index: IndexPlace, engine: Engine) -> int:
    folder, *others = options.folders
    if others:
        raise UsageError("Give --import the one folder that the pictures are in.")
    report = import_vectors(vectors, folder, index, engine.backbone, kit=engine.kit.name)
    if options.json:
        print_json({"index": str(index), "num_added": report.num_added, **_reasons(report.skipped)})
    else:
        print_line(
            f"{report.num_added} imported, {len(report.skipped)} left out. The index is {index}."
        )
        _list(report.skipped)
    return 0


def _tell(
    options: IndexCommandOptions,
    report: IndexReport,
    index: IndexPlace,
    knows: str,
    published: Mapping[str, int],
) -> None:
    if options.json:
        counts = {name: value for name, value in asdict(report).items() if name.startswith("num_")}
        captions = [asdict(one) for one in report.captions_left_out]
        print_json(
            {"index": str(index), **counts, **_reasons(report.skipped)}
            | {"captions_left_out": captions, **published}
        )
        return
    print_line(
        f"{report.num_added} added, {report.num_kept} unchanged, {report.num_removed} removed, "
        f"{len(report.skipped)} left out. The index is {index}."
    )
    if report.num_moved or report.num_updated:
        print_line(
            f"{report.num_moved} moved, {report.num_updated} told anew, without embedding again."
        )
    if report.num_near:
        print_line(f"{report.num_near} are near-duplicates of another picture.")
    if published:
        print_line(f"Published to {options.publish}: {published['num_sent']} sent.")
    _list(report.skipped)
    _list(report.captions_left_out)
    if knows:
        print_line(knows)


def _reasons(skipped: Sequence[Skipped]) -> dict[str, object]:
    return {"skipped": [asdict(one) for one in skipped]}


def _list(skipped: Sequence[Skipped]) -> None:
    for one in skipped[:NUM_REASONS_SHOWN]:
        print_line(f"  left out {one.path}: {one.reason}")
    if len(skipped) > NUM_REASONS_SHOWN:
        print_line(f"  and {len(skipped) - NUM_REASONS_SHOWN} more; --json lists them all.")


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
