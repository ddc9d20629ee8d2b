"""Tables of captioned pictures in memory, from which batches are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureTable:
    """Pictures of one source at one size, each with every caption that is true of it.

    `images` is (n, h, w, 3) uint8 sRGB. `groups`, where given, names for each picture the group
    (a class, a kind) from which hard negatives are drawn together.
    """

    name: str
    images: UInt8[np.ndarray, "n h w 3"]
    captions: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            ValueError: The table is empty, the lengths differ, or a picture has no caption.
        """
        if len(self.images) == 0 or len(self.images) != len(self.captions):
            raise ValueError(
                f"Table {self.name!r} must hold one caption list per picture and at least one "
                f"picture, got {len(self.images)} pictures and {len(self.captions)} lists."
            )
        if not all(self.captions):
            raise ValueError(f"Every picture of table {self.name!r} needs at least one caption.")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.captions)


class CaptionIds:
    """Numbers the distinct captions of several tables, so that truth can be compared by number."""

    def __init__(self, tables: Sequence[PictureTable]) -> None:
        """Number every distinct caption in order of appearance."""
        self.texts: list[str] = list(
            dict.fromkeys(
                caption for table in tables for captions in table.captions for caption in captions
            )
        )
        number = {text: index for index, text in enumerate(self.texts)}
        self._ids = [self._padded(table, number) for table in tables]

    @staticmethod
    def _padded(table: PictureTable, number: dict[str, int]) -> Int[np.ndarray, "n k"]:
        width = max(len(captions) for captions in table.captions)
        ids = np.full((len(table), width), -1, dtype=np.int32)
        for row, captions in enumerate(table.captions):
            ids[row, : len(captions)] = [number[caption] for caption in captions]
        return ids

    def of(self, table: int, rows: Int[np.ndarray, " b"]) -> Int[np.ndarray, "b k"]:
        """Return the caption numbers of some pictures of one table; -1 where there are fewer."""
        return self._ids[table][rows]


def truth_matrix(
    true_ids: Sequence[Int[np.ndarray, "_ _"]], caption_ids: Int[np.ndarray, " t"]
) -> Bool[Tensor, "b t"]:
    """Mark for each picture (row) which captions of the batch (columns) are true of it.

    `true_ids` are the blocks of `CaptionIds.of` that make up the batch, in order; `caption_ids` are
    the numbers of the captions.
    """
    rows = [(block[:, :, None] == caption_ids[None, None, :]).any(1) for block in true_ids]
    return torch.from_numpy(np.concatenate(rows))


def fit_square(image: Image.Image, size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Fit the shorter side of an RGB picture to `size_px` and cut the middle out."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size_px, size_px), Image.Resampling.BICUBIC))


def resize_squares(
    images: UInt8[np.ndarray, "n s s 3"], size_px: int
) -> UInt8[np.ndarray, "n {size_px} {size_px} 3"]:
    """Resize square pictures (bicubic, antialiased); pictures of that size stay as they are."""
    if images.shape[1] == size_px:
        return images
    levels = torch.from_numpy(images).permute(0, 3, 1, 2)
    resized = functional.interpolate(
        levels, size=(size_px, size_px), mode="bicubic", antialias=True
    )
    return resized.permute(0, 2, 3, 1).contiguous().numpy()
