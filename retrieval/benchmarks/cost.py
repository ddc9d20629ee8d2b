"""Encoding time of drawings, relative to the kit's frozen vision tower."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, LightEncoder
from composer.strategies.reference import reference_medium, reference_pixels
from composer.vision import ImageEncoding

_Input = TypeVar("_Input")


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRow:
    """Row of the table; medians in milliseconds, alternated so that the ratio holds under load.

    Attributes:
        composer: Name of the composer.
        encode_ms: Time of `Composer.encode` for a drawing.
        tower_ms: Time of the frozen vision tower for the same drawing.
        ratio: The first over the second.
    """

    composer: str
    encode_ms: float
    tower_ms: float
    ratio: float


@torch.inference_mode()
def cost_row(composer: Composer, sketches: Sequence[Sketch]) -> CostRow:
    """Time every drawing once with each encoder; the first drawing is a warm-up.

    Raises:
        ValueError: There are fewer than two drawings.
    """
    backbone = composer.backbone

    def encode_by_tower(query: Query) -> None:
        pixels = reference_pixels(backbone, query)
        assert pixels is not None
        backbone.encode_image(pixels, reference_medium(query))

    queries = [Query(sketch=sketch) for sketch in sketches]
    encode, tower = _medians(composer.encode, encode_by_tower, queries)
    return CostRow(composer=composer.name, encode_ms=encode, tower_ms=tower, ratio=encode / tower)


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerRow:
    """Light tower against the frozen one, from pixels to tokens or feature, alternated.

    Attributes:
        composer: Name of the composer.
        tower_parameters: Number of weights of tower and token head.
        frozen_parameters: Number of weights of the frozen vision tower.
        light_ms: Median milliseconds per drawing, through tower and head.
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
    """Time every drawing once with each encoder; the first drawing is a warm-up.

    Raises:
        ValueError: There are fewer than two drawings.
    """
    backbone = composer.backbone
    drawn = [reference_pixels(backbone, Query(sketch=sketch)) for sketch in sketches]
    pixels = [levels for levels in drawn if levels is not None]

    def encode_by_tower(levels: Tensor) -> ImageEncoding:
        return backbone.encode_image(levels, Medium.DRAWING)

    light, frozen = _medians(composer.tokens, encode_by_tower, pixels)
    return TowerRow(
        composer=name,
        tower_parameters=composer.num_tower_parameters,
        frozen_parameters=sum(p.numel() for p in backbone.model.visual.parameters()),
        light_ms=light,
        frozen_ms=frozen,
        light_ratio=light / frozen,
    )


def _medians(
    ours: Callable[[_Input], object], theirs: Callable[[_Input], object], inputs: Sequence[_Input]
) -> tuple[float, float]:
    """Return the median milliseconds of both, alternated; the first input is a warm-up."""
    if len(inputs) < 2:
        raise ValueError(f"At least two drawings are needed, got {len(inputs)}.")
    times = [(_time_ms(ours, value), _time_ms(theirs, value)) for value in inputs][1:]
    our_times, their_times = zip(*times, strict=True)
    return statistics.median(our_times), statistics.median(their_times)


def _time_ms(action: Callable[[_Input], object], value: _Input) -> float:
    start = time.perf_counter()
    action(value)
    return 1000 * (time.perf_counter() - start)
