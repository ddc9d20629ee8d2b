"""Searching and drawing on one card without waiting for each other."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def urgent(device: str | torch.device) -> Generator[None, None, None]:
    """Run a short piece of work ahead of what other threads have queued on the same card.

    Drawing queues a whole image's kernels ahead; a search behind them would wait for seconds. On a
    stream of high priority its kernels are taken first whenever a block of the card is free, and
    drawing loses only the time that they take. Without effect where there is no CUDA.

    Source: PyTorch, "CUDA semantics: CUDA streams"; the stream is synchronised at the end, so that
    results may be used on any other.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield
        return
    stream: Any = torch.cuda.Stream(device, priority=-1)  # of a pool that torch keeps
    with torch.cuda.stream(stream):
        yield
        stream.synchronize()
