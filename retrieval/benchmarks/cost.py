"""What it costs to see a drawing: each composer beside the kit's frozen tower, in turn."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, LightEncoder
from composer.strategies.reference import reference_pixels

T = TypeVar("T")


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
    backbone = composer.backbone

    def see(query: Query) -> None:
        pixels = reference_pixels(backbone, query)
        assert pixels is not None
        backbone.encode_image(pixels)

    queries = [Query(sketch=sketch) for sketch in sketches]
    encode, tower = _medians(composer.encode, see, queries)
    return CostRow(composer=composer.name, encode_ms=encode, tower_ms=tower, ratio=encode / tower)


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerRow:
    """A light tower beside the frozen one, from pixels to tokens or feature, taken in turn.

    Attributes:
        composer: Which.
        tower_parameters: Weights of tower and token head.
        frozen_parameters: Weights of the frozen vision tower.
        light_ms: Median milliseconds of one drawing, through tower and head.
        frozen_ms: The same through the frozen tower.
        light_ratio: The first over the second.
    """

    composer: str
    tower_parameters: int
    frozen_parameters: int
    light_ms: float
    frozen_ms: float
    light_ratio: float


@torch.inference_mode()
def tower_row(name: str, composer: LightEncoder, sketches: Sequence[Sketch]) -> TowerRow:
    """Time every drawing once each way, after one that is not counted.

    Raises:
        ValueError: There are fewer than two drawings.
    """
    backbone = composer.backbone
    drawn = [reference_pixels(backbone, Query(sketch=sketch)) for sketch in sketches]
    pixels = [one for one in drawn if one is not None]
    light, frozen = _medians(composer.tokens, backbone.encode_image, pixels)
    return TowerRow(
        composer=name,
        tower_parameters=composer.num_tower_parameters,
        frozen_parameters=sum(p.numel() for p in backbone.model.visual.parameters()),
        light_ms=light,
        frozen_ms=frozen,
        light_ratio=light / frozen,
    )


def _medians(
    ours: Callable[[T], object], theirs: Callable[[T], object], given: Sequence[T]
) -> tuple[float, float]:
    """Median milliseconds of both, taken in turn; the first of each is not counted."""
    if len(given) < 2:
        raise ValueError(f"At least two drawings are needed, got {len(given)}.")
    times = [(_timed(ours, one), _timed(theirs, one)) for one in given][1:]
    mine, other = zip(*times, strict=True)
    return statistics.median(mine), statistics.median(other)


def _timed(act: Callable[[T], object], given: T) -> float:
    start = time.perf_counter()
    act(given)
    return 1000 * (time.perf_counter() - start)
