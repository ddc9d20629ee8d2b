"""How a picture of the pack was taken: camera, studio, words for the view, a drawing over it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

VIEW_COLUMNS = (
    "azimuth", "elevation", "margin", "studio", "view", "framing", "view_captions", "skill",
    "drawing",
)  # fmt: skip
NUM_STUDIO = 9
STUDIO_AZIMUTHS = (3, 5)  # of the lights, relative to the camera: they change sign in a mirror
_SIDES = {"left": "right", "right": "left"}
_OVERSAMPLING = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureDrawing:
    """A freehand drawing that lies on its picture.

    It is no `Sketch`, because whatever encodes a sketch centres and scales it first.

    Attributes:
        strokes: Polylines of (x, y); 0 and 1 are the borders of the picture, y downwards. A hand
            may overshoot them.
        skill: Of the hand: 0 unskilled, 1 average, 2 practised.
    """

    strokes: tuple[Float[np.ndarray, "_ 2"], ...]
    skill: int

    def mirrored(self) -> "PictureDrawing":
        """Return the drawing that lies on the mirrored picture."""
        strokes = tuple(np.stack([1 - s[:, 0], s[:, 1]], axis=1) for s in self.strokes)
        return PictureDrawing(strokes=strokes, skill=self.skill)

    def lines(self, size_px: int, line_px: float) -> UInt8[np.ndarray, "{size_px} {size_px}"]:
        """Draw it where it lies.

        Args:
            size_px: Side of the picture.
            line_px: Width of the lines.

        Returns:
            Levels in 0..255, `white_on_black`.
        """
        side, width = size_px * _OVERSAMPLING, max(1, round(line_px * _OVERSAMPLING))
        canvas = Image.new("L", (side, side), 0)
        pen = ImageDraw.Draw(canvas)
        for stroke in self.strokes:
            path = [(float(x), float(y)) for x, y in stroke * side]
            pen.line(path, fill=255, width=width, joint="curve")
            for x, y in (path[0], path[-1]):
                radius = width / 2
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return np.asarray(canvas.reduce(_OVERSAMPLING))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackView:
    """How a picture was taken, and what is said of that.

    Attributes:
        azimuth: Of the camera, in degrees from the object's front, positive towards the right of a
            viewer who stands before it.
        elevation: Of the camera, in degrees above the horizon.
        margin: Share of the picture's side that stays free on each side of the object.
        studio: Backdrop and lights as numbers, in the catalogue's order.
        phrase: Where the object is seen from.
        framing: How large it is in the picture; empty for the usual size.
        captions: Captions that also say view and framing, the fullest first.
        drawing: A drawing of the same view.
    """

    azimuth: float
    elevation: float
    margin: float
    studio: tuple[float, ...]
    phrase: str
    framing: str
    captions: tuple[str, ...]
    drawing: PictureDrawing

    def mirrored(self) -> "PackView":
        """Return the view that the mirrored picture shows: sides swapped in numbers and words."""
        studio = tuple(-v if i in STUDIO_AZIMUTHS else v for i, v in enumerate(self.studio))
        return replace(
            self,
            azimuth=-self.azimuth,
            studio=studio,
            phrase=mirrored_words(self.phrase),
            captions=tuple(mirrored_words(caption) for caption in self.captions),
            drawing=self.drawing.mirrored(),
        )


def mirrored_words(text: str) -> str:
    """Swap left and right, as in the caption of a mirrored picture."""
    return re.sub(r"\b(left|right)\b", lambda found: _SIDES[found[0]], text)


def read_view(row: Mapping[str, Any]) -> PackView:
    """Read the view columns of a row.

    Raises:
        TypeError, ValueError: A value is missing or of another kind.
    """
    studio = tuple(float(value) for value in row["studio"])
    if len(studio) != NUM_STUDIO:
        raise ValueError(f"`studio` must hold {NUM_STUDIO} numbers, got {len(studio)}.")
    return PackView(
        azimuth=float(row["azimuth"]),
        elevation=float(row["elevation"]),
        margin=float(row["margin"]),
        studio=studio,
        phrase=str(row["view"]),
        framing=str(row["framing"] or ""),
        captions=tuple(row["view_captions"]),
        drawing=PictureDrawing(strokes=_strokes(row["drawing"]), skill=int(row["skill"])),
    )


def _strokes(text: str) -> tuple[np.ndarray, ...]:
    strokes = tuple(np.asarray(s, dtype=np.float32) / 255 for s in json.loads(text) if len(s))
    if any(stroke.ndim != 2 or stroke.shape[1] != 2 for stroke in strokes):
        raise ValueError("Every point of a drawing must be [x, y].")
    return strokes
