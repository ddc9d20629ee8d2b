"""Storage of an index: a folder of this machine, or an object store."""

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

from retrieval.errors import DamagedIndexError, GalleryError
from retrieval.store.address import IndexLocation, is_object_store
from retrieval.store.damage import SetAside, commits, set_aside_newest
from retrieval.store.disk import Checkpoint, check_utf8, exclusive_writer, translate_errors
from retrieval.store.schema import (
    MANIFEST,
    Manifest,
    parse_manifest,
    read_manifest,
    relative_root,
    root_of,
    write_manifest,
)

TABLE = "items"
DAMAGED = "damaged"  # folder of commits that a repair moved away
_MANIFESTS = "manifest"  # table of an object store; the manifest is its only row


class Folder:
    """An index in a folder: a lock excludes other writers, and commits are flushed to the disk.

    Attributes:
        path: The folder.
        address: Identifies the folder; the same however its path is written.
        cache: Folder of files derived from the table.
    """

    def __init__(self, path: Path) -> None:
        """Accept a folder; nothing is read or created."""
        self.path, self.address = path, path.resolve().as_posix()
        self.cache = path / "cache"
        self._checkpoint: Checkpoint | None = None

    def __str__(self) -> str:
        """Return the path, for messages."""
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether an index exists."""
        return (self.path / MANIFEST).exists()

    def read_manifest(self) -> Manifest:
        """Return the manifest of the index.

        Raises:
            GalleryError: There is no index, or its manifest cannot be read.
        """
        return read_manifest(self.path)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        write_manifest(self.path, manifest)

    def root_of(self, manifest: Manifest) -> Path:
        """Return the folder of the pictures."""
        return root_of(self.path, manifest)

    def named_root(self, root: Path) -> str:
        """Return the folder of the pictures as the manifest spells it."""
        return relative_root(self.path, root)

    def create(self, manifest: Manifest, schema: pa.Schema) -> None:
        """Create an empty index unless one exists.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with translate_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with exclusive_writer(self.path):
                if not self.exists:  # another process may have been first
                    database = self._connect()
                    if (self.path / f"{TABLE}.lance").exists():  # left by a stopped creation
                        database.drop_table(TABLE)
                    database.create_table(TABLE, schema=schema)
                    write_manifest(self.path, manifest)

    def open_table(self) -> Any:  # noqa: ANN401  its stubs know neither merge_insert nor search chains
        """Return the table of items as it is now.

        Raises:
            DamagedIndexError: Its newest commit cannot be read.
            GalleryError: It cannot be opened.
        """
        with self.translate_errors():
            table = self._opened()
            if table is None and commits(self._table_folder):
                raise DamagedIndexError(
                    f"The newest commit of the index {self.path} is damaged. Keep the earlier ones "
                    f"with: duet index {self.root_of(self.read_manifest())} --index {self.path} "
                    "--repair"
                )
            return self._connect().open_table(TABLE) if table is None else table

    def set_aside_damaged(self) -> SetAside:
        """Move the newest commits away until the index opens.

        Raises:
            GalleryError: No commit can be read, or the folder cannot be written.
        """
        with translate_errors(self.path), exclusive_writer(self.path):
            moved = set_aside_newest(self._table_folder, self.path / DAMAGED, self._opens)
            # Files of the cache are named by version, and the next commit takes a number again.
            shutil.rmtree(self.cache, ignore_errors=True)
        if moved is None:
            raise GalleryError(
                f"No commit of the index {self.path} can be read. Rebuild it with: duet index "
                f"{self.root_of(self.read_manifest())} --index {self.path} --rebuild"
            )
        return moved

    @property
    def _table_folder(self) -> Path:
        return self.path / f"{TABLE}.lance"

    def _opens(self) -> bool:
        return self._opened() is not None

    def _opened(self) -> Any:  # noqa: ANN401
        """Return the table; None if its newest commit cannot be read.

        Raises:
            OSError: It may not be read.
            RuntimeError: It may not be read.
        """
        try:
            table: Any = self._connect().open_table(TABLE)
            # The engine opens a commit of zeros as version 0 of a table without columns.
            return table if int(table.version) > 0 else None
        except PermissionError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            if "Permission denied" in str(error):
                raise
            return None

    @contextmanager
    def translate_errors(self) -> Generator[None, None, None]:
        """Raise errors of the engine and the disk as `GalleryError`."""
        with translate_errors(self.path):
            yield

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Lock the folder against other writers, and flush the changes to the disk."""
        with translate_errors(self.path), exclusive_writer(self.path):
            if self._checkpoint is None:
                self._checkpoint = Checkpoint(self.path / f"{TABLE}.lance")
            yield
            self._checkpoint.sync()

    def discard(self) -> None:
        """Delete the index and no other file of its folder.

        Raises:
            GalleryError: The folder cannot be written.
        """
        with translate_errors(self.path):
            # Without its manifest the folder is no index, even if a kill stops the deletion here.
            (self.path / MANIFEST).unlink(missing_ok=True)
            for folder in (self._table_folder, self.cache, self.path / DAMAGED):
                if folder.exists():
                    shutil.rmtree(folder)

    def _connect(self) -> lancedb.DBConnection:
        return _connect(str(self.path))


class Bucket:
    """An index in an object store, whose commits are atomic and durable.

    Of two concurrent commits, the engine retries the later one on top of the earlier one.
    Endpoint and credentials come from the environment variables that the providers define
    (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME, ...).

    Attributes:
        address: Without a slash at its end.
        cache: Folder of this machine for files derived from the table.
    """

    def __init__(self, address: str) -> None:
        """Accept an address; nothing is read or created."""
        self.address = address.rstrip("/")
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.cache = caches / "duet" / hashlib.sha256(self.address.encode()).hexdigest()[:32]

    def __str__(self) -> str:
        """Return the address, for messages."""
        return self.address

    @property
    def exists(self) -> bool:
        """Whether an index exists.

        Raises:
            GalleryError: The object store does not answer.
        """
        with self.translate_errors():
            return {TABLE, _MANIFESTS} <= set(_table_names(_connect(self.address)))

    def read_manifest(self) -> Manifest:
        """Return the manifest of the index.

        Raises:
            GalleryError: There is no index, or its manifest cannot be read.
        """
        if not self.exists:
            raise GalleryError(
                f"{self} holds no index. Make one with: duet index FOLDER --index {self}"
            )
        with self.translate_errors():
            rows = _connect(self.address).open_table(_MANIFESTS).to_arrow().to_pylist()
        return parse_manifest(rows[0]["manifest"], str(self))

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest, or write the first one unless another writer just has."""
        rows = pa.table({"manifest": [json.dumps(asdict(manifest))]})
        with self.translate_errors():
            database = _connect(self.address)
            if _MANIFESTS in _table_names(database):
                database.create_table(_MANIFESTS, rows, mode="overwrite")
            else:
                database.create_table(_MANIFESTS, rows, exist_ok=True)

    def root_of(self, manifest: Manifest) -> Path:
        """Return the folder of the pictures."""
        return Path(manifest.root)

    def named_root(self, root: Path) -> str:
        """Return the folder of the pictures as the manifest spells it."""
        return root.resolve().as_posix()

    def create(self, manifest: Manifest, schema: pa.Schema) -> None:
        """Create an empty index unless one exists.

        Raises:
            GalleryError: The object store does not answer or refuses.
        """
        with self.translate_errors():
            database = _connect(self.address)
            # What a stopped creation left is empty, and may be of another kit.
            if TABLE in _table_names(database) and database.open_table(TABLE).schema != schema:
                database.drop_table(TABLE)
            database.create_table(TABLE, schema=schema, exist_ok=True)
        self.write_manifest(manifest)

    def open_table(self) -> Any:  # noqa: ANN401
        """Return the table of items as it is now.

        Raises:
            GalleryError: It cannot be opened.
        """
        with self.translate_errors():
            return _connect(self.address).open_table(TABLE)

    @contextmanager
    def translate_errors(self) -> Generator[None, None, None]:
        """Raise errors of the object store as `GalleryError`."""
        try:
            yield
        except GalleryError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise GalleryError(
                f"The object store of {self} refuses or does not answer ({_reason(error)}). Check "
                "the address and the environment variables listed in docs/scale.md."
            ) from error

    @contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Allow changes; no lock is needed, since commits are atomic and durable."""
        with self.translate_errors():
            yield

    def discard(self) -> None:
        """Delete the index and nothing else at its address.

        Raises:
            GalleryError: The object store does not answer or refuses.
        """
        with self.translate_errors():
            database = _connect(self.address)
            existing = _table_names(database)
            for name in (_MANIFESTS, TABLE):
                if name in existing:
                    database.drop_table(name)
            shutil.rmtree(self.cache, ignore_errors=True)


Storage = Folder | Bucket


def storage_at(location: IndexLocation) -> Storage:
    """Return the storage at a path, or at an address such as s3://bucket/gallery.

    Raises:
        GalleryError: The address is not of an object store, or the path is not UTF-8.
    """
    if isinstance(location, Path):
        check_utf8(location)
        return Folder(location)
    if is_object_store(location):
        return Bucket(location)
    raise GalleryError(
        "An index must be in a folder or in an object store (s3://, gs://, az://), got "
        f"{location!r}."
    )


def _reason(error: Exception) -> str:
    """Return the cause of an error of the object store in a few words.

    LanceDB raises one class for every failure, with the response of the server and a whole call
    stack in its text; code and status can be read from nowhere else.
    """
    report = str(error)
    for pattern in (r"<Code>(\w+)</Code>", r'message: "([^"]+)"', r"status: (\d+)"):
        if match := re.search(pattern, report):
            return match[1]
    return report.splitlines()[0][:200] if report else "no reason given"


def _table_names(database: lancedb.DBConnection) -> list[str]:
    return list(database.list_tables().tables)


def _connect(address: str) -> lancedb.DBConnection:
    return lancedb.connect(address, read_consistency_interval=timedelta(0))
