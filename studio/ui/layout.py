"""Parts that the tabs of the page share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui.canvas import StrokeCanvas
from studio.ui.inputs import CheckedSlider
from studio.ui.texts import ExampleStrip, TextLine

PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass(frozen=True, kw_only=True, slots=True)
class QuerySide:
    """Components of the query on the left, which all tabs use.

    Attributes:
        style: A picture that steers the style, and its strength; empty where the kit has no use
            for it.
    """

    canvas: StrokeCanvas
    words: gr.Textbox
    balance: CheckedSlider
    examples: ExampleStrip
    unknown_words: TextLine
    added_words: gr.State
    style: list[Any]

    @property
    def inputs(self) -> list[Any]:
        """Components of the query as inputs of a handler."""
        return [self.canvas, self.words, self.balance]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandOver:
    """The button by which a tab passes a picture to the transfer, with its handler and inputs."""

    button: gr.Button
    fn: Callable[..., Any]
    inputs: list[Any]


def large_picture(elem_id: str) -> gr.Image:
    """Create the component of the large picture."""
    return gr.Image(
        type="filepath", interactive=False, show_label=False, buttons=[], container=False,
        height=280, elem_id=elem_id,
    )  # fmt: skip
