"""Crops of the pack's pictures, most of them on the object."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generation.training.command import Pixels, draw_indices

_NUM_POINTS = 32  # of each object, that crops are placed on
_ON_OBJECT = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class CropSize:
    """A kind of batch.

    Attributes:
        side_px: Side of the crops; where a picture is smaller, all of it.
        count: Crops in a batch, each from a picture of its own.
        share: Of the batches.
    """

    side_px: int
    count: int
    share: float


class Crops:
    """Draws crops, mirrored or not; where the objects are is remembered."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self._points: dict[int, np.ndarray] = {}

    def draw(
        self, sizes: tuple[CropSize, ...], generator: torch.Generator
    ) -> Float[Tensor, "n 3 s s"]:
        """Draw a batch of one of the sizes, RGB in [-1, 1]."""
        shares = torch.tensor([size.share for size in sizes])
        size = sizes[int(torch.multinomial(shares, 1, generator=generator))]
        indices = draw_indices(generator, len(self.pixels), size.count)
        levels = self.pixels.levels(indices)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        side = min(size.side_px, levels.shape[1])
        crops: list[Tensor] = []
        for picture, index in zip(levels, indices.tolist(), strict=True):
            top, left = self._corner(index, side, rng)
            crop = picture[top : top + side, left : left + side]
            crops.append(crop.flip(1) if rng.random() < 0.5 else crop)
        return torch.stack(crops).permute(0, 3, 1, 2).float() / 127.5 - 1  # n s s 3 -> n 3 s s

    def _corner(self, index: int, side: int, rng: np.random.Generator) -> tuple[int, int]:
        room = self.pixels.size_px - side
        if room == 0 or rng.random() >= _ON_OBJECT:
            top, left = rng.integers(room + 1, size=2)
        else:
            points = self._object_points(index)
            top, left = np.clip(points[rng.integers(len(points))] - side // 2, 0, room)
        return int(top), int(left)

    def _object_points(self, index: int) -> np.ndarray:
        """Return a few (row, column) on the object, the same at every call."""
        if index not in self._points:
            pixels = self.pixels
            inside = np.argwhere(pixels.pack.parts(int(pixels.rows[index]), pixels.size_px))
            if not len(inside):
                inside = np.full((1, 2), pixels.size_px // 2)
            chosen = np.random.default_rng(index).integers(len(inside), size=_NUM_POINTS)
            self._points[index] = inside[chosen].astype(np.int16)
        return self._points[index]
