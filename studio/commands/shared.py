"""Steps that several commands share: reading the query, opening the engine, printing."""

import errno
import json
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composer.composed import BALANCED, ComposedQuery, rebalance
from composer.errors import InputError
from composer.hardware import resolve_device, resolve_dtype
from composer.images import open_drawing, open_image
from composer.query import Query
from composer.sketch import Sketch
from composer.stroke_files import is_stroke_file, read_stroke_file
from generation.lora import LoraSource
from generation.memory_plan import Offload
from retrieval.store.address import IndexLocation
from retrieval.store.schema import MANIFEST
from studio.commands.options import KitOptions, QueryOptions
from studio.drawing import DrawingMode
from studio.engine import ComposeOptions, Engine
from studio.errors import UsageError
from studio.kits import Kit, load_kit

DEFAULT_INDEX = ".duet"

# Controls, marks that change the direction of writing, and halves of pairs.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def open_engine(
    options: KitOptions,
    loras: tuple[LoraSource, ...] = (),
    *,
    compiles: bool = False,
    kit: Kit | None = None,
) -> Engine:
    """Return the engine of a kit on a device.

    Args:
        options: The kit and the hardware; to draw fast, the kit's own choice for that.
        loras: LoRAs to draw with besides the kit's own.
        compiles: Compile blocks in the background, if images are to be drawn fast.
        kit: A kit of random weights in place of the one that the options name.

    Raises:
        KitError: There is no such kit.
        InputError: There is no such device or precision.
        LoraError: A LoRA is for another model.
    """
    has_random_weights, kit = kit is not None, kit or load_kit(options.kit)
    if options.fast and kit.fast:
        kit = load_kit(kit.fast)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    return Engine(
        kit,
        device=str(device),
        dtype=dtype,
        has_random_weights=has_random_weights,
        loras=loras,
        mode=DrawingMode(is_fast=options.fast, compiles=compiles, offload=Offload(options.offload)),
    )


def read_sketch(path: Path) -> Sketch:
    """Read a drawing: a file of strokes (JSON, QuickDraw, arrays, SVG), or a picture of it.

    Raises:
        UsageError: The file contains no drawing.
        ImageError: The picture cannot be read.
    """
    try:
        if is_stroke_file(path):
            return read_stroke_file(path)
        return Sketch.from_image(open_drawing(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read; check the path.") from error
    except InputError as error:
        raise UsageError(f"{path}: {error}") from error


def compose_query(engine: Engine, options: QueryOptions) -> tuple[Query | None, ComposedQuery]:
    """Compose the query of the options, or load a composed one; print notes on its words.

    Returns:
        The query as given (None where it was loaded), and the composed query.

    Raises:
        InputError: The query is empty.
        UsageError: The options contradict each other.
    """
    if options.saved_query is not None:
        if options.sketch or options.image or options.text or options.tokens:
            raise UsageError("Give --query alone, or --sketch, --image, --text and --token.")
        saved = ComposedQuery.load(options.saved_query)
        return None, saved if options.balance is None else rebalance(saved, options.balance)
    query = Query(
        sketch=read_sketch(options.sketch) if options.sketch else None,
        image=open_image(options.image) if options.image else None,
        text=options.text,
    )
    composed = engine.compose(query, compose_options(engine, options))
    for note in engine.notes_on_words(composed, query.text):
        warn(note)
    return query, composed


def compose_options(engine: Engine, options: QueryOptions) -> ComposeOptions:
    """Return composer and balance of the options, or the kit's composer and the middle."""
    return ComposeOptions(
        composer=options.composer or engine.default_composer,
        balance=BALANCED if options.balance is None else options.balance,
    )


def index_folder(folder: Path) -> Path:
    """Return the index of a folder: the folder itself, or the default index inside it."""
    inside = folder / DEFAULT_INDEX
    if not (folder / MANIFEST).exists() and (inside / MANIFEST).exists():
        return inside
    return folder


def index_of_option(location: IndexLocation | None) -> IndexLocation | None:
    """Return the index that the value of `--index` names; None where it was not given."""
    return index_folder(location) if isinstance(location, Path) else location


def print_json(value: Any) -> None:  # noqa: ANN401  any JSON value
    """Print one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    print(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # noqa: T201


def print_line(text: str) -> None:
    """Print one line of text."""
    print(without_controls(text))  # noqa: T201


def without_controls(text: str) -> str:
    """Return a text whose characters cannot steer a terminal; line ends and tabs are kept."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def warn(sentence: str) -> None:
    """Print a sentence on stderr."""
    print(f"duet: {without_controls(sentence)}", file=sys.stderr)  # noqa: T201


@contextmanager
def translate_save_errors(path: Path) -> Generator[None, None, None]:
    """Translate the failure to save a file into an error of the user.

    Raises:
        UsageError: The disk is full, or the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(not_saved(path, error)) from error


def not_saved(path: Path, error: OSError) -> str:
    """Return the sentence that says why a file could not be saved."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or "it cannot")
    return f"{path} could not be saved: {reason}."


class ProgressLine:
    """A line on stderr that counts up; silent unless stderr is a terminal."""

    def __init__(self, label: str, *, unit: str = "") -> None:
        """Name the count; with a unit, the rate and the time left are printed too."""
        self._label, self._unit, self._is_terminal = label, unit, sys.stderr.isatty()
        self._start: tuple[float, int] | None = None
        self._length = 0

    def __call__(self, done: int, total: int) -> None:
        """Redraw the line."""
        if self._is_terminal:
            line = f"{self._label} {done}/{total}{self._pace(done, total)}"
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r{line:<{self._length}}{end}")
            sys.stderr.flush()
            self._length = len(line)

    def _pace(self, done: int, total: int) -> str:
        """Return the rate since the first call, before which much of the work may be done."""
        self._start = self._start or (time.monotonic(), done)
        elapsed_s, fresh = time.monotonic() - self._start[0], done - self._start[1]
        if not self._unit or fresh <= 0 or elapsed_s <= 0:
            return ""
        left_s = round((total - done) * elapsed_s / fresh)
        left = f", {left_s // 60}:{left_s % 60:02} left" if left_s else ""
        return f", {fresh / elapsed_s:.0f} {self._unit}/s{left}"
