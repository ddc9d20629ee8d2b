"""Indexing of folders: embedding of new pictures, removal of deleted ones, and a report."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from composer.backbone import Backbone
from retrieval.files import printable
from retrieval.indexing.embed import Embedded, Embedder, EmbedOptions, LocalEmbedder
from retrieval.indexing.intake import Recognised, describe, facts_of
from retrieval.indexing.near import NEAR, mark_near_duplicates
from retrieval.indexing.walk import Candidate, Skipped, walk
from retrieval.store.address import IndexLocation
from retrieval.store.roots import manifest_of
from retrieval.store.schema import Item
from retrieval.store.table import Store

Progress = Callable[[int, int], None]
COMPARED_FIELDS = (
    *("id", "path", "size_bytes", "mtime_ns", "ctime_ns"),
    *("caption_mtime_ns", "copies"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions(EmbedOptions):
    """How a folder is indexed.

    Attributes:
        commit_every: Pictures per commit, the most that an interruption can lose.
        commit_s: Seconds after which fewer pictures are committed, too.
        near: Least cosine of the features of near-duplicates.
    """

    commit_every: int = 1000
    commit_s: float = 30.0
    near: float = NEAR


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """Result of indexing folders.

    Attributes:
        num_added: Pictures embedded.
        num_kept: Pictures unchanged since the last run.
        num_moved: Pictures known by another path or time; not embedded again.
        num_updated: Unchanged pictures with changed facts.
        num_removed: Pictures removed, as they are no longer in the folders.
        num_near: Near-duplicates of another picture, in the whole index.
        skipped: Files skipped, with reasons.
        captions_left_out: Unusable text files beside pictures, with reasons.
    """

    num_added: int
    num_kept: int
    num_moved: int
    num_updated: int
    num_removed: int
    num_near: int
    skipped: tuple[Skipped, ...]
    captions_left_out: tuple[Skipped, ...]


def index_folder(
    root: Path,
    index: IndexLocation,
    backbone: Backbone,
    *,
    kit: str,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Update the index at `index` with the pictures below `root`; see `index_folders`."""
    return index_folders([root], index, backbone, kit=kit, options=options, progress=progress)


