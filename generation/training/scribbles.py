"""Control images for training: freehand sketches, part borders and edges."""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from composer.data.catalogue import IMAGE_PX, CataloguePack
from generation.control import CONTROL_LINE_SHARE, control_image, dilate, find_edges

_SKETCH_SHARE = 0.5
_PARTS_SHARE = 0.3


class Scribbles:
    """Control images for pictures of the pack, white_on_black, cached on first use."""

    def __init__(self, pack: CataloguePack, split: str) -> None:
        self.pack = pack
        self._of_design: dict[str, list[int]] = {}
        for i, sketch in enumerate(pack.sketches):
            if sketch.split == split:
                self._of_design.setdefault(sketch.design, []).append(i)
        self._cache: dict[tuple[str, int], np.ndarray] = {}

    def draw(
        self, rows: Int[np.ndarray, " n"], generator: torch.Generator
    ) -> Float[Tensor, "n 3 h w"]:
        """Draw one control image for each picture, values 0 or 1.

        Half are sketches of the design, from another camera and reframed, as users' sketches are.
        The rest are part borders or edges of the picture itself, bent and broken, which tie lines
        and structure more closely.
        """
        seed = int(torch.randint(2**62, (1,), generator=generator))
        rng = np.random.default_rng(seed)
        lines, is_traced = [], []
        for row in rows:
            choice, sketches = rng.random(), self._of_design.get(self.pack.items[row].design, ())
            if choice < _SKETCH_SHARE and sketches:
                lines.append(self.sketch(sketches[int(rng.integers(len(sketches)))]))
            elif choice < _SKETCH_SHARE + _PARTS_SHARE:
                lines.append(self.parts(int(row)))
            else:
                lines.append(self.edges(int(row)))
            is_traced.append(choice >= _SKETCH_SHARE or not sketches)
        drawn = torch.from_numpy(np.stack(lines)).float()[:, None] / 255
        traced = torch.tensor(is_traced).view(-1, 1, 1, 1)
        drawn = torch.where(traced, wobble(drawn, generator), drawn)
        return drawn.expand(-1, 3, -1, -1)

    def sketch(self, index: int) -> UInt8[np.ndarray, "h w"]:
        """Return the control image of a sketch of the pack, exactly as at inference."""
        return self._cached("sketch", index)

    def parts(self, row: int) -> UInt8[np.ndarray, "h w"]:
        """Return the borders between parts and around the object."""
        return self._cached("parts", row)

    def edges(self, row: int) -> UInt8[np.ndarray, "h w"]:
        """Return the edges of the picture, as in a transfer."""
        return self._cached("edges", row)

    def _cached(self, source: str, index: int) -> np.ndarray:
        key = (source, index)
        if key not in self._cache:
            self._cache[key] = np.packbits(self._make(source, index) > 127, axis=1)
        bits = np.unpackbits(self._cache[key], axis=1, count=IMAGE_PX)
        return (bits * 255).astype(np.uint8)

    def _make(self, source: str, index: int) -> np.ndarray:
        if source == "sketch":
            return control_image(self.pack.sketches[index].sketch, IMAGE_PX, IMAGE_PX)
        line_px = CONTROL_LINE_SHARE * IMAGE_PX
        if source == "edges":
            return dilate(find_edges(self.pack.pixels(np.array([index]))[0]), line_px)
        return dilate(part_borders(self.pack.parts(index)), line_px)


def part_borders(parts: UInt8[np.ndarray, "h w"]) -> np.ndarray:
    """Mark pixels whose part differs from the pixel to the left or above; specks are removed."""
    smooth = ndimage.median_filter(parts, 3)
    borders = np.zeros(parts.shape, bool)
    borders[1:] |= smooth[1:] != smooth[:-1]
    borders[:, 1:] |= smooth[:, 1:] != smooth[:, :-1]
    return borders


def wobble(lines: Float[Tensor, "n 1 h w"], generator: torch.Generator) -> Float[Tensor, "n 1 h w"]:
    """Bend lines by up to about two pixels in 128 and leave gaps; values 0 or 1."""
    count, _, height, width = lines.shape

    def field(channels: int, cells: int) -> Tensor:
        coarse = torch.randn(count, channels, cells, cells, generator=generator)
        size = (height, width)
        return functional.interpolate(coarse, size=size, mode="bicubic", align_corners=False)

    straight = functional.affine_grid(
        torch.eye(2, 3).expand(count, -1, -1), [count, 1, height, width], align_corners=False
    )
    strength = torch.rand(count, 1, 1, 1, generator=generator) * 2 * 2 / 128  # of a side of 2
    bent = straight + strength * field(2, 7).permute(0, 2, 3, 1)
    moved = functional.grid_sample(lines, bent, align_corners=False)
    gap_level = 1.2 + torch.rand(count, 1, 1, 1, generator=generator)
    return ((moved > 0.4) & (field(1, 10) < gap_level)).float()
