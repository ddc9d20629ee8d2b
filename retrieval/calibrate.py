"""`python -m retrieval.calibrate`: calibration of a kit's confidence on validation designs."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.encoder_sets import Part, sketchy_of
from composer.data.instances import InstanceDataset
from composer.kit_parts import ComposerFiles
from composer.strategies import load_composer
from composer.strategies.protocol import Composer
from retrieval.benchmarks.confidence import (
    LabelledQuery,
    calibrate,
    confidence_rows,
    natural_gallery,
    natural_queries,
    pack_gallery,
    pack_queries,
)
from retrieval.confidence import save_calibrations
from retrieval.search import Gallery

# A query searches galleries of several sizes, as confidence must not depend on the size.
EVERY_NTH_DESIGN, EVERY_NTH_PHOTO = (1, 2, 3, 6), (1, 3)
Asked = tuple[Sequence[LabelledQuery], Gallery]
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the calibrations of a composer; return 2 after a user error."""
    parser = argparse.ArgumentParser(prog="python -m retrieval.calibrate", description=__doc__)
    parser.add_argument("--clip", type=Path, required=True, help="folder of the kit's CLIP")
    parser.add_argument("--composer", default="duet", help="name of the composer")
    parser.add_argument("--weights", type=Path, required=True, help="file of its weights")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--natural", type=Path, help="folder of the natural archives")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    chosen = parser.parse_args(arguments)
    try:
        backbone = Backbone.load(chosen.clip)
        composer = load_composer(chosen.composer, backbone, ComposerFiles(weights=chosen.weights))
        pack = CataloguePack.open(chosen.data)
        with tempfile.TemporaryDirectory() as folder:
            sources = [galleries_of_pack(pack, composer, backbone, Path(folder))]
            if chosen.natural is not None:
                photos = sketchy_of(chosen.natural, Part.VALIDATION)
                sources.append(galleries_of_photos(photos, composer, backbone, Path(folder)))
            calibrations = calibrate([asked for source in sources for asked in source])
            rows = [
                row
                for queries, gallery in (source[0] for source in sources)
                for row in confidence_rows(chosen.composer, queries, gallery, calibrations)
            ]
        save_calibrations(chosen.output, calibrations)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for row in rows:
        sys.stdout.write(f"{row}\n")
    return 0


def galleries_of_pack(
    pack: CataloguePack, composer: Composer, backbone: Backbone, folder: Path
) -> list[Asked]:
    """Return galleries of validation designs, of all first, each with the queries for them."""
    queries, rows = pack_queries(pack, composer), pack.validation_photos()
    items = [pack.items[row] for row in rows]
    designs = list({item.design: (item.kind, item.design) for item in items}.values())
    asked: list[Asked] = []
    for every in EVERY_NTH_DESIGN:
        kept = set(_thinned(designs, every))
        some = np.array([row for row in rows if pack.items[row].design in kept])
        gallery = pack_gallery(pack, some, backbone, folder / f"designs-{every}")
        asked.append(([query for row in some.tolist() for query in queries[row]], gallery))
    return asked


def galleries_of_photos(
    dataset: InstanceDataset, composer: Composer, backbone: Backbone, folder: Path
) -> list[Asked]:
    """Return galleries of photos of all classes, of all photos first, each with all queries."""
    queries = natural_queries(dataset, composer)
    named = [(photo.class_name, photo) for photo in dataset.photos]
    asked: list[Asked] = []
    for every in EVERY_NTH_PHOTO:
        part = replace(dataset, photos=tuple(_thinned(named, every)))
        asked.append((queries, natural_gallery(part, backbone, folder / f"photos-{every}")))
    return asked


def _thinned(named: Iterable[tuple[str, T]], every: int) -> list[T]:
    """Return every n-th of each kind, and the first of each in any case."""
    counts = Counter[str]()
    kept: list[T] = []
    for kind, one in named:
        if counts[kind] % every == 0:
            kept.append(one)
        counts[kind] += 1
    return kept


if __name__ == "__main__":
    sys.exit(main())
