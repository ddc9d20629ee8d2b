"""Running work and files of each visitor."""

import shutil
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Timer
from typing import Any, Final

from generation.cancel import CancelToken
from studio.ui.security import private_name

Outputs = tuple[Any, ...]
"""What a handler returns to the page."""

MAX_HELD: Final = 64
MAX_KEYS: Final = 4096


class Sessions:
    """Running work and files of each visitor; the end of a visit stops and removes them.

    A page that loads again, such as after its connection was cut, is another session. By a key that
    its tab keeps it finds the results of the one before, which stay for a while.
    """

    def __init__(self, folder: Path, grace_s: float = 0.0) -> None:
        """Keep the files of visitors below a folder.

        Args:
            folder: Must be private.
            grace_s: How long the results of a session with a key stay after its end; those of
                `MAX_HELD` sessions at most. Keys are remembered of `MAX_KEYS` at most.
        """
        self._folder, self._lock, self.grace_s = folder, Condition(), grace_s
        self._keys: dict[str, str] = {}
        self._addresses: dict[str, str] = {}  # of the sessions that have a key
        self._latest: dict[str, str] = {}  # by key: the session that has its results
        self._results: dict[str, dict[str, Outputs]] = {}
        self._held: OrderedDict[str, Timer] = OrderedDict()
        self._tokens: defaultdict[str, set[CancelToken]] = defaultdict(set)
        self._own: dict[str, Path] = {}
        self._folders: defaultdict[str, set[Path]] = defaultdict(set)
        self._num_running, self._is_closed = 0, False

    @contextmanager
    def running(self, session: str) -> Generator[CancelToken, None, None]:
        """Register work of a session; yield the token that cancels it."""
        token = CancelToken()
        with self._lock:
            self._tokens[session].add(token)
            self._num_running += 1
            if self._is_closed:
                token.cancel()
        try:
            yield token
        finally:
            with self._lock:
                self._tokens[session].discard(token)
                if not self._tokens[session]:
                    del self._tokens[session]
                self._num_running -= 1
                self._lock.notify_all()

    @property
    def num_running(self) -> int:
        """Pieces of work that run."""
        return self._num_running

    @property
    def is_closed(self) -> bool:
        """Whether the server stops."""
        return self._is_closed

    def is_running(self, session: str) -> bool:
        """Tell whether work of a session runs."""
        return session in self._tokens

    def stop(self, session: str) -> int:
        """Stop the work of a session; return how many pieces were running."""
        with self._lock:
            tokens = tuple(self._tokens.get(session, ()))
        for token in tokens:
            token.cancel()
        return len(tokens)

    def close(self, within_s: float) -> bool:
        """Stop all work, and what begins from here on; tell whether it ended within a time."""
        with self._lock:
            self._is_closed = True
            sessions = tuple(self._tokens)
        for session in sessions:
            self.stop(session)
        with self._lock:
            return self._lock.wait_for(lambda: self._num_running == 0, within_s)

    def folder(self, session: str) -> Path:
        """Return a fresh folder for files of one result."""
        with self._lock:
            own = self._own.setdefault(session, self._folder / private_name())
            self._folders[session].add(own)
            folder = own / private_name()
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def enter(self, session: str, key: str, address: str = "") -> dict[str, Outputs]:
        """Begin a visit; return the last results of the one before in the same tab, by use.

        Args:
            session: The visit.
            key: Unguessable name of the tab.
            address: Where the visit comes from; where room is needed, the address with most makes
                it.
        """
        with self._lock:
            self._keys[session], self._addresses[session] = key, address
            while len(self._keys) > MAX_KEYS:
                self._forget_key(self._one_of_many(self._keys))
            before = self._latest.get(key)
            if before is None:
                return {}
            self._latest[key] = session
            self._results[session] = dict(self._results[before])
            self._folders[session] |= self._folders[before]
            return dict(self._results[session])

    def keep(self, session: str, use: str, outputs: Outputs) -> None:
        """Keep the results that a visitor sees, in place of earlier ones of the same use."""
        with self._lock:
            self._results.setdefault(session, {})[use] = outputs
            if session in self._keys:
                self._latest[self._keys[session]] = session

    def leave(self, session: str) -> None:
        """End a visit: stop its work and remove its files, those of results after a while."""
        self.stop(session)
        for ended in self._hold(session):
            self._remove(ended)

    def _hold(self, session: str) -> list[str]:
        """Have the results of a session wait; return the sessions whose results go at once."""
        with self._lock:
            key = self._keys.get(session)
            if self.grace_s <= 0 or key is None or self._latest.get(key) != session:
                return [session]
            if session not in self._held:
                timer = Timer(self.grace_s, self._remove, [session])
                timer.daemon = True
                self._held[session] = timer
                timer.start()
            return [self._one_of_many(self._held)] if len(self._held) > MAX_HELD else []

    def _one_of_many(self, sessions: Iterable[str]) -> str:
        """Return the oldest of the sessions that come from the address with most of them."""
        addresses = {session: self._addresses.get(session, "") for session in sessions}
        most = Counter(addresses.values()).most_common(1)[0][0]
        return next(session for session, address in addresses.items() if address == most)

    def _forget_key(self, session: str) -> None:
        self._keys.pop(session, None)
        self._addresses.pop(session, None)

    def _remove(self, session: str) -> None:
        with self._lock:
            if (timer := self._held.pop(session, None)) is not None:
                timer.cancel()
            self._forget_key(session)
            for key in [key for key, latest in self._latest.items() if latest == session]:
                del self._latest[key]
            self._results.pop(session, None)
            self._own.pop(session, None)
            folders = self._folders.pop(session, set())
            folders = folders.difference(*self._folders.values())
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
