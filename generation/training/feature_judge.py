"""The second judge: a linear map of the public trunk's features, fitted to photos of train designs.

Run as a command it writes the judge and prints its accuracy on photos of validation designs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from PIL import Image

from composer.data.catalogue import PHOTO, CataloguePack
from composer.training.public_trunk import PublicFeatures
from generation.feature_judge import FeatureJudge

_CHUNK = 256
Features = Callable[[Sequence[Image.Image]], np.ndarray]
"""Features of pictures, one row each."""


def fit_feature_judge(pack: CataloguePack, see: Features) -> FeatureJudge:
    """Fit a judge to all photos of train designs."""
    rows = pack.rows(split="train", domain=PHOTO)
    return FeatureJudge.fit(features_of(pack, rows, see), [pack.items[row].kind for row in rows])


def features_of(pack: CataloguePack, rows: Int[np.ndarray, " n"], see: Features) -> np.ndarray:
    """Return the features of pictures, in the order of the rows."""
    parts: list[np.ndarray] = []
    for start in range(0, len(rows), _CHUNK):
        levels = pack.pixels(rows[start : start + _CHUNK], pack.image_px)
        parts.append(see([Image.fromarray(picture) for picture in levels]))
    return np.concatenate(parts)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--output", type=Path, required=True, help="where to write the judge")
    options = parser.parse_args(arguments)
    pack, see = CataloguePack.open(options.data), PublicFeatures()
    fit_feature_judge(pack, see).save(options.output)
    judge = FeatureJudge.load(options.output)
    rows = pack.validation_photos()
    named = judge.name(features_of(pack, rows, see))
    hits = np.array([name == pack.items[row].kind for name, row in zip(named, rows, strict=True)])
    sys.stdout.write(json.dumps({"num_pictures": len(rows), "kind_accuracy": hits.mean()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
