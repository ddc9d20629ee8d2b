"""What it costs to see a drawing: each composer beside the kit's frozen tower, in turn."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer
from composer.strategies.reference import reference_pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRow:
    """One line; medians in milliseconds, taken in turn so that their ratio holds on a busy machine.

    Attributes:
        composer: Which.
        encode_ms: From a drawing to what `compose` needs.
        tower_ms: From the same drawing through the frozen vision tower.
        ratio: The first over the second.
    """

    composer: str
    encode_ms: float
    tower_ms: float
    ratio: float


@torch.inference_mode()
def cost_row(composer: Composer, sketches: Sequence[Sketch]) -> CostRow:
    """Time every drawing once each way, after one that is not counted.

    Raises:
        ValueError: There are fewer than two drawings.
    """
    if len(sketches) < 2:
        raise ValueError(f"At least two drawings are needed, got {len(sketches)}.")
    backbone = composer.backbone

    def see(query: Query) -> None:
        pixels = reference_pixels(backbone, query)
        assert pixels is not None
        backbone.encode_image(pixels)

    times: dict[str, list[float]] = {"encode": [], "tower": []}
    for number, sketch in enumerate(sketches):
        query = Query(sketch=sketch)
        found = {"encode": _timed(composer.encode, query), "tower": _timed(see, query)}
        for name, spent in found.items() if number else ():
            times[name].append(spent)
    encode, tower = (statistics.median(times[name]) for name in ("encode", "tower"))
    return CostRow(composer=composer.name, encode_ms=encode, tower_ms=tower, ratio=encode / tower)


def _timed(act: Callable[[Query], object], query: Query) -> float:
    start = time.perf_counter()
    act(query)
    return 1000 * (time.perf_counter() - start)
