"""Limit on the time of decoding, and the way a stop reaches it.

A decoder that runs in a thread cannot be interrupted, but those of PNG and JPEG ask for their data
piece by piece: there the time is compared with the limit, and a stop takes effect. The others run
in a process (`composer.decoding_process`).
"""

import time
from collections.abc import Callable
from io import BytesIO


class DecodingTimeError(Exception):
    """Decoding took longer than its limit."""


class Pace:
    """The time that decoding has taken on its thread; other work of the machine does not count."""

    def __init__(self, max_s: float, check: Callable[[], None] | None = None) -> None:
        """Start.

        Args:
            max_s: Limit in seconds of the processor.
            check: Raises to stop the decoding; what it raises reaches the caller.
        """
        self._end_s, self._check = time.thread_time() + max_s, check

    @property
    def left_s(self) -> float:
        """Seconds of the processor that are left."""
        return self._end_s - time.thread_time()

    def check(self) -> None:
        """Raise if decoding must end.

        Raises:
            DecodingTimeError: The time is over.
        """
        if self._check is not None:
            self._check()
        if time.thread_time() > self._end_s:
            raise DecodingTimeError


class PacedBytes(BytesIO):
    """Bytes of a file whose reader is stopped when its time is over."""

    def __init__(self, data: bytes, pace: Pace) -> None:
        """Read `data` at a pace."""
        super().__init__(data)
        self._pace = pace

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a piece.

        Raises:
            DecodingTimeError: The time is over.
        """
        self._pace.check()
        return super().read(size)
