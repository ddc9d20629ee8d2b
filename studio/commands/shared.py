"""What several commands do: read the query, open the engine, print."""

import argparse
import errno
import json
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.images import open_image
from composer.query import Query
from composer.sketch import Sketch
from studio.engine import Composition, Engine
from studio.errors import UsageError
from studio.kits import load_kit


def open_engine(arguments: argparse.Namespace) -> Engine:
    """Make the engine of the chosen kit and device.

    Raises:
        KitError: There is no such kit.
        UsageError: There is no such device.
    """
    try:
        torch.empty(0, device=arguments.device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"There is no device {arguments.device!r} on this machine.") from error
    return Engine(load_kit(arguments.kit), device=arguments.device)


def read_sketch(path: Path) -> Sketch:
    """Read a drawing: strokes as JSON (x and y in 0 to 1), or a picture of it.

    Raises:
        UsageError: The file holds no drawing.
        ImageError: The picture cannot be read.
    """
    try:
        if path.suffix.lower() == ".json":
            return Sketch.from_json(path.read_bytes())
        return Sketch.from_image(open_image(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read; check the path.") from error
    except InputError as error:
        raise UsageError(f"{path}: {error}") from error


def compose_query(
    engine: Engine, arguments: argparse.Namespace
) -> tuple[Query | None, ComposedQuery]:
    """Compose what the arguments ask, or load a composed query.

    Returns:
        The query as given (None for a loaded one) and the composed query.

    Raises:
        UsageError: The arguments ask nothing, or contradict each other.
    """
    if arguments.query is not None:
        if arguments.sketch or arguments.image or arguments.text:
            raise UsageError("Give --query alone, or --sketch, --image and --text.")
        return None, ComposedQuery.load(arguments.query)
    query = Query(
        sketch=read_sketch(arguments.sketch) if arguments.sketch else None,
        image=open_image(arguments.image) if arguments.image else None,
        text=arguments.text,
    )
    how = Composition(
        composer=arguments.composer or engine.default_composer, balance=arguments.balance
    )
    return query, engine.compose(query, how)


def print_json(value: Any) -> None:  # noqa: ANN401  whatever JSON can say
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201


def say(text: str) -> None:
    """Print one line for a person."""
    print(text)  # noqa: T201


@contextmanager
def saving(path: Path) -> Generator[None, None, None]:
    """Turn a failed save into one sentence.

    Raises:
        UsageError: The disk is full, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = (
            "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or "it cannot")
        )
        raise UsageError(f"{path} could not be saved: {reason}.") from error


class ProgressLine:
    """One line on stderr that counts up; silent where nobody watches."""

    def __init__(self, what: str, *, unit: str = "") -> None:
        """Name what is counted; with a unit, how many a second and the time left are shown."""
        self._what, self._unit, self._shows = what, unit, sys.stderr.isatty()
        self._began: tuple[float, int] | None = None
        self._length = 0

    def __call__(self, done: int, total: int) -> None:
        """Redraw the line."""
        if self._shows:
            line = f"{self._what} {done}/{total}{self._pace(done, total)}"
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r{line:<{self._length}}{end}")
            sys.stderr.flush()
            self._length = len(line)

    def _pace(self, done: int, total: int) -> str:
        """Tell the rate since the first call, which may find much of the work done before."""
        self._began = self._began or (time.monotonic(), done)
        elapsed_s, fresh = time.monotonic() - self._began[0], done - self._began[1]
        if not self._unit or fresh <= 0 or elapsed_s <= 0:
            return ""
        left_s = round((total - done) * elapsed_s / fresh)
        left = f", {left_s // 60}:{left_s % 60:02} left" if left_s else ""
        return f", {fresh / elapsed_s:.0f} {self._unit}/s{left}"
