"""Visits: which have an open page, and when those of programs end."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from studio.ui.budgets import Refusal, network_of
from studio.ui.sessions import Sessions
from studio.ui.uploads import Uploads

TOO_MANY_PAGES = "Too many pages are open here. Close one, or try again in 60 seconds."


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitLimits:
    """How many pages may be open.

    Attributes:
        num_open: Of everybody.
        num_open_address: Of one address.
        idle_s: When a visit ends that has no open page, which only programs have.
    """

    num_open: int = 400
    num_open_address: int = 400
    idle_s: float = 600.0


class Visits:
    """Visits of a server; the end of one stops its work and removes its files and uploads."""

    def __init__(
        self,
        sessions: Sessions,
        uploads: Uploads,
        limits: VisitLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep account of the visits of sessions and uploads."""
        self.sessions, self.uploads = sessions, uploads
        self._limits, self._clock, self._lock = limits or VisitLimits(), clock, Lock()
        self._pages: Counter[str] = Counter()  # by visit
        self._addresses: Counter[str] = Counter()  # pages by address
        self._last_s: dict[str, float] = {}  # by visit that may have something

    @property
    def num_open(self) -> int:
        """Pages that are open."""
        return self._addresses.total()

    def is_open(self, session: str) -> bool:
        """Tell whether a visit has an open page."""
        return self._pages[session] > 0

    def open_page(self, session: str, address: str) -> Refusal | None:
        """Open a page of a visit, or refuse it; `close_page` must follow what is not refused."""
        network = network_of(address)
        with self._lock:
            is_full = self.num_open >= self._limits.num_open
            if is_full or self._addresses[network] >= self._limits.num_open_address:
                return Refusal(sentence=TOO_MANY_PAGES, wait_s=60)
            self._addresses[network] += 1
            self._pages[session] += 1
        return None

    def close_page(self, session: str, address: str) -> None:
        """Close a page; the last one of a visit ends it."""
        with self._lock:
            self._addresses[network_of(address)] -= 1
            self._pages[session] -= 1
            is_over = not self._pages[session]
            self._addresses, self._pages = +self._addresses, +self._pages
        if is_over:
            self.leave(session)

    def note(self, session: str) -> None:
        """Note that a visit has something and is alive."""
        with self._lock:
            self._last_s[session] = self._clock()

    def touch(self, session: str) -> None:
        """Note that a visit is alive, if it has something."""
        if session in self._last_s:
            self.note(session)

    def sweep(self) -> None:
        """End visits of programs that ask for nothing more, and remove unused uploads."""
        latest_s = self._clock() - self._limits.idle_s
        with self._lock:
            idle = [
                session
                for session, last_s in self._last_s.items()
                if last_s <= latest_s and not self._pages[session]
            ]
        for session in idle:
            if not self.sessions.is_running(session):
                self.leave(session)
        self.uploads.sweep()

    def leave(self, session: str) -> None:
        """End a visit."""
        with self._lock:
            self._last_s.pop(session, None)
        self.sessions.leave(session)
        self.uploads.leave(session)
