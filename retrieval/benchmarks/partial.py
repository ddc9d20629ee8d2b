"""Accuracy with partial sketches, by the share of strokes drawn."""

import math
from dataclasses import replace
from typing import Any

from composer.sketch import Sketch
from composer.strategies.protocol import Composer
from retrieval.benchmarks import catalogue
from retrieval.search import Gallery

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
MODES = ("sketch", "sketch+text")


def first_strokes(sketch: Sketch, share: float) -> Sketch:
    """Return a sketch of the first strokes, a share of them, at least one.

    Raises:
        ValueError: The sketch has no strokes, or the share is not in (0, 1].
    """
    if sketch.strokes is None:
        raise ValueError("Only a sketch with strokes can be shortened.")
    if not 0.0 < share <= 1.0:
        raise ValueError(f"`share` must be above 0 and at most 1, got {share}.")
    return Sketch(strokes=sketch.strokes[: math.ceil(share * len(sketch.strokes))])


def partial_rows(
    name: str, composer: Composer, protocol: catalogue.Protocol, gallery: Gallery
) -> list[dict[str, Any]]:
    """Rank the gallery with the first strokes of every sketch, share by share.

    Each row is one of `catalogue.table`, with `strokes`, the share of strokes drawn.
    """
    rows: list[dict[str, Any]] = []
    for share in SHARES:
        sketches = {d: first_strokes(sketch, share) for d, sketch in protocol.sketches.items()}
        part = replace(protocol, sketches=sketches)
        encoded = catalogue.encode_sketches(part, composer)
        for mode in MODES:
            queries = catalogue.composed_queries(part, composer, mode, encoded=encoded)
            ranks = catalogue.query_ranks(part, gallery, queries)
            table = catalogue.table(name, mode, part, ranks)
            rows += [{"strokes": share, **row.as_json()} for row in table]
    return rows
