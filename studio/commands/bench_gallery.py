"""The shipped gallery, for benchmarks of any kit."""

import atexit
import shutil
import tempfile
from pathlib import Path

from retrieval.indexing.encode import IndexOptions, index_folders
from retrieval.search import Gallery
from retrieval.store.table import Store
from studio.commands.index import read_items
from studio.commands.options import BenchOptions
from studio.commands.shared import ProgressLine
from studio.engine import Engine
from studio.errors import UsageError
from studio.kit_file import assets_folder


def shipped_gallery(engine: Engine) -> Gallery:
    """Return the shipped gallery as the kit's encoder sees it.

    For a kit of another encoder than that of the shipped index its pictures are indexed anew, in a
    temporary folder that ends with the process.

    Raises:
        GalleryError: The gallery is not there.
    """
    gallery = assets_folder() / "gallery"
    shipped = Store.open(gallery / "index").manifest.gallery_hash
    if shipped == engine.search_backbone.gallery_hash:
        return engine.gallery()
    folder = Path(tempfile.mkdtemp(prefix="duet-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pictures, index = gallery / "images", folder / "index"
    facts = read_items(gallery / "items.parquet", [pictures], index)
    index_folders(
        [pictures],
        index,
        engine.search_backbone,
        kit=engine.kit.name,
        options=IndexOptions(facts_by_path=facts),
        progress=ProgressLine("indexed", unit="images"),
    )
    return engine.gallery(index)


def count_of(options: BenchOptions, usual: int, *, least: int = 1) -> int:
    """Return the `--count` that was asked for, or the usual one.

    Raises:
        UsageError: It is too small.
    """
    count = usual if options.count is None else options.count
    if count < least:
        raise UsageError(f"--count must be at least {least:,} for this benchmark, got {count:,}.")
    return count
