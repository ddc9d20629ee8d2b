"""Learning-rate schedules: each returns the share of the rate at a point of a run."""

import math


def warmup_then_cosine(progress: float, *, warmup: float = 0.03, floor: float = 0.02) -> float:
    """Rise linearly, then fall along a cosine from 1 to `floor`.

    Args:
        progress: Share of the run that is done.
        warmup: Share of the run that warms up.
        floor: Factor at the end.
    """
    if progress < warmup:
        return max(progress / warmup, floor)
    return floor + (1 - floor) * _cosine((progress - warmup) / (1 - warmup))


def warmup_hold_cosine(
    step: int, progress: float, *, num_warmup_steps: int, decay_share: float
) -> float:
    """Rise linearly over some steps, stay at 1, then fall along a cosine to zero.

    Args:
        step: Number of the step, from 0.
        progress: Share of the run that is done.
        num_warmup_steps: Steps that warm up.
        decay_share: Last share of the run, over which the rate falls.
    """
    warm = _warmup(step, num_warmup_steps)
    start = 1 - decay_share
    return warm if progress <= start else warm * _cosine((progress - start) / decay_share)


def warmup_and_line(step: int, fall: float, *, num_warmup_steps: int, floor: float = 0.02) -> float:
    """Rise linearly over some steps, and fall linearly to `floor`; the smaller of the two holds.

    Args:
        step: Number of the step, from 0.
        fall: Share of the way down, in [0, 1]; 0 stays at 1.
        num_warmup_steps: Steps that warm up.
        floor: Factor at the end.
    """
    return min(_warmup(step, num_warmup_steps), max(floor, 1 - fall))


def _warmup(step: int, num_steps: int) -> float:
    return min(1.0, (step + 1) / max(1, num_steps))


def _cosine(share: float) -> float:
    """Return half a period of a cosine, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * share))
