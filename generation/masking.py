"""Masks: one part of a picture is drawn anew, the rest keeps its bytes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image
from scipy.ndimage import distance_transform_edt

MAX_CELLS: Final = 1024
"""Cells of a mask on its longer side; a larger picture has several pixels to a cell."""
_MARGIN = 0.25  # of the marked part's size, on each side of it: what the model sees around it
_FEATHER = 0.02  # of the window's side: how far the edge fades, within the mask
_OPAQUE = 128
_STRIPE_PX = 256


class MaskError(ValueError):
    """A mask that cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mask:
    """The part of a picture that is drawn anew.

    Attributes:
        cells: True where it is; spread over the whole picture, at most `MAX_CELLS` a side.
    """

    cells: Bool[np.ndarray, "r c"]

    def __post_init__(self) -> None:
        """Check that there is something to draw.

        Raises:
            MaskError: No cell is marked, or there are too many.
        """
        if max(self.cells.shape) > MAX_CELLS:
            raise MaskError(f"A mask has at most {MAX_CELLS} cells a side.")
        if not self.cells.any():
            raise MaskError("The mask is empty: nothing is marked to be drawn anew.")

    @classmethod
    def of_pixels(cls, pixels: Bool[np.ndarray, "h w"]) -> "Mask":
        """Return the mask of a picture's pixels; of a large picture only what fills whole cells.

        Raises:
            MaskError: No pixel is marked, or nothing that fills a cell.
        """
        height, width = pixels.shape
        rows, columns = shape_of_cells(width, height)
        if not pixels.any():
            raise MaskError("The mask is empty: nothing is marked to be drawn anew.")
        cells = np.logical_and.reduceat(pixels, _starts(height, rows), axis=0)
        cells = np.logical_and.reduceat(cells, _starts(width, columns), axis=1)
        if not cells.any():
            raise MaskError("What the mask marks is too thin to draw; mark a larger part.")
        return cls(cells=cells)

    def inverted(self) -> "Mask":
        """Return the mask of everything else.

        Raises:
            MaskError: There is nothing else.
        """
        return Mask(cells=~self.cells)

    def pixels(self, height: int, width: int) -> Bool[np.ndarray, "h w"]:
        """Return which pixels of a picture are marked."""
        rows, columns = self.cells.shape
        row_of = np.arange(height) * rows // height
        column_of = np.arange(width) * columns // width
        return self.cells[row_of][:, column_of]


