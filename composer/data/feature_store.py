"""Features of pictures by a tower that stays as it is, kept on disk from one training to the next.

A picture is known by its levels, so that every composer and every run finds what another one has
encoded, whatever else was in its batch.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.medium import Medium
from composer.vision import ImageEncoding, norm_state
from composer.weights import read_safetensors, write_safetensors

logger = logging.getLogger(__name__)
REGION_GRID = 4
_ENCODE_BATCH = 64
_SHARD = 512  # pictures; a kill loses no more

Encode = Callable[[Float[Tensor, "n 3 h w"], Medium], ImageEncoding]
Row = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeenPictures:
    """n pictures behind a tower, on the backbone's device.

    Attributes:
        features: Unit vectors in the joint space.
        layouts: As an index keeps them.
        regions: Unit vectors in the joint space, patch features averaged over a 4 x 4 grid; of
            photos alone.
    """

    features: Float[Tensor, "n d"]
    layouts: Float[Tensor, "n c"]
    regions: Float[Tensor, "n r d"] | None


class FeatureStore:
    """Encodes pictures that no run has encoded yet, and reads the others.

    Precision of the callers' autocast is kept apart: half is no substitute for full.
    """

    def __init__(
        self,
        backbone: Backbone,
        root: Path | None = None,
        *,
        tower: nn.Module | None = None,
        encode: Encode | None = None,
    ) -> None:
        """Take a tower.

        Args:
            backbone: The kit's CLIP.
            root: Folder of all towers' features; None keeps nothing.
            tower: A tuned copy of the backbone's tower; None for the frozen one.
            encode: How that copy encodes; None for the backbone's way.
        """
        self.backbone = backbone
        self._encode = encode or backbone.encode_image
        name = backbone.gallery_hash
        if tower is not None and (own := _tuning(backbone, tower)):
            name = f"{name}-{own}"
        self._folder = None if root is None else root / name
        self._shelves: dict[str, _Shelf] = {}

    @torch.no_grad()
    def see(
        self, pictures: UInt8[np.ndarray, "n s s 3"], medium: Medium = Medium.PHOTO
    ) -> SeenPictures:
        """Return what the tower makes of RGB pictures of its size; callers choose autocast."""
        shelf = self._shelf(medium)
        keys = [_key(picture) for picture in pictures]
        missing = [row for row, key in _first_of_each(keys) if key not in shelf]
        for start in range(0, len(missing), _ENCODE_BATCH):
            rows = missing[start : start + _ENCODE_BATCH]
            shelf.add([keys[row] for row in rows], self._look(pictures[rows], medium))
        found = shelf.get(keys)
        device = self.backbone.device
        regions = found.get("regions")
        return SeenPictures(
            features=found["features"].to(device),
            layouts=found["layouts"].to(device),
            regions=None if regions is None else regions.to(device),
        )

    def features(
        self, pictures: UInt8[np.ndarray, "n s s 3"], medium: Medium = Medium.PHOTO
    ) -> Float[Tensor, "n d"]:
        """Return the features of pictures, a batch in memory at a time."""
        starts = range(0, len(pictures), _ENCODE_BATCH)
        parts = [pictures[at : at + _ENCODE_BATCH] for at in starts]
        return torch.cat([self.see(part, medium).features for part in parts])

    def flush(self) -> None:
        """Write what waits for its shard to be full."""
        for shelf in self._shelves.values():
            shelf.flush()

    def _look(self, pictures: UInt8[np.ndarray, "n s s 3"], medium: Medium) -> Row:
        backbone = self.backbone
        seen = self._encode(backbone.normalise_pixels(pictures), medium)
        made = {
            "features": seen.features.float(),
            "layouts": backbone.layouts(seen).half(),
        }
        if medium is Medium.PHOTO:
            patches = seen.patch_features.float()
            made["regions"] = average_regions(patches, backbone.grid, REGION_GRID).half()
        return made

    def _shelf(self, medium: Medium) -> "_Shelf":
        is_half = torch.is_autocast_enabled(self.backbone.device.type)
        name = f"{medium.value}-half" if is_half else medium.value
        if name not in self._shelves:
            folder = None if self._folder is None else self._folder / name
            self._shelves[name] = _Shelf(folder)
        return self._shelves[name]


def average_regions(
    patches: Float[Tensor, "n p d"], grid: tuple[int, int], region_grid: int
) -> Float[Tensor, "n r d"]:
    """Average patch features over `region_grid` squared regions, each of unit length.

    Regions of a grid that cannot be divided so overlap.
    """
    down_across = patches.mT.unflatten(2, grid)  # n d rows columns
    means = functional.adaptive_avg_pool2d(down_across, region_grid).flatten(2).mT
    return functional.normalize(means, dim=-1)


def _join(rows: Sequence[Float[Tensor, "*d"]]) -> Float[Tensor, "n *d"]:
    """Stack tensors of any precision; autocast of a CPU joins no half."""
    with torch.autocast(rows[0].device.type, enabled=False):
        return torch.stack(list(rows))


class _Shelf:
    """Rows of features by key: in shards on disk, and those that wait for theirs."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._shards: list[Mapping[str, Tensor]] = []
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._waiting: dict[bytes, Row] = {}
        if folder is not None:
            for path in sorted(folder.glob("*.safetensors")):
                self._open(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows or key in self._waiting

    def add(self, keys: Sequence[bytes], made: Row) -> None:
        """Take the rows of some keys."""
        made = {name: tensor.cpu() for name, tensor in made.items()}
        for row, key in enumerate(keys):
            self._waiting[key] = {name: tensor[row] for name, tensor in made.items()}
        if self._folder is not None and len(self._waiting) >= _SHARD:
            self.flush()

    def get(self, keys: Sequence[bytes]) -> Row:
        """Return the rows of known keys, stacked."""
        rows = [self._row(key) for key in keys]
        return {name: _join([row[name] for row in rows]) for name in rows[0]}

    def flush(self) -> None:
        """Write the waiting rows as a shard."""
        if self._folder is None or not self._waiting:
            return
        keys = list(self._waiting)
        tensors = {
            name: _join([row[name] for row in self._waiting.values()])
            for name in self._waiting[keys[0]]
        }
        tensors["keys"] = torch.from_numpy(np.frombuffer(b"".join(keys), np.uint8).copy())
        name = hashlib.blake2b(b"".join(keys), digest_size=12).hexdigest()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.safetensors"
        write_safetensors(path, tensors, {})
        self._waiting.clear()
        logger.info("%d pictures encoded and kept", len(keys))
        self._open(path)

    def _row(self, key: bytes) -> Row:
        if key in self._waiting:
            return self._waiting[key]
        shard, row = self._rows[key]
        return {n: tensor[row] for n, tensor in self._shards[shard].items() if n != "keys"}

    def _open(self, path: Path) -> None:
        tensors = read_safetensors(path).tensors
        keys = tensors["keys"].numpy().tobytes()
        for row in range(len(keys) // _KEY_BYTES):
            key = keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]
            self._rows.setdefault(key, (len(self._shards), row))
        self._shards.append(tensors)


_KEY_BYTES = 16


def _key(picture: UInt8[np.ndarray, "s s 3"]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(picture).tobytes(), digest_size=_KEY_BYTES).digest()


def _first_of_each(keys: Iterable[bytes]) -> list[tuple[int, bytes]]:
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return [(row, key) for key, row in first.items()]


def _tuning(backbone: Backbone, tower: nn.Module) -> str:
    """Return a name of what a copy has tuned; empty where that is nothing yet."""
    own, kit = norm_state(tower), norm_state(backbone.model.visual)
    if all(torch.equal(own[name], kit[name]) for name in kit):
        return ""
    digest = hashlib.sha256()
    for name in sorted(own):
        digest.update(own[name].detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
