"""Images drawn with levers of speed beside the plain call of diffusers on the same models."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from composer.composed import ComposedQuery
from composer.peak_memory import peak_bytes, start_peak
from composer.sketch import Sketch
from generation.levers import EXACT, FAST, LOSSY, Levers, for_device
from generation.peer import plain_images
from generation.request import DrawingSettings, GenerateRequest
from studio.engine import Engine

NUM_RUNS: Final = 5
LONG_S: Final = 20.0
"""A run that takes longer is not repeated."""
FEW_STEPS: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A way to draw.

    Attributes:
        promise: How close images are to the plain call's.
        levers: What is on.
        has_few_steps: Whether four steps without guidance are drawn, as kits with a LoRA of few
            steps do; with other weights, so that only the time says something.
    """

    promise: str
    levers: Levers
    has_few_steps: bool = False


COLUMNS: Final[Mapping[str, Column]] = {
    "exact": Column(promise="the same bytes", levers=EXACT),
    "close": Column(promise="equal but for rounding", levers=FAST),
    "lossy": Column(promise="another image", levers=LOSSY),
    "few-steps": Column(promise="another image", levers=FAST, has_few_steps=True),
}
PLAIN_COLUMN: Final = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What is drawn.

    Attributes:
        num_steps: Denoising steps.
        batches: Numbers of images at once.
        columns: Names in `COLUMNS`; the plain call is always drawn.
        controls: Whether the control network runs, each in turn.
    """

    num_steps: int
    batches: Sequence[int]
    columns: Sequence[str] = tuple(COLUMNS)
    controls: Sequence[bool] = (False, True)


def column_rows(
    engine: Engine, query: ComposedQuery, sketch: Sketch, workload: Workload
) -> Iterator[dict[str, Any]]:
    """Draw a workload in all columns, and yield a flat row for each.

    Raises:
        PipelineError: The kit does not draw, or a lever does not fit it.
        OutOfMemoryError: There is too little memory.
    """
    query = engine.drawable(query)
    controls = [one for one in workload.controls if engine.pipeline.has_control or not one]
    for batch in workload.batches:
        for has_control in controls:
            settings = DrawingSettings(
                num_images=batch,
                num_inference_steps=workload.num_steps,
                guidance_scale=engine.kit.drawing.guidance_scale,
            )
            request = GenerateRequest(
                query=query, control_sketch=sketch if has_control else None, settings=settings
            )
            yield from _rows_of(engine, request, workload.columns)


def _rows_of(
    engine: Engine, request: GenerateRequest, columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    pipeline, device = engine.pipeline, torch.device(engine.device)
    draw = plain_images(pipeline, request)
    plain = _measure(draw, device, request.settings.num_images)
    yield _row(pipeline.native_size_px, request, PLAIN_COLUMN, plain, plain) | {
        "difference": 0.0, "promise": "", "levers": "",
    }  # fmt: skip
    for name in columns:
        column = COLUMNS[name]
        asked = request
        if column.has_few_steps:
            few = replace(
                request.settings,
                num_inference_steps=min(FEW_STEPS, request.settings.num_inference_steps),
                guidance_scale=1.0,
            )
            asked = replace(request, settings=few)
        with pipeline.slot:
            pipeline.set_levers(for_device(column.levers, device.type))
        drawn = _measure(_ours(engine, asked), device, request.settings.num_images)
        on = pipeline.levers.names if not pipeline.problems else (*pipeline.levers.names, "failed")
        yield _row(pipeline.native_size_px, asked, name, drawn, plain) | {
            "difference": _difference(drawn.images, plain.images),
            "promise": column.promise,
            "levers": " ".join(on),
        }
        pipeline.free_memory()


def _ours(engine: Engine, request: GenerateRequest) -> Callable[[], list[Image.Image]]:
    """Return a function that draws as the program does; blocks are compiled before."""
    if engine.pipeline.levers.compiled:
        engine.generate(request)
        engine.pipeline.warm_up()
    return lambda: [one.image for one in engine.generate(request).images]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    images: list[Image.Image]
    ms_per_image: float
    peak_bytes: int


def _measure(draw: Callable[[], list[Image.Image]], device: torch.device, batch: int) -> _Measured:
    """Draw once to warm up, then several times; a slow first drawing is the only one."""
    start_peak(device)
    first_s, images = _timed(draw, device)
    durations = [first_s]
    if first_s < LONG_S:
        durations = [_timed(draw, device)[0] for _ in range(NUM_RUNS)]
    return _Measured(
        images=images,
        ms_per_image=1000 * statistics.median(durations) / batch,
        peak_bytes=peak_bytes(device),
    )


def _timed(
    draw: Callable[[], list[Image.Image]], device: torch.device
) -> tuple[float, list[Image.Image]]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    images = draw()  # images in main memory: all kernels are done
    return time.perf_counter() - start, images


def _row(
    side_px: int, request: GenerateRequest, column: str, ours: _Measured, plain: _Measured
) -> dict[str, Any]:
    settings = request.settings
    control = ", control network" if request.control_sketch is not None else ""
    return {
        "what": f"{side_px} px, {settings.num_inference_steps} steps, "
        f"batch {settings.num_images}{control}",
        "column": column,
        "ours_ms": round(ours.ms_per_image, 2),
        "peer": "the plain diffusers call",
        "peer_ms": round(plain.ms_per_image, 2),
        "ratio": round(plain.ms_per_image / ours.ms_per_image, 3),
        "peak_gb": round(ours.peak_bytes / 1e9, 3),
    }


def _difference(ours: Sequence[Image.Image], plain: Sequence[Image.Image]) -> float:
    """Return the largest difference of a channel of a pixel, of 255."""
    pairs = zip(ours, plain, strict=True)
    return max(
        float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max()) for a, b in pairs
    )
