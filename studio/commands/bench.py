"""`duet bench`."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from retrieval.benchmarks import catalogue
from studio.commands.shared import open_engine, print_json, say
from studio.engine import Engine
from studio.kits import assets_folder
from studio.speed import timings


def run(arguments: argparse.Namespace) -> int:
    """Measure, then print a table or JSON."""
    engine = open_engine(arguments)
    rows = BENCHES[arguments.what](engine)
    heading = {
        "bench": arguments.what,
        "kit": engine.kit.name,
        "date": datetime.now(UTC).date().isoformat(),
        "seed": arguments.seed,
    }
    if arguments.json:
        print_json({**heading, "rows": rows})
    else:
        say("  ".join(f"{name} {value}" for name, value in heading.items()))
        print_rows(rows)
    return 0


def bench_retrieval(engine: Engine) -> list[dict[str, Any]]:
    """Rank the shipped gallery for every composer and mode, and for the backbone alone.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
    """
    gallery = engine.gallery()
    protocol = catalogue.read_protocol(gallery, assets_folder() / "gallery")
    ranks = {}
    rows: list[dict[str, Any]] = []
    for name in engine.kit.composers:
        for mode in catalogue.MODES:
            features = catalogue.query_features(protocol, engine.composer(name), mode)
            ranks[name, mode] = catalogue.ranks(protocol, gallery, features)
            rows += [
                row.as_json() for row in catalogue.table(name, mode, protocol, ranks[name, mode])
            ]
    rows += _gains(ranks, protocol)
    kinds = sorted({case.kind for case in protocol.cases})
    for row in catalogue.clip_rows(protocol, gallery, engine.backbone, kinds):
        rows.append(
            {
                "composer": "backbone",
                "query": "caption",
                "split": row.split,
                "R@10": row.caption_recall_10,
                "kind_accuracy": row.kind_accuracy,
            }
        )
    return rows


def bench_speed(engine: Engine) -> list[dict[str, Any]]:
    """Time the chain."""
    return [timing.as_json() for timing in timings(engine, str(engine.kit.folder))]


BENCHES = {"retrieval": bench_retrieval, "speed": bench_speed}


def _gains(ranks: Mapping[Any, Any], protocol: catalogue.Protocol) -> list[dict[str, Any]]:
    both = ranks.get(("duet", "sketch+text"))
    if both is None:
        return []
    rivals = [key for key in ranks if key != ("duet", "sketch+text")]
    rows: list[dict[str, Any]] = []
    for split, mask in (("seen", protocol.seen), ("unseen", ~protocol.seen)):
        for name, mode in rivals if mask.any() else []:
            gap = catalogue.gain(both, ranks[name, mode], mask)
            rows.append(
                {
                    "composer": f"duet minus {name}",
                    "query": mode,
                    "split": split,
                    "acc@1": gap.mean,
                    "acc_1_low": gap.low,
                    "acc_1_high": gap.high,
                }
            )
    return rows


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print flat rows as a table; rows with other fields start a table of their own."""
    fields: list[str] = []
    for row in rows:
        if list(row) != fields:
            fields = list(row)
            say("")
            say("  ".join(f"{name:>14}" for name in fields))
        shown = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        say("  ".join(f"{value:>14}" for value in shown))
