"""Long work on many designs: pinned processes, one file a design, progress, safe interruption."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.catalogue.plan import Design

Task = Callable[[Design, Path], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to do for each design.

    Attributes:
        task: Writes a design's files into a folder, atomically, and returns its number of pictures.
            A module-level function, since worker processes import it.
        is_done: Whether a design's files are there already.
        folder: Where they go.
    """

    task: Task
    is_done: Callable[[Design, Path], bool]
    folder: Path


def run(job: Job, designs: Sequence[Design], num_workers: int) -> None:
    """Finish a job; report pictures a second and the time left on stderr.

    Raises:
        ValueError: If `num_workers` is below 1.
    """
    if num_workers < 1:
        raise ValueError(f"`workers` must be at least 1, got {num_workers}.")
    job.folder.mkdir(parents=True, exist_ok=True)
    left = [design for design in designs if not job.is_done(design, job.folder)]
    sys.stderr.write(f"{len(designs) - len(left)} of {len(designs)} designs are done already.\n")
    started, made = time.monotonic(), 0
    for done, count in enumerate(_results(job, left, num_workers), 1):
        made += count
        elapsed_s = time.monotonic() - started
        left_s = elapsed_s / done * (len(left) - done)
        sys.stderr.write(
            f"\r{done}/{len(left)} designs, {made} pictures, {made / elapsed_s:.1f} a second, "
            f"{left_s / 60:.1f} minutes left "
        )
        sys.stderr.flush()
    if left:
        sys.stderr.write("\n")


def _results(job: Job, designs: Sequence[Design], num_workers: int) -> Iterator[int]:
    if not designs:
        return
    if num_workers == 1:
        yield from (job.task(design, job.folder) for design in designs)
        return
    context = multiprocessing.get_context("spawn")
    turn = context.Value("i", 0)
    with context.Pool(num_workers, initializer=_pin, initargs=(turn,)) as pool:
        yield from pool.imap_unordered(_Bound(job), designs)


@dataclass(frozen=True, slots=True)
class _Bound:
    """A job as a callable of one design that can be sent to another process."""

    job: Job

    def __call__(self, design: Design) -> int:
        return self.job.task(design, self.job.folder)


def _pin(turn: Any) -> None:  # noqa: ANN401 (a synchronised integer has no public type)
    """Give each worker a core of its own, where the system can."""
    with turn.get_lock():
        index = turn.value
        turn.value += 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
