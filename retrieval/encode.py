"""Turns folders of pictures into an index: decode, embed in batches, commit, report."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.images import ImageLimits
from composer.layout import region_maps, region_projection
from retrieval.gallery import Candidate, Skipped, printable, walk
from retrieval.intake import Decoded, Facts, Intake, Recognised
from retrieval.near import NEAR, mark_near_duplicates
from retrieval.regions import to_codes
from retrieval.roots import manifest_of
from retrieval.schema import Item
from retrieval.store import Store

Progress = Callable[[int, int], None]
LOOKED_AT = ("id", "path", "size_bytes", "mtime_ns", "caption_mtime_ns")
# A JPEG is decoded at no less than so many times the encoder's size, which takes a quarter of the
# time at three million pixels; against whole decoding, the mini kit's features keep a cosine of
# 0.9999 (one of two sizes: 0.99995, and a fifth slower).
DECODED_SIZES = 1.5
AHEAD = 4  # batches that wait for the encoder: a few kilobytes a picture


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """How a folder is indexed.

    Attributes:
        batch_size: Pictures embedded at once.
        commit_every: Pictures between two commits; a kill loses at most so many.
        known: What is known of pictures by their path below the root (kind, domain, caption);
            other pictures are indexed without.
        limits: Caps on one picture.
        near: Cosine of features from which on two pictures are near-duplicates.
        num_workers: Threads that decode; None for one per core.
    """

    batch_size: int = 32
    commit_every: int = 1000
    known: Mapping[str, Facts] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    near: float = NEAR
    num_workers: int | None = None


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedImages:
    """What an index keeps of n pictures.

    Attributes:
        features: Unit vectors in the joint space.
        regions: Region codes, see `retrieval.regions`.
    """

    features: Float[Tensor, "n d"]
    regions: Int8[Tensor, "n c"]


def index_folder(
    root: Path,
    index: Path,
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
    index: Path,
    backbone: Backbone,
    *,
    kit: str,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Bring the index at `index` up to date with the pictures of some folders.

    Unchanged files (same path, size and time) are not read again, moved ones (known content at
    another path) not embedded again, deleted ones leave the index, and of two files with the same
    content the first by name is kept. What the index holds of other folders stays. A run that was
    stopped is taken up where its last commit was. `progress` is told how many files of how many
    are done, after each batch.

    Raises:
        GalleryError: A folder cannot be read or lies outside the index's root, or the index
            cannot be written or was made by another encoder.
    """
    options = options or IndexOptions()
    manifest = manifest_of(folders, index, backbone, kit=kit)
    store = Store.create(index, manifest)
    found = list(walk(store.root, [folder.resolve() for folder in folders]))
    return _Run(folders, store, backbone, options).update(found, progress)


