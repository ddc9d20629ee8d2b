"""Running work and files of each visitor."""

import shutil
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from generation.cancel import CancelToken
from studio.ui.security import private_name


class Sessions:
    """Running work and files of each visitor; the end of a visit stops and removes them."""

    def __init__(self, folder: Path) -> None:
        """Keep the files of visitors below `folder`, which must be private."""
        self._folder, self._lock = folder, Lock()
        self._tokens: defaultdict[str, set[CancelToken]] = defaultdict(set)
        self._folders: dict[str, Path] = {}
        self._uploads: defaultdict[str, set[Path]] = defaultdict(set)

    @contextmanager
    def running(self, session: str) -> Generator[CancelToken, None, None]:
        """Register work of a session; yield the token that cancels it."""
        token = CancelToken()
        with self._lock:
            self._tokens[session].add(token)
        try:
            yield token
        finally:
            with self._lock:
                self._tokens[session].discard(token)
                if not self._tokens[session]:
                    del self._tokens[session]

    def stop(self, session: str) -> int:
        """Stop the work of a session; return how many pieces were running."""
        with self._lock:
            tokens = tuple(self._tokens.get(session, ()))
        for token in tokens:
            token.cancel()
        return len(tokens)

    def folder(self, session: str) -> Path:
        """Return a fresh folder for files of one result."""
        with self._lock:
            if session not in self._folders:
                self._folders[session] = self._folder / private_name()
            folder = self._folders[session] / private_name()
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def note_upload(self, session: str, file: Path) -> None:
        """Register a file to remove when the visit ends."""
        with self._lock:
            self._uploads[session].add(file)

    def leave(self, session: str) -> None:
        """End a visit: stop its work and remove its files."""
        self.stop(session)
        with self._lock:
            folder = self._folders.pop(session, None)
            uploads = self._uploads.pop(session, set())
            # Uploads of one name and content share a file, which stays while a visitor uses it.
            uploads = uploads.difference(*self._uploads.values())
        for file in uploads:
            file.unlink(missing_ok=True)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
