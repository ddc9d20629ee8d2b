"""Turns folders of pictures into an index: embed what is new, commit, forget, report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from composer.backbone import Backbone
from retrieval.files import printable
from retrieval.indexing.embed import Embedded, Embedder, EmbedOptions, LocalEmbedder
from retrieval.indexing.intake import Recognised, describe
from retrieval.indexing.near import NEAR, mark_near_duplicates
from retrieval.indexing.walk import Candidate, Skipped, walk
from retrieval.store.location import IndexPlace
from retrieval.store.roots import manifest_of
from retrieval.store.schema import Item
from retrieval.store.table import Store

Progress = Callable[[int, int], None]
LOOKED_AT = ("id", "path", "size_bytes", "mtime_ns", "caption_mtime_ns")


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions(EmbedOptions):
    """How a folder is indexed.

    Attributes:
        commit_every: Pictures between two commits; a kill loses at most so many.
        near: Cosine of features from which on two pictures are near-duplicates.
    """

    commit_every: int = 1000
    near: float = NEAR


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """What became of every picture of a folder.

    Attributes:
        num_added: Newly embedded.
        num_kept: Already in the index and unchanged.
        num_moved: Already in the index by another name or time; not embedded again.
        num_updated: Of the unchanged ones, those of which other facts are told.
        num_removed: In the index, no longer in the folder.
        num_near: Near-duplicates of another picture, in the whole index.
        skipped: Left out, with reasons.
        captions_left_out: Text files beside pictures that could not be used, with reasons.
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
    index: IndexPlace,
    backbone: Backbone,
    *,
    kit: str,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Bring the index at `index` up to date with the pictures below `root`: see `index_folders`."""
    return index_folders([root], index, backbone, kit=kit, options=options, progress=progress)


def index_folders(
    folders: Sequence[Path],
    index: IndexPlace,
    backbone: Backbone,
    *,
    kit: str,
    options: IndexOptions | None = None,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Bring the index at `index` up to date with the pictures of some folders.

    Unchanged files (same path, size and time) are not read again, moved ones (known content at
    another path) not embedded again, deleted ones leave the index, and of two files with the same
    content the first by name is kept. What the index holds of other folders stays. A run that was
    stopped is taken up where its last commit was. `embedder` is this process where none is given;
    it must use the same backbone. `progress` is told how many files of how many are done, after
    each batch.

    Raises:
        GalleryError: A folder cannot be read or lies outside the index's root, or the index
            cannot be written or was made by another encoder.
    """
    options = options or IndexOptions()
    manifest = manifest_of(folders, index, backbone, kit=kit)
    store = Store.create(index, manifest)
    found = list(walk(store.root, [folder.resolve() for folder in folders]))
    embedder = embedder or LocalEmbedder(backbone, options)
    return _Run(folders, store, embedder, options).update(found, progress)


