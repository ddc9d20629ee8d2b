"""`duet bench drawings`: photographed and exported drawings beside the clean ones."""

from pathlib import Path
from typing import Any

import numpy as np

from composer.data import archives
from composer.data.qmul import chairv2_parts, open_chairv2
from composer.sketch import Sketch
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.drawings import drawing_rows
from studio.commands.bench_gallery import shipped_gallery
from studio.commands.options import BenchOptions
from studio.engine import DEFAULT_COMPOSER, Engine
from studio.kit_file import assets_folder

NUM_DRAWINGS = 20


def bench_drawings(engine: Engine, options: BenchOptions) -> list[dict[str, Any]]:
    """Search the shipped gallery with drawings of each kind; half are ChairV2's with `--natural`.

    Raises:
        GalleryError: The gallery is not there.
        DatasetError: The archive of ChairV2 is missing or has another layout.
    """
    gallery = shipped_gallery(engine)
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    rng = np.random.default_rng(options.seed)
    sketches = _chosen(list(protocol.sketches.values()), NUM_DRAWINGS, rng)
    if options.natural is not None:
        half = NUM_DRAWINGS // 2
        sketches = sketches[:half] + _chosen(_chairs(options.natural), half, rng)
    return drawing_rows(engine.composer(DEFAULT_COMPOSER), gallery, sketches, seed=options.seed)


def _chairs(folder: Path) -> list[Sketch]:
    chairs = chairv2_parts(open_chairv2(folder / archives.CHAIRV2)).held_out
    return [chairs.sketch(drawing) for drawing in chairs.drawings]


def _chosen(sketches: list[Sketch], count: int, rng: np.random.Generator) -> list[Sketch]:
    return [sketches[i] for i in rng.permutation(len(sketches))[:count]]
