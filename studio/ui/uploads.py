"""Uploads: how much is kept, for whom, and until when."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from studio.ui.budgets import Refusal, network_of

MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadQuota:
    """How much is kept at once.

    Attributes:
        total_bytes: Uploads of everybody.
        address_bytes: Uploads from one address.
        free_bytes: Room on the disk that no upload takes.
        wait_s: How long an upload waits until a visit uses it.
    """

    total_bytes: int
    address_bytes: int
    free_bytes: int = 256 * MEBIBYTE
    wait_s: float = 600.0


@dataclass(kw_only=True, slots=True)
class _Upload:
    address: str = ""
    num_bytes: int = 0
    waiting: list[float] = field(default_factory=list)  # end of the wait of each unclaimed arrival
    sessions: set[str] = field(default_factory=set)


class Uploads:
    """Uploads of a server's visitors, below one private folder.

    A file belongs to the visits that use it, and is removed when the last of them ends; one that
    no visit uses is removed after a time.
    """

    def __init__(
        self, folder: Path, quota: UploadQuota, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep account of uploads below `folder`."""
        self._folder, self._quota, self._clock = folder, quota, clock
        self._uploads: dict[Path, _Upload] = {}
        self._arriving: list[tuple[str, int]] = []
        self._lock = Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes that are kept or arriving."""
        with self._lock:
            return self._sum()

    def reserve(self, address: str, num_bytes: int) -> Refusal | None:
        """Make room for an upload, or say what to do; `settle` must follow what is not refused.

        Args:
            address: Where it comes from; of IPv6, the network counts.
            num_bytes: Size of the request.
        """
        network, quota, wait_s = network_of(address), self._quota, round(self._quota.wait_s)
        with self._lock:
            if self._sum(network) + num_bytes > quota.address_bytes:
                most = quota.address_bytes // MEBIBYTE
                return Refusal(
                    sentence=f"At most {most} MiB of uploads are kept for you at once. Reload the "
                    f"page to remove yours, or try again in {wait_s} seconds.",
                    wait_s=wait_s,
                )
            free = shutil.disk_usage(self._folder).free - quota.free_bytes
            if self._sum() + num_bytes > quota.total_bytes or num_bytes > free:
                return Refusal(
                    sentence="The page has no more room for uploads. Search by drawing and words, "
                    f"or try again in {wait_s} seconds.",
                    wait_s=wait_s,
                )
            self._arriving.append((network, num_bytes))
        return None

    def settle(self, address: str, num_bytes: int, files: Sequence[Path]) -> None:
        """End what `reserve` began.

        Args:
            address: As it was reserved.
            num_bytes: As it was reserved.
            files: What arrived; empty if the upload failed.
        """
        network, until_s = network_of(address), self._clock() + self._quota.wait_s
        with self._lock:
            self._arriving.remove((network, num_bytes))
            for file in files:
                with suppress(OSError):
                    size = file.stat().st_size
                    upload = self._uploads.setdefault(file, _Upload(address=network))
                    upload.num_bytes = size
                    upload.waiting.append(until_s)
            if not self._arriving:
                self._remove_parts()

    def claim(self, session: str, file: Path, *, has_arrived: bool = False) -> None:
        """Register that a visit uses a file.

        Args:
            session: The visit.
            file: The file.
            has_arrived: The visit has just uploaded it. Otherwise, where it has the file already,
                an arrival that waits is another visitor's.
        """
        with self._lock:
            upload = self._uploads.setdefault(file, _Upload())
            if upload.waiting and (has_arrived or session not in upload.sessions):
                upload.waiting.pop(0)
            upload.sessions.add(session)

    def leave(self, session: str) -> None:
        """End the use of all files of a visit."""
        with self._lock:
            for upload in self._uploads.values():
                upload.sessions.discard(session)
            self._remove_unused()

    def sweep(self) -> None:
        """Remove what no visit uses and has waited long enough."""
        with self._lock:
            self._remove_unused()

    def _sum(self, network: str | None = None) -> int:
        kept = [(upload.address, upload.num_bytes) for upload in self._uploads.values()]
        return sum(size for owner, size in [*kept, *self._arriving] if network in (None, owner))

    def _remove_unused(self) -> None:
        now = self._clock()
        for file, upload in list(self._uploads.items()):
            upload.waiting = [until_s for until_s in upload.waiting if until_s > now]
            if not upload.sessions and not upload.waiting:
                file.unlink(missing_ok=True)
                with suppress(OSError):  # another file is in the folder
                    file.parent.rmdir()
                del self._uploads[file]

    def _remove_parts(self) -> None:
        """Remove what uploads left that broke off; whole ones are in folders."""
        with suppress(OSError):
            for file in self._folder.iterdir():
                if file.is_file() or file.is_symlink():
                    file.unlink(missing_ok=True)