class _Run:
    """One pass over some folders."""

    def __init__(
        self, folders: Sequence[Path], store: Store, embedder: Embedder, options: IndexOptions
    ) -> None:
        self._store, self._embedder, self._options = store, embedder, options
        self._root = store.root.resolve()
        self._folders = [folder.resolve() for folder in folders]
        self._before = store.items(LOOKED_AT)
        self._by_id = {item.id: item for item in self._before}
        self._skipped: list[Skipped] = []
        self._captions_left_out: list[Skipped] = []
        self._paths_by_id: dict[str, str] = {}
        self._num_added = self._num_moved = self._num_updated = 0

    def update(self, found: list[Candidate | Skipped], progress: Progress | None) -> IndexReport:
        self._skipped = [one for one in found if isinstance(one, Skipped)]
        candidates = [one for one in found if isinstance(one, Candidate)]
        kept = self._kept(candidates)
        self._paths_by_id = {id_: one.path for id_, one in kept.items()}
        unchanged = set(self._paths_by_id.values())
        fresh = [one for one in candidates if one.path not in unchanged]
        self._num_updated = self._describe(self._told_anew(kept))
        self._embed(fresh, len(candidates), progress)
        gone = [
            item.id
            for item in self._before
            if item.id not in self._paths_by_id and self._is_below(item.path)
        ]
        self._store.remove(gone)
        num_near = mark_near_duplicates(self._store, threshold=self._options.near)
        self._store.compact()
        return IndexReport(
            num_added=self._num_added,
            num_kept=len(kept),
            num_moved=self._num_moved,
            num_updated=self._num_updated,
            num_removed=len(gone),
            num_near=num_near,
            skipped=tuple(sorted(self._skipped, key=lambda one: one.path)),
            captions_left_out=tuple(sorted(self._captions_left_out, key=lambda one: one.path)),
        )

    def _kept(self, candidates: list[Candidate]) -> dict[str, Candidate]:
        """Return the unchanged files by id. Between two commits, two rows may name one path."""
        by_file = {(one.path, one.size_bytes, one.mtime_ns): one for one in candidates}
        keys = ((item.id, (item.path, item.size_bytes, item.mtime_ns)) for item in self._before)
        return {id_: by_file[key] for id_, key in keys if key in by_file}

    def _told_anew(self, kept: Mapping[str, Candidate]) -> dict[str, Candidate]:
        """Return those of the unchanged files of which something else may be told."""
        known = self._options.known
        return {
            id_: one
            for id_, one in kept.items()
            if one.path in known or one.caption_mtime_ns != self._by_id[id_].caption_mtime_ns
        }

    def _is_below(self, path: str) -> bool:
        file = self._root / path
        return any(file.is_relative_to(folder) for folder in self._folders)

    def _describe(self, places: Mapping[str, Candidate]) -> int:
        """Commit what files tell of items that are there; returns how many changed."""
        ids = list(places)
        num_changed = 0
        for start in range(0, len(ids), self._options.commit_every):
            some = ids[start : start + self._options.commit_every]
            changed: list[Item] = []
            for item in self._store.items_of(some):
                if item is None:  # another process has removed it
                    continue
                described = describe(item, places[item.id], self._options.known)
                self._note(described.problem)
                if described.item != item:
                    changed.append(described.item)
            self._store.update(changed)
            num_changed += len(changed)
        return num_changed

    def _embed(self, fresh: list[Candidate], num_files: int, progress: Progress | None) -> None:
        embedded: list[Embedded] = []
        moved: dict[str, Candidate] = {}
        num_done = num_files - len(fresh)
        for result in self._embedder.embed(fresh, self._by_id.keys()):
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
            if len(embedded) + len(moved) >= self._options.commit_every:
                self._commit(embedded, moved)
                embedded, moved = [], {}
        self._commit(embedded, moved)
        if progress:
            progress(num_done, num_files)

    def _is_new(self, id_: str, path: str) -> bool:
        """Tell whether a file is the first of its content; note it as skipped where it is not."""
        first = self._paths_by_id.get(id_)
        if first is None and (before := self._by_id.get(id_)) and self._is_elsewhere(before):
            first = before.path
        if first is None:
            self._paths_by_id[id_] = path
            return True
        reason = f"It has the same content as {printable(first)}."
        self._skipped.append(Skipped(path=printable(path), reason=reason))
        return False

    def _is_elsewhere(self, item: Item) -> bool:
        """Tell whether an item's file is still there, in a folder that this run leaves alone."""
        return not self._is_below(item.path) and (self._root / item.path).is_file()

    def _note(self, problem: Skipped | None) -> None:
        if problem is not None:
            self._captions_left_out.append(problem)

    def _commit(self, embedded: list[Embedded], moved: Mapping[str, Candidate]) -> None:
        self._describe(moved)
        self._num_moved += len(moved)
        whole = [one for one in embedded if np.isfinite(one.feature).all()]
        if len(whole) < len(embedded):  # half precision may overflow
            reason = "The encoder finds no feature for it; try another --device or kit."
            paths = {one.item.path for one in embedded} - {one.item.path for one in whole}
            self._skipped += [Skipped(path=printable(path), reason=reason) for path in paths]
        if whole:
            features = np.stack([one.feature for one in whole])
            codes = np.stack([one.codes for one in whole])
            self._store.add([one.item for one in whole], features, codes)
            self._num_added += len(whole)