class _Run:
    """One pass over some folders."""

    def __init__(
        self, folders: Sequence[Path], store: Store, backbone: Backbone, options: IndexOptions
    ) -> None:
        self._store, self._backbone, self._options = store, backbone, options
        self._projection = region_projection(backbone.joint_dim).to(backbone.device)
        self._root = store.root.resolve()
        self._folders = [folder.resolve() for folder in folders]
        self._before = store.items(LOOKED_AT)
        self._by_id = {item.id: item for item in self._before}
        self._intake = Intake(
            crop=backbone.crop,
            least_px=int(DECODED_SIZES * backbone.image_size_px),
            limits=options.limits,
            seen=self._by_id.keys(),
            known=options.known,
        )
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
                described = self._intake.describe(item, places[item.id])
                self._note(described.problem)
                if described.item != item:
                    changed.append(described.item)
            self._store.update(changed)
            num_changed += len(changed)
        return num_changed

    def _embed(self, fresh: list[Candidate], num_files: int, progress: Progress | None) -> None:
        batch: list[Decoded] = []
        pending = _Pending()
        moved: dict[str, Candidate] = {}
        num_done = num_files - len(fresh)
        for result in self._results(fresh):
            num_done += 1
            match result:
                case Skipped():
                    self._skipped.append(result)
                case Recognised() if self._is_new(result.id, result.candidate.path):
                    moved[result.id] = result.candidate
                case Decoded() if self._is_new(result.item.id, result.item.path):
                    batch.append(result)
                case Recognised() | Decoded():
                    pass
            if len(batch) >= self._options.batch_size:
                self._encode(batch, pending)
                batch = []
                if progress:
                    progress(num_done, num_files)
            if len(pending.items) + len(moved) >= self._options.commit_every:
                self._commit(pending, moved)
                pending, moved = _Pending(), {}
        self._encode(batch, pending)
        self._commit(pending, moved)
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

    def _encode(self, batch: list[Decoded], pending: "_Pending") -> None:
        if batch:
            for one in batch:
                self._note(one.problem)
            levels = np.stack([one.levels for one in batch])
            pending.items += [one.item for one in batch]
            pending.encoded.append(encode_levels(self._backbone, levels, self._projection))

    def _commit(self, pending: "_Pending", moved: Mapping[str, Candidate]) -> None:
        self._describe(moved)
        self._num_moved += len(moved)
        if pending.items:
            vectors = torch.cat([one.features for one in pending.encoded]).cpu().numpy()
            regions = torch.cat([one.regions for one in pending.encoded]).cpu().numpy()
            rows: list[int] = []
            for row, item in enumerate(pending.items):
                if np.isfinite(vectors[row]).all():
                    rows.append(row)
                else:  # half precision may overflow
                    reason = "The encoder finds no feature for it; try another --device or kit."
                    self._skipped.append(Skipped(path=printable(item.path), reason=reason))
            items = [pending.items[row] for row in rows]
            self._store.add(items, vectors[rows], regions[rows])
            self._num_added += len(items)

    def _results(self, fresh: list[Candidate]) -> Iterator[Decoded | Recognised | Skipped]:
        """Read files in threads, a bounded number ahead of the encoder, and yield in their order.

        Pillow gives way to other threads while it decodes and resizes.
        """
        num_workers = self._options.num_workers or os.cpu_count() or 1
        most = AHEAD * self._options.batch_size + num_workers
        ahead: deque[Future[Decoded | Recognised | Skipped]] = deque()
        pool = ThreadPoolExecutor(max_workers=num_workers)
        try:
            for candidate in fresh:
                ahead.append(pool.submit(self._intake.read, candidate))
                if len(ahead) >= most:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(kw_only=True, slots=True, eq=False)
class _Pending:
    """Encoded and not committed."""

    items: list[Item] = field(default_factory=list[Item])
    encoded: list[EncodedImages] = field(default_factory=list[EncodedImages])


@torch.inference_mode()
def encode_images(backbone: Backbone, images: list[Image.Image]) -> Float[Tensor, "n d"]:
    """Return unit features of RGB pictures from the kit's frozen vision tower."""
    return backbone.encode_image(backbone.preprocess(images)).features.float()


@torch.inference_mode()
def encode_with_regions(
    backbone: Backbone, images: list[Image.Image], projection: Float[Tensor, "r d k"]
) -> EncodedImages:
    """Return unit features and region codes of RGB pictures, from one pass of the frozen tower."""
    levels = np.stack([backbone.crop(image) for image in images])
    return encode_levels(backbone, levels, projection)


@torch.inference_mode()
def encode_levels(
    backbone: Backbone, levels: UInt8[np.ndarray, "n h w 3"], projection: Float[Tensor, "r d k"]
) -> EncodedImages:
    """Return unit features and region codes of pictures that have the encoder's size already."""
    seen = backbone.encode_image(backbone.normalise_pixels(levels))
    maps = region_maps(seen.patch_features, projection)
    return EncodedImages(features=seen.features.float(), regions=to_codes(maps))
