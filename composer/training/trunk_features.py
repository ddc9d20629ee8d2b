"""Features of the encoder's pictures by a frozen trunk, computed once and kept on disk."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from composer.data.encoder_sets import Part, PictureSet
from composer.medium import Medium
from composer.trunk import REGION_GRID, see_last, see_middle

logger = logging.getLogger(__name__)
_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrunkFeatures:
    """A picture set behind a frozen trunk.

    Attributes:
        medium: Of all of its pictures.
        pooled: The last map, averaged.
        cells: The map of stride 16, averaged over a 4 x 4 grid, row by row.
        classes: What each picture shows.
        instances: The photo each is or was drawn from.
        parts: What each may be used for.
        views: 0 as it is, odd ones mirrored.
        rows: Where each picture stands in the set as it was read.
    """

    medium: Medium
    pooled: Float[Tensor, "n w"]
    cells: Float[Tensor, "n r c"]
    classes: tuple[str, ...]
    instances: tuple[str, ...]
    parts: tuple[Part, ...]
    views: tuple[int, ...]
    rows: tuple[int, ...]

    def select(self, rows: Sequence[int]) -> "TrunkFeatures":
        """Keep some of the pictures, in the given order."""
        index = torch.as_tensor(rows, dtype=torch.long)
        return TrunkFeatures(
            medium=self.medium,
            pooled=self.pooled[index],
            cells=self.cells[index],
            classes=tuple(self.classes[i] for i in rows),
            instances=tuple(self.instances[i] for i in rows),
            parts=tuple(self.parts[i] for i in rows),
            views=tuple(self.views[i] for i in rows),
            rows=tuple(self.rows[i] for i in rows),
        )

    def of(self, part: Part, *, plain: bool = False) -> "TrunkFeatures":
        """Keep the pictures of one part, or only those of them that are as they were."""
        keep = [
            row
            for row, (picture_part, view) in enumerate(zip(self.parts, self.views, strict=True))
            if picture_part is part and (view == 0 or not plain)
        ]
        return self.select(keep)


@torch.inference_mode()
def encode_levels(
    visual: nn.Module, levels: Sequence[np.ndarray], *, mean: float, std: float
) -> tuple[Float[Tensor, "n w"], Float[Tensor, "n r c"]]:
    """Return pooled features and cells of RGB levels of the tower's size, on the CPU.

    Args:
        visual: The tower.
        levels: Pictures of 0..255.
        mean: Subtracted from levels in [0, 1].
        std: Then divided by.
    """
    tower: Any = visual
    parameter = next(tower.parameters())
    pixels = torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2).float().div_(255)
    middle = see_middle(tower.trunk, ((pixels - mean) / std).to(parameter))
    pooled = see_last(tower.trunk, middle).float().mean(dim=(2, 3))
    cells = functional.adaptive_avg_pool2d(middle.float(), REGION_GRID)
    return pooled.cpu(), cells.flatten(2).mT.cpu()


def encode_set(
    visual: nn.Module, pictures: PictureSet, folder: Path, *, size_px: int, mean: float, std: float
) -> TrunkFeatures:
    """Encode a set, or read its features from `folder`."""
    tensors, notes = folder / f"{pictures.name}.safetensors", folder / f"{pictures.name}.json"
    if not notes.exists():
        pooled: list[Tensor] = []
        cells: list[Tensor] = []
        for start in range(0, len(pictures.entries), _BATCH):
            entries = pictures.entries[start : start + _BATCH]
            levels = [entry.make(size_px) for entry in entries]
            features = encode_levels(visual, levels, mean=mean, std=std)
            pooled.append(features[0].half())
            cells.append(features[1].half())
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"pooled": torch.cat(pooled), "cells": torch.cat(cells).contiguous()}, tensors)
        notes.write_text(json.dumps(_describe(pictures)))
        logger.info("%s: %d pictures encoded", pictures.name, len(pictures.entries))
    return read_features(folder, pictures.name)


def read_features(folder: Path, name: str) -> TrunkFeatures:
    """Read the features of a set.

    Raises:
        OSError: It was not encoded.
    """
    notes = json.loads((folder / f"{name}.json").read_text())
    tensors = load_file(folder / f"{name}.safetensors")
    return TrunkFeatures(
        medium=Medium(notes["medium"]),
        pooled=tensors["pooled"].float(),
        cells=tensors["cells"].float(),
        classes=tuple(notes["classes"]),
        instances=tuple(notes["instances"]),
        parts=tuple(Part(part) for part in notes["parts"]),
        views=tuple(notes["views"]),
        rows=tuple(range(len(notes["views"]))),
    )


def _describe(pictures: PictureSet) -> dict[str, object]:
    entries = pictures.entries
    return {
        "medium": pictures.medium,
        "classes": [e.class_name for e in entries],
        "instances": [e.instance for e in entries],
        "parts": [e.part for e in entries],
        "views": [e.view for e in entries],
    }


def draw_set(pictures: PictureSet, folder: Path, *, size_px: int) -> UInt8[np.ndarray, "n s s"]:
    """Make the drawings of a set, or read them from `folder`; grey levels, in the set's order."""
    path = folder / f"{pictures.name}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        levels = np.stack([entry.make(size_px)[..., 0] for entry in pictures.entries])
        np.save(path, levels)
    return np.load(path, mmap_mode="r")
