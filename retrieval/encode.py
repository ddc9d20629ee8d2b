"""Turns a folder of pictures into an index: decode, embed in batches, commit, report."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float, Int8
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.images import ImageError, ImageLimits, open_image
from composer.layout import region_maps, region_projection
from retrieval.gallery import Candidate, Skipped, walk
from retrieval.regions import to_codes
from retrieval.store import Item, Manifest, Store, relative_root

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """How a folder is indexed.

    Attributes:
        batch_size: Pictures embedded at once.
        commit_every: Pictures between two commits; a kill loses at most so many.
        known: What is known of pictures by their path below the root (kind, domain, caption,
            tags); other pictures are indexed without.
        limits: Caps on one picture.
    """

    batch_size: int = 32
    commit_every: int = 1000
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """What became of every picture of a folder.

    Attributes:
        num_added: Newly embedded.
        num_kept: Already in the index and unchanged.
        num_removed: In the index, no longer in the folder.
        skipped: Left out, with reasons.
    """

    num_added: int
    num_kept: int
    num_removed: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    item: Item
    image: Image.Image


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
    """Bring the index at `index` up to date with the pictures below `root`.

    Unchanged files (same path, size and time) are not read again, deleted ones leave the index, and
    of two files with the same content the first by name is kept. `progress` is told how many
    files of how many are done, after each batch.

    Raises:
        GalleryError: The folder cannot be read, the index cannot be written or was made by
            another encoder.
    """
    options = options or IndexOptions()
    found = list(walk(root))
    manifest = Manifest(
        gallery_hash=backbone.gallery_hash,
        dim=backbone.joint_dim,
        kit=kit,
        root=relative_root(index, root),
    )
    return _Run(root, Store.create(index, manifest), backbone, options).update(found, progress)


class _Run:
    """One pass over a folder."""

    def __init__(self, root: Path, store: Store, backbone: Backbone, options: IndexOptions) -> None:
        self._root, self._store, self._backbone, self._options = root, store, backbone, options
        self._projection = region_projection(backbone.joint_dim).to(backbone.device)
        self._before = {item.path: item for item in store.items()}
        self._skipped: list[Skipped] = []
        self._paths_by_id: dict[str, str] = {}
        self._num_added = 0

    def update(self, found: list[Candidate | Skipped], progress: Progress | None) -> IndexReport:
        self._skipped = [one for one in found if isinstance(one, Skipped)]
        candidates = [one for one in found if isinstance(one, Candidate)]
        kept = [one for one in candidates if self._is_unchanged(one)]
        self._paths_by_id = {self._before[one.path].id: one.path for one in kept}
        fresh = [one for one in candidates if one.path not in set(self._paths_by_id.values())]
        gone = [item for item in self._before.values() if item.id not in self._paths_by_id]
        self._embed(fresh, len(candidates), progress)
        self._store.remove([item.id for item in gone if item.id not in self._paths_by_id])
        self._store.compact()
        return IndexReport(
            num_added=self._num_added,
            num_kept=len(kept),
            num_removed=sum(item.id not in self._paths_by_id for item in gone),
            skipped=tuple(sorted(self._skipped, key=lambda one: one.path)),
        )

    def _is_unchanged(self, candidate: Candidate) -> bool:
        item = self._before.get(candidate.path)
        if item is None:
            return False
        stat = candidate.file.stat()
        return (item.size_bytes, item.mtime_ns) == (stat.st_size, stat.st_mtime_ns)

    def _embed(self, fresh: list[Candidate], num_files: int, progress: Progress | None) -> None:
        items: list[Item] = []
        encoded: list[EncodedImages] = []
        num_done = num_files - len(fresh)
        for batch, num_read in self._batches(fresh):
            num_done += num_read
            if batch:
                items += [one.item for one in batch]
                images = [one.image for one in batch]
                encoded.append(encode_with_regions(self._backbone, images, self._projection))
            if len(items) >= self._options.commit_every:
                self._commit(items, encoded)
                items, encoded = [], []
            if progress:
                progress(num_done, num_files)
        self._commit(items, encoded)

    def _commit(self, items: list[Item], encoded: list[EncodedImages]) -> None:
        if items:
            vectors = torch.cat([one.features for one in encoded]).cpu().numpy()
            regions = torch.cat([one.regions for one in encoded]).cpu().numpy()
            self._store.add(items, vectors, regions)
            self._num_added += len(items)

    def _batches(self, fresh: list[Candidate]) -> Iterator[tuple[list[_Decoded], int]]:
        """Decode ahead in threads; yield what could be read and how many files that took."""
        size = self._options.batch_size
        remaining = iter(fresh)
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            ahead = pool.map(self._decode, islice(remaining, size))
            while results := list(ahead):
                ahead = pool.map(self._decode, islice(remaining, size))
                yield [new for one in results if (new := self._new(one))], len(results)

    def _new(self, result: "_Decoded | Skipped") -> "_Decoded | None":
        """Pass on what is to be embedded; note the rest as skipped."""
        if isinstance(result, Skipped):
            self._skipped.append(result)
            return None
        first = self._paths_by_id.setdefault(result.item.id, result.item.path)
        if first == result.item.path:
            return result
        reason = f"It has the same content as {first}."
        self._skipped.append(Skipped(path=result.item.path, reason=reason))
        return None

    def _decode(self, candidate: Candidate) -> "_Decoded | Skipped":
        try:
            stat = candidate.file.stat()
            if stat.st_size > self._options.limits.max_bytes:
                open_image(candidate.file, self._options.limits)
            data = candidate.file.read_bytes()
            image = open_image(data, self._options.limits)
        except (ImageError, OSError) as error:
            reason = str(error) if isinstance(error, ImageError) else "It cannot be read."
            return Skipped(path=candidate.path, reason=reason.replace("The image", "It", 1))
        item = Item(
            id=hashlib.sha256(data).hexdigest()[:32],
            path=candidate.path,
            size_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            width_px=image.width,
            height_px=image.height,
        )
        known = self._options.known.get(candidate.path, {})
        return _Decoded(item=replace(item, **known), image=image)


@torch.inference_mode()
def encode_images(backbone: Backbone, images: list[Image.Image]) -> Float[Tensor, "n d"]:
    """Return unit features of RGB pictures from the kit's frozen vision tower."""
    return backbone.encode_image(backbone.preprocess(images)).features.float()


@torch.inference_mode()
def encode_with_regions(
    backbone: Backbone, images: list[Image.Image], projection: Float[Tensor, "r d k"]
) -> EncodedImages:
    """Return unit features and region codes of RGB pictures, from one pass of the frozen tower."""
    seen = backbone.encode_image(backbone.preprocess(images))
    maps = region_maps(seen.patch_features, projection)
    return EncodedImages(features=seen.features.float(), regions=to_codes(maps))