def index_folders(
    folders: Sequence[Path],
    index: IndexLocation,
    backbone: Backbone,
    *,
    kit: str,
    options: IndexOptions | None = None,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Update the index at `index` with the pictures of folders.

    Unchanged files (same path, size and times) are not read again, moved files (known content at
    another path) are not embedded again, and deleted files are removed from the index. Files with
    the same content are one item, by the path of the first by name; the others are its copies.
    Items of other folders are kept. An interrupted run resumes at its last commit.

    Args:
        folders: Folders of pictures.
        index: Location of the index.
        backbone: The kit's frozen backbone.
        kit: Name of the kit, for messages.
        options: How to index; None for the defaults.
        embedder: Embedder with the same backbone; None to embed in this process.
        progress: Called after each batch with the numbers of files done and of all files.

    Raises:
        GalleryError: A folder cannot be read or lies outside the index's root, or the index
            cannot be written or was made by another encoder.
    """
    options = options or IndexOptions()
    manifest = manifest_of(folders, index, backbone, kit=kit)
    store = Store.create(index, manifest)
    files = list(walk(store.root, [folder.resolve() for folder in folders]))
    embedder = embedder or LocalEmbedder(backbone, options)
    return _Run(folders, store, embedder, options).update(files, progress)


def _is_unchanged(item: Item, file: Candidate) -> bool:
    """Tell whether a file is as it was indexed; earlier layouts know no `ctime_ns`."""
    return (
        item.size_bytes == file.size_bytes
        and item.mtime_ns == file.mtime_ns
        and item.ctime_ns in (0, file.ctime_ns)
    )


class _Run:
    """One update of an index from folders."""

    def __init__(
        self, folders: Sequence[Path], store: Store, embedder: Embedder, options: IndexOptions
    ) -> None:
        self._store, self._embedder, self._options = store, embedder, options
        self._root = store.root.resolve()
        self._folders = [folder.resolve() for folder in folders]
        self._before = store.items(COMPARED_FIELDS)
        self._by_id = {item.id: item for item in self._before}
        self._skipped: list[Skipped] = []
        self._captions_left_out: list[Skipped] = []
        self._paths_by_id: dict[str, str] = {}
        self._copies: defaultdict[str, list[str]] = defaultdict(list)
        self._num_added = self._num_moved = self._num_updated = 0

    def update(self, files: list[Candidate | Skipped], progress: Progress | None) -> IndexReport:
        self._skipped = [file for file in files if isinstance(file, Skipped)]
        candidates = [file for file in files if isinstance(file, Candidate)]
        kept = self._kept(candidates)
        self._paths_by_id = {id_: file.path for id_, file in kept.items()}
        unchanged = set(self._paths_by_id.values())
        changed = [file for file in candidates if file.path not in unchanged]
        self._num_updated = self._describe(self._with_changed_facts(kept))
        self._embed(changed, len(candidates), progress)
        deleted = self._deleted()
        self._store.remove(deleted)
        self._store_copies()
        num_near = mark_near_duplicates(self._store, threshold=self._options.near)
        self._store.compact()
        return IndexReport(
            num_added=self._num_added,
            num_kept=len(kept),
            num_moved=self._num_moved,
            num_updated=self._num_updated,
            num_removed=len(deleted),
            num_near=num_near,
            skipped=tuple(sorted(self._skipped, key=lambda file: file.path)),
            captions_left_out=tuple(sorted(self._captions_left_out, key=lambda file: file.path)),
        )

    def _kept(self, candidates: list[Candidate]) -> dict[str, Candidate]:
        """Return the unchanged files by id; after an interruption, two rows may share a path."""
        by_path = {file.path: file for file in candidates}
        return {
            item.id: by_path[item.path]
            for item in self._before
            if item.path in by_path and _is_unchanged(item, by_path[item.path])
        }

    def _with_changed_facts(self, kept: Mapping[str, Candidate]) -> dict[str, Candidate]:
        """Return the unchanged files whose facts may have changed."""
        facts = self._options.facts_by_path
        return {
            id_: file
            for id_, file in kept.items()
            if facts_of(file, facts) or file.caption_mtime_ns != self._by_id[id_].caption_mtime_ns
        }

    def _is_below(self, path: str) -> bool:
        file = self._root / path
        return any(file.is_relative_to(folder) for folder in self._folders)

    def _describe(self, files: Mapping[str, Candidate]) -> int:
        """Commit paths and facts of existing items; return the number of changed items."""
        ids = list(files)
        num_changed = 0
        for start in range(0, len(ids), self._options.commit_every):
            batch = ids[start : start + self._options.commit_every]
            changed: list[Item] = []
            for item in self._store.items_of(batch):
                if item is None:  # another process has removed it
                    continue
                described = describe(item, files[item.id], self._options.facts_by_path)
                self._note(described.problem)
                if described.item != item:
                    changed.append(described.item)
            self._store.update(changed)
            num_changed += len(changed)
        return num_changed

    def _embed(self, files: list[Candidate], num_files: int, progress: Progress | None) -> None:
        embedded: list[Embedded] = []
        moved: dict[str, Candidate] = {}
        num_done = num_files - len(files)
        committed_s = time.monotonic()
        for result in self._embedder.embed(files, self._by_id.keys()):
            num_done += 1
            match result:
                case Skipped():
                    self._skipped.append(result)
                case Recognised() if self._is_new(result.id, result.candidate.path):
                    moved[result.id] = result.candidate
                case Embedded() if self._is_new(result.item.id, result.item.path):
                    self._note(result.problem)
                    embedded.append(result)
                case Recognised() | Embedded():
                    pass
            if progress and num_done % self._options.batch_size == 0:
                progress(num_done, num_files)
            if self._is_due(len(embedded) + len(moved), committed_s):
                self._commit(embedded, moved)
                embedded, moved = [], {}
                committed_s = time.monotonic()
        self._commit(embedded, moved)
        if progress:
            progress(num_done, num_files)

    def _is_due(self, num_pictures: int, committed_s: float) -> bool:
        """Tell whether pictures are to be committed, by their number or the time."""
        is_late = time.monotonic() - committed_s >= self._options.commit_s
        return num_pictures >= self._options.commit_every or (num_pictures > 0 and is_late)

    def _is_new(self, id_: str, path: str) -> bool:
        """Tell whether a file is the first with its content; record other files as skipped."""
        first = self._paths_by_id.get(id_)
        if first is None and (before := self._by_id.get(id_)) and self._is_elsewhere(before):
            first = before.path
        if first is None:
            self._paths_by_id[id_] = path
            return True
        reason = f"It has the same content as {printable(first)}."
        if self._store.has_copies:
            self._copies[id_].append(path)
            reason += " A search in its folder finds it as a copy."
        self._skipped.append(Skipped(path=printable(path), reason=reason))
        return False

    def _is_elsewhere(self, item: Item) -> bool:
        """Tell whether an item's file still exists, in a folder outside this run."""
        return not self._is_below(item.path) and (self._root / item.path).is_file()

    def _deleted(self) -> list[str]:
        """Return the ids of items whose files are gone; one with a copy elsewhere gets its path."""
        gone = [
            item
            for item in self._before
            if item.id not in self._paths_by_id and self._is_below(item.path)
        ]
        elsewhere = {
            item.id: copies[0] for item in gone if (copies := self._copies_elsewhere(item))
        }
        rehomed = [item for item in self._store.items_of(list(elsewhere)) if item is not None]
        # The time is unknown, so that the next run reads the file.
        self._store.update(
            [replace(item, path=elsewhere[item.id], mtime_ns=0, copies=()) for item in rehomed]
        )
        return [item.id for item in gone if item.id not in elsewhere]

    def _copies_elsewhere(self, item: Item) -> list[str]:
        """Return the copies that still exist outside the folders of this run."""
        return [
            path
            for path in item.copies
            if not self._is_below(path) and (self._root / path).is_file()
        ]

    def _store_copies(self) -> None:
        """Commit the copies that were seen; those outside the folders of this run are kept."""
        ids = {item.id for item in self._before if item.copies} | self._copies.keys()
        changed: list[Item] = []
        for item in self._store.items_of(sorted(ids)):
            if item is None:
                continue
            paths = {*self._copies_elsewhere(item), *self._copies.get(item.id, ())} - {item.path}
            if (copies := tuple(sorted(paths))) != item.copies:
                changed.append(replace(item, copies=copies))
        for start in range(0, len(changed), self._options.commit_every):
            self._store.update(changed[start : start + self._options.commit_every])

    def _note(self, problem: Skipped | None) -> None:
        if problem is not None:
            self._captions_left_out.append(problem)

    def _commit(self, embedded: list[Embedded], moved: Mapping[str, Candidate]) -> None:
        self._describe(moved)
        self._num_moved += len(moved)
        finite = [result for result in embedded if np.isfinite(result.feature).all()]
        if len(finite) < len(embedded):  # half precision may overflow
            reason = "The encoder returns no finite feature for it; try another --device or kit."
            paths = {result.item.path for result in embedded}
            paths -= {result.item.path for result in finite}
            self._skipped += [Skipped(path=printable(path), reason=reason) for path in paths]
        if finite:
            features = np.stack([result.feature for result in finite])
            codes = np.stack([result.codes for result in finite])
            self._store.add([result.item for result in finite], features, codes)
            self._num_added += len(finite)
