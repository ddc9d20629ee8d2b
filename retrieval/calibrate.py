"""`python -m retrieval.calibrate`: calibration of a kit's confidence on validation designs."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.encoder_sets import Part, sketchy_of
from composer.kit_parts import ComposerFiles
from composer.strategies import load_composer
from retrieval.benchmarks.confidence import (
    calibrate,
    confidence_rows,
    natural_gallery,
    natural_queries,
    pack_gallery,
    pack_queries,
)
from retrieval.confidence import save_calibrations


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
            asked = [
                (pack_queries(pack, composer), pack_gallery(pack, backbone, Path(folder, "p")))
            ]
            if chosen.natural is not None:
                photos = sketchy_of(chosen.natural, Part.VALIDATION)
                gallery = natural_gallery(photos, backbone, Path(folder, "n"))
                asked.append((natural_queries(photos, composer), gallery))
            calibrations = calibrate(asked)
            rows = [
                row
                for queries, gallery in asked
                for row in confidence_rows(chosen.composer, queries, gallery, calibrations)
            ]
        save_calibrations(chosen.output, calibrations)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for row in rows:
        sys.stdout.write(f"{row}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
