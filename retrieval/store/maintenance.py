"""Check, repair and deletion of an index."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.errors import DamagedIndexError, GalleryError
from retrieval.files import content_id_of, leaves_folder, picture_file, printable
from retrieval.store.address import IndexLocation
from retrieval.store.location import Folder, storage_at
from retrieval.store.schema import Item
from retrieval.store.table import Store
from retrieval.store.versions import INDEXED_ROWS

UNIT_TOLERANCE = 5e-3  # of float16 vectors
NUM_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A fault of an index.

    Attributes:
        what: Description, one sentence.
        examples: Printable paths or ids of the first items affected.
        mended: How it was repaired; empty if it was not.
    """

    what: str
    examples: tuple[str, ...] = ()
    mended: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Result of a check.

    Attributes:
        num_items: Number of items, after repairs.
        findings: Faults; empty for a sound index.
    """

    num_items: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether no fault is left to repair."""
        return all(finding.mended for finding in self.findings)


def check_index(location: IndexLocation, *, repair: bool = False) -> CheckReport:
    """Check that an index is readable, consistent, and matches its pictures.

    The check covers the manifest, every row, unique ids and paths, vectors of unit length, the
    existence and the content of files, which are all read and must lie below the root, the first
    items of near-duplicate groups, and the index of ids. With `repair`, commits that cannot be read
    are moved away, a table whose last version is unreadable is restored to its youngest readable
    one, and faulty rows are removed: the next `duet index FOLDER` embeds their pictures again.

    Raises:
        GalleryError: There is no index, its manifest is damaged, no version can be read, or all of
            its pictures are missing.
    """
    findings: list[Finding] = []
    try:
        store = Store.open(location)
    except DamagedIndexError:
        finding = Finding(what="The newest commit is damaged, so the index cannot be opened.")
        if not repair:
            return CheckReport(num_items=0, findings=(finding,))
        store, mended = _set_aside(location)
        findings.append(Finding(what=finding.what, mended=mended))
    try:
        rows = _Rows(store)
    except GalleryError as error:
        finding = Finding(what=f"The table cannot be read: {error}")
        if not repair:
            return CheckReport(num_items=0, findings=(finding,))
        version = store.restore_readable()
        findings.append(Finding(what=finding.what, mended=f"Restored version {version}."))
        rows = _Rows(store)
    for fault in (
        *rows.duplicates(),
        *rows.outside(),
        *rows.without_files(),
        *rows.of_changed_files(),
        *rows.not_unit(),
    ):
        mended = ""
        if repair:
            store.remove(fault.ids)
            mended = "Removed from the index; `duet index` reads the files that exist again."
        findings.append(Finding(what=fault.what, examples=fault.examples, mended=mended))
    findings += [*_check_groups(store, rows.items, repair), *_check_ids(store, repair)]
    return CheckReport(num_items=len(store), findings=tuple(findings))


def _set_aside(location: IndexLocation) -> tuple[Store, str]:
    """Move damaged commits away; return the index and what was lost, in words.

    Raises:
        GalleryError: No commit can be read.
    """
    storage = storage_at(location)
    assert isinstance(storage, Folder)  # an object store commits whole files
    moved = storage.set_aside_damaged()
    store = Store.open(location)
    plural = "s" if len(moved.versions) > 1 else ""
    numbers = " and ".join(map(str, moved.versions))
    return store, (
        f"Commit{plural} {numbers} moved to {moved.folder}; the {len(store)} pictures of the "
        "commits before are kept. `duet index` reads again what was added or changed later."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fault:
    what: str
    ids: list[str]
    examples: tuple[str, ...]


class _Rows:
    """The rows of an index, read once."""

    def __init__(self, store: Store) -> None:
        """Read every column, region codes included.

        Raises:
            GalleryError: A row cannot be read.
        """
        self._store = store
        self.items = store.items()
        self._vectors = store.ids_and_vectors()
        store.read_through()

    def duplicates(self) -> Iterable[_Fault]:
        for field in ("id", "path"):
            values = [getattr(item, field) for item in self.items]
            counts = Counter(values)
            duplicates = [item for item in self.items if counts[getattr(item, field)] > 1]
            if duplicates:
                yield _fault(
                    f"{len(duplicates)} rows share their {field} with another.", duplicates
                )

    def outside(self) -> Iterable[_Fault]:
        outside = [item for item in self.items if self._is_outside(item)]
        if outside:
            what = (
                f"{len(outside)} rows name a link or a path that leads out of {self._store.root}."
            )
            yield _fault(what, outside)

    def _is_outside(self, item: Item) -> bool:
        is_absolute = Path(item.path).is_absolute()
        return is_absolute or leaves_folder(picture_file(self._store.root, item.path))

    def without_files(self) -> Iterable[_Fault]:
        root = self._store.root
        missing = [item for item in self.items if not picture_file(root, item.path).is_file()]
        if missing and len(missing) == len(self.items):
            raise GalleryError(
                f"The pictures of {self._store.location} must be below {root}, and none is. If "
                f"they were moved, run: duet index FOLDER --index {self._store.location}"
            )
        if missing:
            yield _fault(f"{len(missing)} pictures no longer exist.", missing)

    def of_changed_files(self) -> Iterable[_Fault]:
        counts = Counter(item.path for item in self.items)  # rows that share a path are faulty
        changed = [
            item
            for item in self.items
            if counts[item.path] == 1
            and not self._is_outside(item)
            and _has_changed(self._store.root, item)
        ]
        if changed:
            what = f"{len(changed)} pictures have changed since they were indexed."
            yield _fault(what, changed)

    def not_unit(self) -> Iterable[_Fault]:
        lengths = np.linalg.norm(self._vectors.vectors.astype(np.float32), axis=1)
        bad = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # NaN too
        ids = set(self._vectors.ids[bad].astype(str).tolist())
        if ids:
            what = f"{len(ids)} vectors do not have unit length."
            yield _fault(what, [item for item in self.items if item.id in ids])


def _has_changed(root: Path, item: Item) -> bool:
    """Tell whether the file of an item has another content; missing files are another fault."""
    try:
        return content_id_of(picture_file(root, item.path)) != item.id
    except OSError:
        return picture_file(root, item.path).is_file()


def _fault(what: str, items: list[Item]) -> _Fault:
    examples = tuple(printable(item.path) for item in items[:NUM_EXAMPLES])
    return _Fault(what=what, ids=sorted({item.id for item in items}), examples=examples)


def _check_groups(store: Store, items: list[Item], repair: bool) -> Iterable[Finding]:
    ids = {item.id for item in items}
    orphans = [item for item in items if item.near and item.near not in ids]
    if orphans:
        if repair:
            store.mark_near([item.id for item in orphans], [None] * len(orphans))
        yield Finding(
            what=f"{len(orphans)} near-duplicates refer to a picture that does not exist.",
            examples=tuple(printable(item.path) for item in orphans[:NUM_EXAMPLES]),
            mended="`duet index` compares them again." if repair else "",
        )


def _check_ids(store: Store, repair: bool) -> Iterable[Finding]:
    count, indexed = len(store), store.indexed_rows()
    if count - (indexed or 0) >= INDEXED_ROWS:
        if repair:
            store.compact()
        yield Finding(
            what=f"The index of ids holds {indexed or 0} of {count} rows.",
            mended="Updated." if repair else "",
        )


def discard_index(location: IndexLocation) -> None:
    """Delete an index and nothing else at its location.

    Raises:
        GalleryError: The location cannot be written.
    """
    storage_at(location).discard()