def shape_of_cells(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns that a mask of a picture has."""
    scale = min(1.0, MAX_CELLS / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _starts(num_pixels: int, num_cells: int) -> Int[np.ndarray, " n"]:
    """Return the first pixel of each cell, as `Mask.pixels` assigns pixels to cells."""
    return -(-np.arange(num_cells) * num_pixels // num_cells)


def mask_of_image(image: Image.Image, width: int, height: int, name: str) -> Mask:
    """Return the mask that a picture paints: white, or opaque where it has transparency.

    Args:
        image: "RGB", or "RGBA" where it has transparent parts.
        width: Of the picture that is masked.
        height: Of the picture that is masked.
        name: What the mask is called in messages.

    Raises:
        MaskError: It has other proportions than the picture, or marks nothing.
    """
    if abs(image.width * height - image.height * width) > max(width, height):
        raise MaskError(
            f"{name} must have the proportions of the picture, which is {width} x {height} px; it "
            f"is {image.width} x {image.height} px."
        )
    levels = image.getchannel("A") if image.mode == "RGBA" else image.convert("L")
    if levels.size != (width, height):
        levels = levels.resize((width, height), Image.Resampling.BILINEAR)
    return Mask.of_pixels(np.asarray(levels) >= _OPAQUE)


def mask_of_box(box: tuple[int, int, int, int], width: int, height: int) -> Mask:
    """Return the mask of a rectangle.

    Args:
        box: Left edge, top edge, width, height, in pixels of the picture.
        width: Of the picture.
        height: Of the picture.

    Raises:
        MaskError: The rectangle is empty or reaches out of the picture.
    """
    x, y, box_width, box_height = box
    if min(x, y) < 0 or x + box_width > width or y + box_height > height:
        raise MaskError(
            f"The box must lie in the picture, which is {width} x {height} px; it reaches from "
            f"({x}, {y}) to ({x + box_width}, {y + box_height})."
        )
    pixels = np.zeros((height, width), bool)
    pixels[y : y + max(0, box_height), x : x + max(0, box_width)] = True
    return Mask.of_pixels(pixels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The part of a picture that the model sees; it may reach beyond the picture's edges."""

    left: int
    top: int
    width: int
    height: int


def window_of(mask: Mask, width: int, height: int, *, aspect: float = 1.0) -> Window:
    """Return the smallest window of some proportions around what is marked, with a margin.

    It is moved into the picture as far as it fits.

    Args:
        mask: The mask.
        width: Of the picture.
        height: Of the picture.
        aspect: Width of the window over its height.
    """
    marked = mask.pixels(height, width)
    across, down = np.flatnonzero(marked.any(axis=0)), np.flatnonzero(marked.any(axis=1))
    left, right, top, bottom = across[0], across[-1] + 1, down[0], down[-1] + 1
    least_width = min(width, (1 + 2 * _MARGIN) * (right - left))
    least_height = min(height, (1 + 2 * _MARGIN) * (bottom - top))
    window_height = max(1, round(max(least_height, least_width / aspect)))
    window_width = max(1, round(window_height * aspect))
    return Window(
        left=_placed((left + right) / 2, window_width, width),
        top=_placed((top + bottom) / 2, window_height, height),
        width=window_width,
        height=window_height,
    )


def _placed(centre: float, length: int, most: int) -> int:
    if length >= most:
        return (most - length) // 2
    return int(min(max(0, round(centre - length / 2)), most - length))


def cut_window(picture: Image.Image, window: Window) -> Image.Image:
    """Return a window of an RGB picture; beyond its edges the picture is mirrored."""
    rows = _mirrored(window.top, window.height, picture.height)
    columns = _mirrored(window.left, window.width, picture.width)
    first, last = int(rows.min()), int(rows.max()) + 1
    band = np.asarray(picture.crop((0, first, picture.width, last)))
    return Image.fromarray(np.ascontiguousarray(band[rows - first][:, columns]))


def _mirrored(start: int, length: int, most: int) -> Int[np.ndarray, " n"]:
    turns = np.arange(start, start + length) % (2 * most)
    return np.where(turns < most, turns, 2 * most - 1 - turns)


def blend(picture: Image.Image, drawn: Image.Image, mask: Mask, window: Window) -> Image.Image:
    """Put what was drawn for a window into the marked part of a picture.

    The edge fades within the mask, so that every pixel outside keeps its bytes.

    Args:
        picture: RGB picture.
        drawn: What was drawn, of any size.
        mask: The mask.
        window: As `window_of` returns it.
    """
    result = picture.copy()
    left, right = max(0, window.left), min(picture.width, window.left + window.width)
    first, last = max(0, window.top), min(picture.height, window.top + window.height)
    fitted = drawn.resize((window.width, window.height), Image.Resampling.LANCZOS)
    marked = mask.pixels(picture.height, picture.width)
    shares = _shares(mask, picture.size, _FEATHER * max(window.width, window.height))
    for top in range(first, last, _STRIPE_PX):  # little memory, however large the picture is
        bottom = min(top + _STRIPE_PX, last)
        old = np.asarray(picture.crop((left, top, right, bottom)))
        new = fitted.crop(
            (left - window.left, top - window.top, right - window.left, bottom - window.top)
        )
        share = np.asarray(shares.crop((left, top, right, bottom)), np.float32)[..., None] / 255
        mixed = np.rint(old + (np.asarray(new, np.float32) - old) * share).astype(np.uint8)
        inside = marked[top:bottom, left:right, None]
        result.paste(Image.fromarray(np.where(inside, mixed, old)), (left, top))
    return result


def _shares(mask: Mask, size: tuple[int, int], reach: float) -> Image.Image:
    """Return the share of the new picture, 0 to 255: full from `reach` pixels inside the mask on.

    The edges of the picture are none of the mask's. What lies outside may have a share, too.

    Args:
        mask: The mask.
        size: Width and height of the picture.
        reach: In pixels of the picture.
    """
    cells = mask.cells
    if cells.all():
        return Image.new("L", size, 255)
    distances = np.asarray(distance_transform_edt(cells), np.float32) * size[0] / cells.shape[1]
    shares = np.clip(distances / min(max(reach, 1.0), float(distances.max())), 0.0, 1.0)
    levels = Image.fromarray(np.rint(255 * shares).astype(np.uint8))
    return levels if levels.size == size else levels.resize(size, Image.Resampling.BILINEAR)
