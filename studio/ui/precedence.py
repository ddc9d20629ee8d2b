"""Precedence of searches over drawings, which share the processor."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Condition

from generation.cancel import Progress

PATIENCE = 3.0


class Precedence:
    """Lets drawings pause between two steps while somebody searches.

    A search takes a fraction of a second, a drawing seconds in which it would otherwise take half
    of the processor from every search.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        """Set how long a drawing pauses at most after a step, as a multiple of the step's time."""
        self._patience, self._condition, self._num_ahead = patience, Condition(), 0

    @contextmanager
    def ahead(self) -> Generator[None, None, None]:
        """Go ahead of drawings."""
        with self._condition:
            self._num_ahead += 1
        try:
            yield
        finally:
            with self._condition:
                self._num_ahead -= 1
                self._condition.notify_all()

    @property
    def is_taken(self) -> bool:
        """Whether something goes ahead."""
        return self._num_ahead > 0

    def giving_way(self, report: Progress, clock: Callable[[], float] = time.monotonic) -> Progress:
        """Return a report of a drawing's steps after which the drawing gives way."""
        began_s = clock()

        def reported(done: int, total: int) -> None:
            nonlocal began_s
            report(done, total)
            most_s = self._patience * (clock() - began_s)
            with self._condition:
                self._condition.wait_for(lambda: not self.is_taken, most_s)
            began_s = clock()

        return reported
