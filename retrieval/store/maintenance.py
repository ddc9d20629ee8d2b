"""Checks an index against itself and its pictures, mends what can be mended, or discards it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from retrieval.errors import GalleryError
from retrieval.files import printable
from retrieval.store.location import IndexPlace, base_of
from retrieval.store.schema import Item
from retrieval.store.table import Store
from retrieval.store.versions import INDEXED_ROWS

UNIT_TOLERANCE = 5e-3  # of float16 vectors
NUM_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with an index.

    Attributes:
        what: In one sentence.
        examples: Paths or ids of the first it concerns, which can be printed.
        mended: What was done about it; empty where nothing was.
    """

    what: str
    examples: tuple[str, ...] = ()
    mended: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        num_items: In the index, after what was mended.
        findings: Empty where all is well.
    """

    num_items: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is left to mend."""
        return all(finding.mended for finding in self.findings)


def check_index(place: IndexPlace, *, repair: bool = False) -> CheckReport:
    """Verify that an index can be read whole and says what its pictures say.

    Checked are the manifest, that every row can be read, that ids and paths are there once and
    vectors have length one, that files are there, that groups of near-duplicates have their first,
    and the index of ids. With `repair`, a table whose last version cannot be read goes back to the
    youngest that can, and rows that are wrong are removed: the next `duet index FOLDER` embeds
    their pictures again.

    Raises:
        GalleryError: There is no index, its manifest is damaged, no version can be read, or none of
            its pictures is where it says.
    """
    store = Store.open(place)
    findings: list[Finding] = []
    try:
        rows = _Rows(store)
    except GalleryError as error:
        finding = Finding(what=f"The table cannot be read: {error}")
        if not repair:
            return CheckReport(num_items=0, findings=(finding,))
        version = store.restore_readable()
        findings.append(Finding(what=finding.what, mended=f"Went back to version {version}."))
        rows = _Rows(store)
    wrong = [*rows.twice(), *rows.without_files(), *rows.not_unit()]
    for found in wrong:
        mended = ""
        if repair:
            store.remove(found.ids)
            mended = "Removed from the index; `duet index` reads again what is there."
        findings.append(Finding(what=found.what, examples=found.examples, mended=mended))
    findings += [*_groups(store, rows.items, repair), *_ids(store, repair)]
    return CheckReport(num_items=len(store), findings=tuple(findings))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wrong:
    what: str
    ids: list[str]
    examples: tuple[str, ...]


class _Rows:
    """All rows of an index, read once."""

    def __init__(self, store: Store) -> None:
        """Read everything, region codes too.

        Raises:
            GalleryError: A row cannot be read.
        """
        self._store = store
        self.items = store.items()
        self._vectors = store.ids_and_vectors()
        store.read_through()

    def twice(self) -> Iterable[_Wrong]:
        for field in ("id", "path"):
            values = [getattr(item, field) for item in self.items]
            counts = Counter(values)
            doubled = [item for item in self.items if counts[getattr(item, field)] > 1]
            if doubled:
                yield _wrong(f"{len(doubled)} rows share their {field} with another.", doubled)

    def without_files(self) -> Iterable[_Wrong]:
        root = self._store.root
        gone = [item for item in self.items if not (root / item.path).is_file()]
        if gone and len(gone) == len(self.items):
            raise GalleryError(
                f"The pictures of {self._store.place} must be below {root}, and none is. If they "
                f"were moved, run: duet index FOLDER --index {self._store.place}"
            )
        if gone:
            yield _wrong(f"{len(gone)} pictures are no longer there.", gone)

    def not_unit(self) -> Iterable[_Wrong]:
        lengths = np.linalg.norm(self._vectors.vectors.astype(np.float32), axis=1)
        bad = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # NaN too
        ids = set(self._vectors.ids[bad].astype(str).tolist())
        if ids:
            what = f"{len(ids)} vectors do not have length one."
            yield _wrong(what, [item for item in self.items if item.id in ids])


def _wrong(what: str, items: list[Item]) -> _Wrong:
    examples = tuple(printable(item.path) for item in items[:NUM_EXAMPLES])
    return _Wrong(what=what, ids=sorted({item.id for item in items}), examples=examples)


def _groups(store: Store, items: list[Item], repair: bool) -> Iterable[Finding]:
    there = {item.id for item in items}
    lost = [item for item in items if item.near and item.near not in there]
    if lost:
        if repair:
            store.mark_near([item.id for item in lost], [None] * len(lost))
        yield Finding(
            what=f"{len(lost)} near-duplicates name a picture that is not there.",
            examples=tuple(printable(item.path) for item in lost[:NUM_EXAMPLES]),
            mended="`duet index` looks at them again." if repair else "",
        )


def _ids(store: Store, repair: bool) -> Iterable[Finding]:
    count, indexed = len(store), store.indexed_rows()
    if count - (indexed or 0) >= INDEXED_ROWS:
        if repair:
            store.compact()
        yield Finding(
            what=f"The index of ids knows {indexed or 0} of {count} rows.",
            mended="Brought up to date." if repair else "",
        )


def discard_index(place: IndexPlace) -> None:
    """Delete an index, and nothing else that lies in its place.

    Raises:
        GalleryError: The place cannot be written.
    """
    base_of(place).discard()
