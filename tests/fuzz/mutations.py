"""Mutated files and JSON values, drawn from seeds, and what they must leave behind: nothing."""

import gc
import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import USER_ERRORS

HANG_S = 10.0
GROWN_MIB = 150.0
SCALARS: tuple[Any, ...] = (
    None, True, 0, -1, 3, 1 << 31, 1 << 64, 1e300, float("nan"), float("-inf"), "", "x", "F32",
    "\ud800", "\0", "../x", "é" * 300, [], {}, [[]], [0, 4], [[0, 0]], {"dtype": "F32"},
)  # fmt: skip


def mutate_bytes(data: bytes, rng: np.random.Generator, end: int | None = None) -> bytes:
    """Change a few bytes before `end`; sometimes cut, repeat or insert a piece."""
    changed, end = bytearray(data), end or len(data)
    for index in rng.integers(0, end, rng.integers(1, 6)):
        changed[index] = rng.integers(0, 256)
    first, last = sorted(int(index) for index in rng.integers(0, end, 2))
    match rng.integers(0, 8):
        case 0:
            return bytes(changed[: max(1, last)])
        case 1:
            return bytes(changed[:first] + changed[last:])
        case 2:
            return bytes(changed[:last] + changed[first:])
        case 3:
            return bytes(changed[:first] + rng.bytes(int(rng.integers(1, 40))) + changed[first:])
        case _:
            return bytes(changed)


def mutate_json(value: Any, rng: np.random.Generator) -> Any:
    """Change one part of a JSON value: replace, drop, rename, repeat or nest it."""
    is_inner = isinstance(value, dict | list) and len(value) > 0
    if not is_inner or rng.random() < 0.15:
        return SCALARS[rng.integers(len(SCALARS))] if rng.random() < 0.9 else [value] * 50
    if isinstance(value, list):
        items, number = list(value), int(rng.integers(len(value)))
        if rng.random() < 0.2:
            return [*items[:number], *items[number + 1 :]]
        items[number] = mutate_json(items[number], rng)
        return items
    entries, key = dict(value), list(value)[rng.integers(len(value))]
    chosen = rng.random()
    if chosen < 0.15:
        del entries[key]
    elif chosen < 0.3:
        entries[f"{key}x" if rng.random() < 0.5 else ""] = entries.pop(key)
    else:
        entries[key] = mutate_json(entries[key], rng)
    return entries


def mutate_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Mutate the header of a safetensors file, as bytes or as JSON."""
    start = 8 + int.from_bytes(data[:8], "little")
    if rng.random() < 0.4:
        return mutate_bytes(data, rng, start)
    header = json.loads(data[8:start])
    for _ in range(rng.integers(1, 4)):
        header = mutate_json(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[start:]


@contextmanager
def in_time(what: object) -> Generator[None, None, None]:
    """Fail for work that takes longer than anybody waits."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < HANG_S, what


def is_refused(read: Callable[[], object], what: object) -> bool:
    """Whether something is refused, in time and in words of ours; any other error passes."""
    said = ""
    with in_time(what):
        try:
            read()
        except USER_ERRORS as error:
            said = str(error)
    assert said == "" or (said.endswith(".") and len(said) < 2000), said
    return said != ""


@contextmanager
def leaving_nothing(folder: Path) -> Generator[None, None, None]:
    """Fail if memory, open files or the files of a folder grow."""
    before, memory = _counts(folder), _resident_mib()
    yield
    gc.collect()
    num_files, num_open = _counts(folder)
    assert num_files == before[0]
    assert num_open <= before[1] + 2
    assert _resident_mib() - memory < GROWN_MIB


def _counts(folder: Path) -> tuple[int, int]:
    """Files in a folder, and files that are open where the system tells."""
    opened = Path("/proc/self/fd")
    num_open = len(list(opened.iterdir())) if opened.is_dir() else 0
    return sum(path.is_file() for path in folder.rglob("*")), num_open


def _resident_mib() -> float:
    """Memory of this process where the system tells, else 0."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
