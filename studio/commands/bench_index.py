"""`duet bench index`."""

import tempfile
from pathlib import Path
from typing import Any

from retrieval.benchmarks.indexing import rates, write_pictures
from studio.commands.options import BenchOptions
from studio.engine import Engine

NUM_PICTURES = 5000


def bench_index(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Index generated JPEGs, and encode them in two other ways."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        count = NUM_PICTURES if options.count is None else options.count
        write_pictures(folder, count, seed=options.seed)
        measured = rates(folder, Path(scratch), engine.kit.backbone, device=engine.device)
    _, bare, plain = measured
    return [
        {
            "what": rate.what,
            "num_images": rate.num_images,
            "images_per_s": round(rate.images_per_s, 2),
            "over_bare": round(rate.images_per_s / bare.images_per_s, 3),
            "over_plain": round(rate.images_per_s / plain.images_per_s, 3),
            "peak_rss_mib": rate.peak_rss_bytes >> 20,
        }
        for rate in measured
    ]
