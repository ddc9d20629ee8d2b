"""The part of a picture that a transfer draws anew: named in words, or painted over it."""

import json
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from PIL import Image

from composer.query import MAX_TEXT_LENGTH
from composer.sketch import Sketch, strokes_of_json
from generation.masking import Mask
from generation.painting import BROADEST, FINEST, mask_of_strokes
from studio.engine import Engine
from studio.errors import UsageError
from studio.mask_words import mask_of_words
from studio.ui.canvas import StrokeCanvas
from studio.ui.inputs import checked_text
from studio.ui.layout import PRIVATE

BOTH: Final = "Name the part in words or paint it, not both: clear one of the two."
NO_PART: Final = "“All but that part” needs a part: name it in words, or paint it."
OTHER_PICTURE: Final = "The part was painted on another picture; paint it on this one."
OTHER_SHAPE: Final = (
    "This browser shows the picture in other proportions than it has, so what was painted does not "
    "fit; name the part in words."
)
_STRETCH, _MOST_PX = 0.02, 1 << 20
# What is painted belongs to one picture: another one clears it.
_FOLLOW = """(file, outside, value) => {
  const picture = file?.path ?? "";
  if (!picture) return "";
  const before = value ? JSON.parse(value) : {};
  if (before.picture === picture) return JSON.stringify({ ...before, outside });
  return JSON.stringify({ picture, address: file.url, outside, strokes: [] });
}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SentPart:
    """What a client sent about the part, unchecked.

    Attributes:
        words: Words that name it.
        painting: JSON strokes; with the picture that they were painted on, if a page sends them.
        is_inverted: Whether everything else is meant.
    """

    words: object
    painting: object
    is_inverted: object


def part_of(engine: Engine, sent: SentPart, picture: Image.Image, file: object) -> Mask | None:
    """Return the mask of a part; None for all of the picture.

    Args:
        engine: The kit.
        sent: What was sent.
        picture: The RGB picture that is moved.
        file: Its file, as the client named it.

    Raises:
        RequestError: An input is no text.
        InputError: The strokes are no strokes.
        MaskError: Nothing is left to draw.
        UsageError: The part is given twice or not at all, on another picture, or its words match
            nothing.
    """
    words = checked_text(sent.words, "The part")
    mask = _painted(checked_text(sent.painting, "What is painted"), picture, file)
    if words.strip():
        if mask is not None:
            raise UsageError(BOTH)
        mask = mask_of_words(engine, picture, words)
    if sent.is_inverted is not True:
        return mask
    if mask is None:
        raise UsageError(NO_PART)
    return mask.inverted()


def _painted(text: str, picture: Image.Image, file: object) -> Mask | None:
    strokes = strokes_of_json(text) if text.strip() else []
    if not any(strokes):
        return None
    _check_picture(json.loads(text), picture, file)
    sketch = Sketch.from_strokes(strokes)
    assert sketch.strokes is not None
    return mask_of_strokes(sketch.strokes, picture.width, picture.height)


def _check_picture(value: Any, picture: Image.Image, file: object) -> None:  # noqa: ANN401  JSON
    """Check that strokes were painted on this picture, if they name theirs.

    Raises:
        UsageError: They were painted on another, or on one of other proportions.
    """
    if not isinstance(value, dict):
        return
    if value.get("picture", file) != file:
        raise UsageError(OTHER_PICTURE)
    if "size" in value and not _has_shape(value["size"], picture):
        raise UsageError(OTHER_SHAPE)


def _has_shape(size: object, picture: Image.Image) -> bool:
    match size:
        case [int(width), int(height)] if 0 < width < _MOST_PX and 0 < height < _MOST_PX:
            return abs(width * picture.height / (height * picture.width) - 1) <= _STRETCH
        case _:
            return False


@dataclass(frozen=True, kw_only=True, slots=True)
class PartInputs:
    """Components that name a part, or paint it."""

    words: gr.Textbox
    is_inverted: gr.Checkbox
    painting: StrokeCanvas

    def follow(self, source: gr.Image) -> None:
        """Paint over the source; in the browser alone, so that nothing is sent."""
        gr.on(
            [source.change, self.is_inverted.change], None,
            [source, self.is_inverted, self.painting], self.painting, js=_FOLLOW, **PRIVATE,
        )  # fmt: skip


def part_inputs() -> PartInputs:
    """Lay out the choice of a part."""
    words = gr.Textbox(
        label="Only this part", placeholder="the green seat", max_lines=1,
        max_length=MAX_TEXT_LENGTH, elem_id="part",
    )  # fmt: skip
    with gr.Accordion("Or paint the part", open=False, elem_id="paint-part"):
        painting = StrokeCanvas(
            template="paint.html", finest=FINEST, broadest=BROADEST, elem_id="painting"
        )
    is_inverted = gr.Checkbox(label="All but that part", value=False, elem_id="all-but-part")
    return PartInputs(words=words, is_inverted=is_inverted, painting=painting)
