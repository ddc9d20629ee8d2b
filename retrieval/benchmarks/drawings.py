"""Agreement of the hits of drawings as people have them with those of clean drawings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from composer.errors import InputError
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer
from retrieval.benchmarks.drawing_kinds import KINDS, clean_picture
from retrieval.search import Gallery

NUM_HITS = 10
ENOUGH = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class KindRow:
    """Row of the table.

    Attributes:
        kind: How the drawings look.
        num_drawings: Drawings of the kind.
        read: Share of them that are read at all.
        agree: Share whose first ten hits are at least eight of the clean drawing's.
        overlap: Mean share of the clean drawing's first ten hits.
    """

    kind: str
    num_drawings: int
    read: float
    agree: float
    overlap: float


@torch.inference_mode()
def drawing_rows(
    composer: Composer, gallery: Gallery, sketches: Sequence[Sketch], *, seed: int
) -> list[dict[str, Any]]:
    """Compare the hits of each kind of picture with those of the clean pictures."""
    pages = [clean_picture(sketch) for sketch in sketches]
    clean = [_hits(composer, gallery, page) for page in pages]
    rows: list[dict[str, Any]] = []
    for number, (kind, make) in enumerate(KINDS.items()):
        rng = np.random.default_rng((seed, number))
        hits = [_hits(composer, gallery, make(page, rng)) for page in pages]
        shares = [len(a & b) / NUM_HITS for a, b in zip(clean, hits, strict=True)]
        row = KindRow(
            kind=kind,
            num_drawings=len(pages),
            read=float(np.mean([bool(ids) for ids in hits])),
            agree=float(np.mean([share >= ENOUGH for share in shares])),
            overlap=float(np.mean(shares)),
        )
        rows.append(asdict(row))
    return rows


def _hits(composer: Composer, gallery: Gallery, picture: Image.Image) -> set[str]:
    """Return the ids of the first hits of a drawing; none if the picture looks blank."""
    try:
        sketch = Sketch.from_image(picture)
    except InputError:
        return set()
    query = composer.compose(composer.encode(Query(sketch=sketch)), "")
    return {hit.id for hit in gallery.search(query, top_k=NUM_HITS).hits}
