"""The judge of transferred pictures, fitted to train designs in every domain.

Run as a command it writes the judge's two files and prints how often it is right on pictures of
other designs. Both folders are made by `python -m assets.catalogue domains`, one with
`--split train`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from composer.data.domain_pictures import NAMED, UNNAMED, DomainPicture, read_domain_pictures
from composer.images import open_image
from composer.training.public_trunk import PublicFeatures
from generation.domain_judge import DOMAINS_FILE, KINDS_FILE, DomainJudge, Features, reduced
from generation.feature_judge import FeatureJudge

_CHUNK = 256


def fit_domain_judge(pictures: Sequence[DomainPicture], see: Features) -> DomainJudge:
    """Fit a judge to pictures of known kind and domain."""
    features = np.concatenate(
        [
            see([reduced(open_image(one.file)) for one in pictures[start : start + _CHUNK]])
            for start in range(0, len(pictures), _CHUNK)
        ]
    )
    return DomainJudge(
        kinds=FeatureJudge.fit(features, [one.kind for one in pictures]),
        domains=FeatureJudge.fit(features, [one.domain for one in pictures]),
        see=see,
    )


def measure_domain_judge(
    judge: DomainJudge, pictures: Sequence[DomainPicture]
) -> dict[str, dict[str, float]]:
    """Return the shares of pictures with the right kind and domain, for each domain."""
    named = judge.assess([open_image(one.file) for one in pictures])
    figures: dict[str, dict[str, float]] = {}
    for domain in dict.fromkeys(one.domain for one in pictures):
        pairs = [(n, p) for n, p in zip(named, pictures, strict=True) if p.domain == domain]
        figures[domain] = {
            "kind_accuracy": float(np.mean([n.kind == p.kind for n, p in pairs])),
            "domain_accuracy": float(np.mean([n.domain == domain for n, _ in pairs])),
        }
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of train designs")
    parser.add_argument("--check", type=Path, required=True, help="folder of other designs")
    parser.add_argument("--output", type=Path, required=True, help="folder to write the judge to")
    options = parser.parse_args(arguments)
    see = PublicFeatures()
    judge = fit_domain_judge(read_domain_pictures(options.data, NAMED, UNNAMED), see)
    options.output.mkdir(parents=True, exist_ok=True)
    judge.kinds.save(options.output / KINDS_FILE)
    judge.domains.save(options.output / DOMAINS_FILE)
    judge = DomainJudge.load(options.output, see)
    others = read_domain_pictures(options.check, NAMED, UNNAMED)
    sys.stdout.write(json.dumps(measure_domain_judge(judge, others)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
