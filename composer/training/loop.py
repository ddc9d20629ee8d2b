"""Parts of training loops: budgets, averages, early stopping, precision, log lines."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of a run: it ends when the first is reached.

    Attributes:
        num_steps: Steps; None for no limit.
        minutes: Minutes of training, summed over resumed runs; None for no limit.
    """

    num_steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Check that the run has an end.

        Raises:
            ValueError: Neither limit is given, or one is not positive.
        """
        limits = [limit for limit in (self.num_steps, self.minutes) if limit is not None]
        if not limits or min(limits) <= 0:
            raise ValueError("A run needs a positive number of steps or of minutes.")

    def part(self, share: float) -> "Budget":
        """Return a share of this budget, in (0, 1], at least one step."""
        return Budget(
            num_steps=None if self.num_steps is None else max(1, round(share * self.num_steps)),
            minutes=None if self.minutes is None else share * self.minutes,
        )

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return the share of the run that is done, in [0, 1]."""
        by_steps = step / self.num_steps if self.num_steps is not None else 0.0
        by_time = elapsed_s / (60 * self.minutes) if self.minutes is not None else 0.0
        return min(1.0, max(by_steps, by_time))


@dataclass(slots=True)
class Stopwatch:
    """Training time, summed over resumed runs."""

    before_s: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far."""
        return self.before_s + time.monotonic() - self._started


@dataclass(slots=True)
class EarlyStopping:
    """The best score, and the number of checks since.

    Attributes:
        patience: Checks without a better score before the run should stop.
        best: Highest score so far.
        num_stale: Checks since.
    """

    patience: int
    best: float = -math.inf
    num_stale: int = 0

    def is_best(self, score: float) -> bool:
        """Record the score of a check and return whether it is the highest so far."""
        if score > self.best:
            self.best, self.num_stale = score, 0
            return True
        self.num_stale += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.num_stale >= self.patience


class Average:
    """Exponential moving average of parameters, with a shorter memory at the beginning."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        """Start from the current parameters; `decay` lies in [0, 1), and 0 follows exactly."""
        self.decay = decay
        self.tensors = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Move towards the parameters after a step (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in parameters.items():
            self.tensors[name].lerp_(parameter.detach(), 1 - decay)


def fast_precision(device: torch.device) -> str:
    """Return "bf16" on a GPU and on CPUs with bf16 dot products that torch uses, else "no"."""
    if device.type != "cpu":
        return "bf16"
    if torch.backends.cpu.get_cpu_capability() != "AVX512":  # also where the user narrows it
        return "no"
    flags = Path("/proc/cpuinfo")
    has_bf16 = flags.exists() and "avx512_bf16" in flags.read_text(encoding="utf-8")
    return "bf16" if has_bf16 else "no"


def progress_line(name: str, step: int, budget: Budget, elapsed_s: float, parts: str) -> str:
    """Return one log line: step, what was measured, speed, time left."""
    progress = budget.progress(step, elapsed_s)
    left_s = elapsed_s * (1 - progress) / progress if progress > 0 else math.nan
    return f"{name} step {step} ({progress:.0%}) {parts} | {left_s / 60:.1f} min left"
