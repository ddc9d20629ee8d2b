"""Public weights: the files that a kit takes from a model hub, fetched, verified and locked.

The revision of a repository is resolved at the first download and kept in a lock file with the
size and SHA-256 of every file, so that the same weights are used from then on. Nothing but `fetch`
ever reaches the network.
"""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from composer.files import sha256_of, write_text
from studio.kit_contents import HubSource, KitError
from studio.user_folder import user_folder

_LOGIN = (
    "{0} asks you to accept its licence first: log in on its page on the hub, accept, and set "
    "HF_TOKEN to a token of yours (or run `hf auth login`)."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file at one revision.

    Attributes:
        name: Below the repository's root, with forward slashes.
        size_bytes: Of the file.
        sha256: Of the content, in hex; empty for small files, which the hub does not hash so.
    """

    name: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The files of a source at a resolved revision."""

    repository: str
    revision: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)


class Hub:
    """The hub's local cache and the lock file.

    Attributes:
        lock: The lock file; it need not exist.
    """

    def __init__(
        self, lock: Path, *, cache: Path | None = None, endpoint: str | None = None
    ) -> None:
        """Remember where things are; nothing is read.

        Args:
            lock: The lock file.
            cache: Folder of downloads; None for the one that other programs share.
            endpoint: Address of the hub; None for the public one.
        """
        self.lock, self._cache, self._endpoint = lock, cache, endpoint

    def locked(self, source: HubSource) -> Snapshot | None:
        """Return the locked files of a source; None where it was never resolved.

        Raises:
            KitError: The lock file is damaged.
        """
        entry = self._read_lock().get(source.repository)
        if entry is None:
            return None
        files = tuple(
            file for file in entry.files if any(fnmatchcase(file.name, p) for p in source.patterns)
        )
        unmatched = [p for p in source.patterns if not any(fnmatchcase(f.name, p) for f in files)]
        return (
            None
            if unmatched
            else Snapshot(repository=entry.repository, revision=entry.revision, files=files)
        )

    def missing(self, snapshot: Snapshot) -> tuple[HubFile, ...]:
        """Return the files that are not on this machine, or not in full."""
        return tuple(file for file in snapshot.files if self._local(snapshot, file) is None)

    def has(self, source: HubSource) -> bool:
        """Return whether all files of a source are on this machine, in full and locked."""
        snapshot = self.locked(source)
        return snapshot is not None and not self.missing(snapshot)

    def locate(self, source: HubSource, *, kit: str) -> Path:
        """Return the local folder of a source, without the network.

        Raises:
            KitError: A file is not on this machine.
        """
        snapshot = self.locked(source)
        absent = () if snapshot is None else self.missing(snapshot)
        if snapshot is None or absent:
            what = f"{absent[0].name} of {source.repository}" if absent else source.repository
            raise KitError(
                f"The kit {kit!r} needs {what}, which is not on this machine. "
                f"Download it with: duet kits fetch {kit}"
            )
        first = snapshot.files[0]
        local = self._local(snapshot, first)
        assert local is not None
        return local.parents[len(PurePosixPath(first.name).parts) - 1]

    def resolve(self, source: HubSource) -> Snapshot:
        """Ask the hub which files a source consists of, at the locked revision if there is one.

        Raises:
            KitError: The hub cannot be reached, has no such repository or file, or wants a login.
        """
        known = self.locked(source)
        if known is not None:
            return known
        _disable_telemetry()
        from huggingface_hub import HfApi, get_token

        entry = self._read_lock().get(source.repository)
        revision = source.revision if entry is None else entry.revision
        with _translate_errors(source.repository):
            info = HfApi(endpoint=self._endpoint).model_info(
                source.repository, revision=revision, files_metadata=True
            )
        files = [
            HubFile(
                name=sibling.rfilename,
                size_bytes=int(sibling.size or 0),
                sha256="" if sibling.lfs is None else str(sibling.lfs.sha256),
            )
            for sibling in info.siblings or ()
            if any(fnmatchcase(sibling.rfilename, pattern) for pattern in source.patterns)
        ]
        for pattern in source.patterns:
            if not any(fnmatchcase(file.name, pattern) for file in files):
                raise KitError(
                    f"{source.repository} has no file {pattern!r} at revision {info.sha}; the kit "
                    "does not fit this repository."
                )
        snapshot = Snapshot(
            repository=source.repository, revision=str(info.sha), files=tuple(files)
        )
        if info.gated and get_token() is None and self.missing(snapshot):
            raise KitError(_LOGIN.format(source.repository))
        return snapshot

    def fetch(
        self, source: HubSource, *, report: Callable[[HubFile], None] = lambda _: None
    ) -> Path:
        """Download what is missing, verify it, and lock the revision.

        A cut connection is resumed a few times; at the next call complete files are kept. The
        lock is written only after every file was verified.

        Args:
            source: What to download.
            report: Called before each file that is downloaded.

        Raises:
            KitError: The hub cannot be reached, the disk is too small, or a file is not what the
                hub announced.
        """
        snapshot = self.resolve(source)
        absent = self.missing(snapshot)
        self.check_space(absent)
        for file in absent:
            report(file)
            self._download(snapshot, file)
        self._write_lock(snapshot)
        return self.locate(source, kit=source.repository)

    def remove(self, sources: Iterable[HubSource]) -> int:
        """Delete the downloads of sources and their locks; return the bytes that are freed."""
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound

        names = {source.repository for source in sources}
        entries = self._read_lock()
        revisions = [entry.revision for name, entry in entries.items() if name in names]
        freed = 0
        try:
            cache = scan_cache_dir(self._cache)
        except CacheNotFound:
            cache = None
        if cache is not None:
            known = {revision.commit_hash for repo in cache.repos for revision in repo.revisions}
            strategy = cache.delete_revisions(*[r for r in revisions if r in known])
            freed = int(strategy.expected_freed_size)
            strategy.execute()
        self._replace_lock({name: entry for name, entry in entries.items() if name not in names})
        return freed

    def _local(self, snapshot: Snapshot, file: HubFile) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(
            snapshot.repository, file.name, cache_dir=self._cache, revision=snapshot.revision
        )
        if not isinstance(path, str):
            return None
        local = Path(path)
        complete = local.is_file() and local.stat().st_size == file.size_bytes
        return local if complete else None

    def check_space(self, files: Iterable[HubFile]) -> None:
        """Check that the disk of the cache has room for files.

        Raises:
            KitError: It has not.
        """
        from huggingface_hub.constants import HF_HUB_CACHE

        folder = self._cache or Path(HF_HUB_CACHE)
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        needed, free = sum(file.size_bytes for file in files), shutil.disk_usage(existing).free
        if needed > free:
            raise KitError(
                f"The download takes {readable(needed)} and the disk of {folder} has "
                f"{readable(free)} left. Free some space, or set HF_HOME to a larger disk."
            )

    def _download(self, snapshot: Snapshot, file: HubFile) -> None:
        _disable_telemetry()
        from huggingface_hub import hf_hub_download

        with _translate_errors(snapshot.repository):
            path = Path(
                hf_hub_download(
                    snapshot.repository,
                    file.name,
                    revision=snapshot.revision,
                    cache_dir=self._cache,
                    endpoint=self._endpoint,
                )
            )
        if file.sha256 and sha256_of(path) != file.sha256:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise KitError(
                f"{file.name} of {snapshot.repository} is not the file that the hub announced "
                "(its SHA-256 differs). It was deleted; fetch the kit again."
            )

    def _read_lock(self) -> dict[str, Snapshot]:
        if not self.lock.exists():
            return {}
        try:
            entries = json.loads(self.lock.read_text(encoding="utf-8"))
            return {
                name: Snapshot(
                    repository=name,
                    revision=entry["revision"],
                    files=tuple(HubFile(**file) for file in entry["files"]),
                )
                for name, entry in entries.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise KitError(
                f"{self.lock} is damaged. Delete it; the next `duet kits fetch` writes it again."
            ) from error

    def _write_lock(self, snapshot: Snapshot) -> None:
        entries = self._read_lock()
        known = entries.get(snapshot.repository)
        files = {file.name: file for file in (*(known.files if known else ()), *snapshot.files)}
        merged = Snapshot(
            repository=snapshot.repository,
            revision=snapshot.revision,
            files=tuple(files[name] for name in sorted(files)),
        )
        self._replace_lock({**entries, snapshot.repository: merged})

    def _replace_lock(self, entries: Mapping[str, Snapshot]) -> None:
        text = {
            name: {"revision": entry.revision, "files": [asdict(file) for file in entry.files]}
            for name, entry in sorted(entries.items())
        }
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.lock, json.dumps(text, indent=2) + "\n")


