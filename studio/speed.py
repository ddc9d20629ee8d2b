"""Timings of the studio, beside the underlying library calls."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from composer.composed import ComposedQuery, rebalance
from composer.query import Query
from composer.sketch import Sketch
from generation.peer import plain_call
from generation.request import DrawingSettings, GenerateRequest, TransferRequest, settings_of
from studio.engine import ComposeOptions, Engine
from studio.kit_file import assets_folder

NUM_RUNS = 30
NUM_DRAWINGS = 5
SKETCH = [[[0.2, 0.9], [0.25, 0.1], [0.7, 0.1], [0.75, 0.9]], [[0.25, 0.5], [0.7, 0.5]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Median milliseconds of one action, and of the action it is compared with."""

    what: str
    ours_ms: float
    peer: str = ""
    peer_ms: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return the flat row of `duet bench speed --json`."""
        ratio = None if self.peer_ms is None else round(self.peer_ms / self.ours_ms, 3)
        peer_ms = None if self.peer_ms is None else round(self.peer_ms, 2)
        return {
            "what": self.what,
            "ours_ms": round(self.ours_ms, 2),
            "peer": self.peer,
            "peer_ms": peer_ms,
            "ratio": ratio,
        }


def timings(engine: Engine, kit: str) -> list[Timing]:
    """Time queries, searches and drawings on the shipped gallery.

    Raises:
        GalleryError: The gallery is not there, or not indexed by this kit.
    """
    sketch = Sketch.from_strokes([np.array(stroke) for stroke in SKETCH])
    composer = engine.composer(ComposeOptions().composer)
    pixels = torch.zeros(
        1, 3, engine.search_backbone.image_size_px, engine.search_backbone.image_size_px
    )
    with torch.inference_mode():
        encoded = composer.encode(Query(sketch=sketch))
        composed = composer.compose(encoded, "brown leather")
        gallery = engine.gallery()
        matrix = gallery.matrix.similarities
        rows = [
            Timing(
                what="encode a new drawing",
                ours_ms=median_ms(lambda: composer.encode(Query(sketch=sketch))),
                peer="the bare vision tower",
                peer_ms=median_ms(lambda: engine.search_backbone.model.visual(pixels)),
            ),
            Timing(
                what="compose after a change of words",
                ours_ms=median_ms(lambda: composer.compose(encoded, "brown leather")),
                peer="one bare text encoding",
                peer_ms=median_ms(lambda: engine.search_backbone.encode_text(["brown leather"])),
            ),
            Timing(what="change the balance", ours_ms=median_ms(lambda: rebalance(composed, 0.7))),
            Timing(
                what=f"search {len(gallery)} pictures, and re-rank",
                ours_ms=median_ms(lambda: gallery.search(composed)),
            ),
            Timing(
                what=f"search {len(gallery)} pictures",
                ours_ms=median_ms(lambda: gallery.search(composed, rerank=False)),
                peer="the bare matrix product",
                peer_ms=median_ms(lambda: matrix(composed.feature[None])),
            ),
            Timing(what="duet search, a new process", ours_ms=_process_ms(kit)),
            Timing(what="duet --help, a new process", ours_ms=_command_ms("--help")),
        ]
    if engine.kit.pipeline is not None:
        rows += drawing_timings(engine, engine.kit.pipeline, sketch, composed)
    return rows


def drawing_timings(
    engine: Engine, pipeline: Path, sketch: Sketch, composed: ComposedQuery
) -> list[Timing]:
    """Time one image each way, beside the plain diffusers call on the same folder.

    Raises:
        PipelineError: The pipeline does not belong to the backbone.
    """
    side = engine.pipeline.native_size_px
    plain = GenerateRequest(query=composed)
    source = Image.new("RGB", (side, side), "white")
    uncontrolled = DrawingSettings(controlnet_conditioning_scale=0.0)
    moved = TransferRequest(query=composed, source=source, settings=uncontrolled)
    as_kit = GenerateRequest(
        query=composed,
        control_sketch=sketch if engine.pipeline.has_control else None,
        settings=settings_of(engine.kit.drawing),
    )
    kit = engine.kit.drawing.for_transfer()
    usual = replace(moved, strength=kit.strength, settings=settings_of(kit))
    timings = [
        Timing(
            what=f"generate, {side} px, {plain.settings.num_inference_steps} steps",
            ours_ms=median_ms(lambda: engine.generate(plain), NUM_DRAWINGS),
            peer="the plain diffusers call",
            peer_ms=median_ms(plain_call(pipeline, plain), NUM_DRAWINGS),
        ),
        Timing(
            what="generate, as the kit does it",
            ours_ms=median_ms(lambda: engine.generate(as_kit), NUM_DRAWINGS),
        ),
        Timing(
            what=f"transfer, {side} px, strength {moved.strength:g}",
            ours_ms=median_ms(lambda: engine.transfer(moved), NUM_DRAWINGS),
        ),
        Timing(
            what="transfer, as the kit does it",
            ours_ms=median_ms(lambda: engine.transfer(usual), NUM_DRAWINGS),
        ),
    ]
    if not engine.kit.drawing.is_few_step:
        faithful = replace(usual, is_faithful=True)
        timings.append(
            Timing(
                what="transfer, faithful",
                ours_ms=median_ms(lambda: engine.transfer(faithful), NUM_DRAWINGS),
            )
        )
    if engine.pipeline.has_control:
        drawn = GenerateRequest(query=composed, control_sketch=sketch)
        timings.append(
            Timing(
                what="generate, with the control network",
                ours_ms=median_ms(lambda: engine.generate(drawn), NUM_DRAWINGS),
            )
        )
    return timings


def median_ms(action: Callable[[], object], num_runs: int = NUM_RUNS) -> float:
    """Return the median duration of an action after three warm-up runs."""
    for _ in range(3):
        action()
    durations: list[float] = []
    for _ in range(num_runs):
        started = time.perf_counter()
        action()
        durations.append(time.perf_counter() - started)
    return 1000 * statistics.median(durations)


def _process_ms(kit: str) -> float:
    example: Path = next(iter(sorted((assets_folder() / "gallery" / "images").iterdir())))
    return _command_ms("search", "--image", str(example), "--text", "red", "--kit", kit)


def _command_ms(*arguments: str) -> float:
    command = [sys.executable, "-m", "studio", *arguments]
    return median_ms(lambda: subprocess.run(command, check=True, capture_output=True), num_runs=3)
