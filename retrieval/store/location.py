"""Where an index is kept: a folder of this machine, or a place in an object store."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from retrieval.errors import GalleryError
from retrieval.store.disk import Checkpoint, only_writer, told
from retrieval.store.schema import (
    MANIFEST,
    Manifest,
    parse_manifest,
    read_manifest,
    relative_root,
    root_of,
    write_manifest,
)

IndexPlace = Path | str
TABLE = "items"
OBJECT_STORES = ("s3", "s3+ddb", "gs", "az", "abfss", "file-object-store")
_MANIFESTS = "manifest"  # the table of an object store that has the manifest as its only row


class Folder:
    """An index in a folder: a lock keeps other writers out, and what is committed is synced.

    Attributes:
        address: The same for all who mean this place.
        cache: Folder of what is derived from the table.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read or made."""
        self.path, self.address = path, path.resolve().as_posix()
        self.cache = path / "cache"
        self._checkpoint: Checkpoint | None = None

    def __str__(self) -> str:
        """The path, for messages."""
        return str(self.path)

    @property
    def is_made(self) -> bool:
        """Whether there is an index."""
        return (self.path / MANIFEST).exists()

    def read_manifest(self) -> Manifest:
        """Return who encoded the index.

        Raises:
            GalleryError: There is no index, or its manifest cannot be read.
        """
        return read_manifest(self.path)

    def write_manifest(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one that is there."""
        write_manifest(self.path, manifest)

    def root_of(self, manifest: Manifest) -> Path:
        """Return the folder of the pictures."""
        return root_of(self.path, manifest)

    def named_root(self, root: Path) -> str:
        """Return how the manifest names the folder of the pictures."""
        return relative_root(self.path, root)

    def make(self, manifest: Manifest, schema: pa.Schema) -> None:
        """Make an empty index, unless there is one.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with told(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with only_writer(self.path):
                if not self.is_made:  # another process may have been first
                    base = self._connect()
                    if (self.path / f"{TABLE}.lance").exists():  # left by a stopped creation
                        base.drop_table(TABLE)
                    base.create_table(TABLE, schema=schema)
                    write_manifest(self.path, manifest)

    def open_table(self) -> Any:  # noqa: ANN401  its stubs know neither merge_insert nor search chains
        """Return the table of items as it is now.

        Raises:
            GalleryError: It cannot be opened.
        """
        with self.told():
            return self._connect().open_table(TABLE)

    @contextmanager
    def told(self) -> Generator[None, None, None]:
        """Turn what the engine or the disk reports into one sentence of ours."""
        with told(self.path):
            yield

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Hold the folder, and bring to the disk what was written."""
        with told(self.path), only_writer(self.path):
            if self._checkpoint is None:
                self._checkpoint = Checkpoint(self.path / f"{TABLE}.lance")
            yield
            self._checkpoint.sync()

    def discard(self) -> None:
        """Delete the index, and nothing else that lies in its folder.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with told(self.path):
            # Without its manifest it is no index any more, wherever a kill may stop this.
            (self.path / MANIFEST).unlink(missing_ok=True)
            for folder in (self.path / f"{TABLE}.lance", self.cache):
                if folder.exists():
                    shutil.rmtree(folder)

    def _connect(self) -> lancedb.DBConnection:
        return _connect(str(self.path))


class Bucket:
    """An index in an object store, which makes each commit whole and lasting by itself.

    Of two that write at once, the engine tries the later commit again on top of the earlier one.
    Where the store is and who asks stands in the environment, as its makers name it
    (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ...).

    Attributes:
        address: The same for all who mean this place.
        cache: Folder of this machine, for what is derived from the table.
    """

    def __init__(self, address: str) -> None:
        """Nothing is read or made."""
        self.address = address.rstrip("/")
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.cache = caches / "duet" / hashlib.sha256(self.address.encode()).hexdigest()[:32]

    def __str__(self) -> str:
        """The address, for messages."""
        return self.address

    @property
    def is_made(self) -> bool:
        """Whether there is an index.

        Raises:
            GalleryError: The object store does not answer.
        """
        with self.told():
            return {TABLE, _MANIFESTS} <= set(_names(_connect(self.address)))

    def read_manifest(self) -> Manifest:
        """Return who encoded the index.

        Raises:
            GalleryError: There is no index, or its manifest cannot be read.
        """
        if not self.is_made:
            raise GalleryError(
                f"{self} holds no index. Make one with: duet index FOLDER --index {self}"
            )
        with self.told():
            rows = _connect(self.address).open_table(_MANIFESTS).to_arrow().to_pylist()
        return parse_manifest(rows[0]["manifest"], str(self))

    def write_manifest(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one that is there."""
        rows = pa.table({"manifest": [json.dumps(asdict(manifest))]})
        with self.told():
            base = _connect(self.address)
            mode = "overwrite" if _MANIFESTS in _names(base) else "create"
            base.create_table(_MANIFESTS, rows, mode=mode)

    def root_of(self, manifest: Manifest) -> Path:
        """Return the folder of the pictures."""
        return Path(manifest.root)

    def named_root(self, root: Path) -> str:
        """Return how the manifest names the folder of the pictures."""
        return root.resolve().as_posix()

    def make(self, manifest: Manifest, schema: pa.Schema) -> None:
        """Make an empty index where there is none.

        Raises:
            GalleryError: The object store does not answer or refuses.
        """
        with self.told():
            base = _connect(self.address)
            # What a stopped creation left is empty, and may be of another kit.
            if TABLE in _names(base) and base.open_table(TABLE).schema != schema:
                base.drop_table(TABLE)
            base.create_table(TABLE, schema=schema, exist_ok=True)
        self.write_manifest(manifest)

    def open_table(self) -> Any:  # noqa: ANN401
        """Return the table of items as it is now.

        Raises:
            GalleryError: It cannot be opened.
        """
        with self.told():
            return _connect(self.address).open_table(TABLE)

    @contextmanager
    def told(self) -> Generator[None, None, None]:
        """Turn what the engine reports into one sentence of ours."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, GalleryError):
                raise
            raise GalleryError(
                f"The object store of {self} refuses or does not answer ({_short(str(error))}). "
                "Check the address, and what the environment tells of it: docs/scale.md has the "
                "names."
            ) from error

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Nothing has to be held: commits are whole, and last when they are acknowledged."""
        with self.told():
            yield

    def discard(self) -> None:
        """Delete the index, and nothing else that lies there.

        Raises:
            GalleryError: The object store does not answer or refuses.
        """
        with self.told():
            base = _connect(self.address)
            there = _names(base)
            for name in (_MANIFESTS, TABLE):
                if name in there:
                    base.drop_table(name)
            shutil.rmtree(self.cache, ignore_errors=True)


Base = Folder | Bucket


def base_of(place: IndexPlace) -> Base:
    """Return where an index is kept: by a path, or by an address such as s3://bucket/gallery.

    Raises:
        GalleryError: The address is of no object store.
    """
    if isinstance(place, Path):
        return Folder(place)
    scheme, separator, _ = place.partition("://")
    if separator and scheme in OBJECT_STORES:
        return Bucket(place)
    raise GalleryError(
        f"An index is kept in a folder or in an object store (s3://, gs://, az://), got {place!r}."
    )


def _short(report: str) -> str:
    """Return what matters of a report that has the stack of a whole library in it."""
    for pattern in (r"<Code>(\w+)</Code>", r'message: "([^"]+)"', r"status: (\d+)"):
        if found := re.search(pattern, report):
            return found[1]
    return report.splitlines()[0][:200] if report else "no reason given"


def _names(base: lancedb.DBConnection) -> list[str]:
    return list(base.list_tables().tables)


def _connect(address: str) -> lancedb.DBConnection:
    return lancedb.connect(address, read_consistency_interval=timedelta(0))