def default_hub() -> Hub:
    """Return the public hub, with the cache that other programs share and the user's lock file.

    DUET_HOME or XDG_DATA_HOME moves the lock file, HF_HOME or HF_HUB_CACHE the cache; HF_ENDPOINT
    names a mirror.
    """
    cache = os.environ.get("HF_HUB_CACHE")
    return Hub(
        user_folder() / "kits.lock",
        cache=Path(cache) if cache else None,
        endpoint=os.environ.get("HF_ENDPOINT") or None,
    )


def readable(size_bytes: int) -> str:
    """Return a size as people read it, in decimal units: "605 MB"."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _disable_telemetry() -> None:
    """Keep the hub's client from reporting what runs here; it looks the switch up in a constant."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


@contextmanager
def _translate_errors(repository: str) -> Generator[None, None, None]:
    """Turn what the hub's client raises into one sentence."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise KitError(_LOGIN.format(repository)) from error
    except RepositoryNotFoundError as error:
        raise KitError(
            f"There is no repository {repository} on the hub, or it is private (then set HF_TOKEN)."
        ) from error
    except RevisionNotFoundError as error:
        raise KitError(f"{repository} has no such revision any more; delete its lock.") from error
    except OfflineModeIsEnabled as error:
        raise KitError(f"{repository} cannot be fetched: HF_HUB_OFFLINE is set.") from error
    except (HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise KitError(
            f"The download of {repository} was interrupted ({reason}). Run the command again: "
            "complete files are kept."
        ) from error
