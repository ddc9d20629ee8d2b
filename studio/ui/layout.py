"""What the tabs of the page share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui.canvas import StrokeCanvas
from studio.ui.inputs import Dial
from studio.ui.texts import ExampleStrip, Line

PRIVATE: dict[str, Any] = {"api_visibility": "private"}


@dataclass(frozen=True, kw_only=True, slots=True)
class QuerySide:
    """The left: the one query that everything on the right uses."""

    canvas: StrokeCanvas
    words: gr.Textbox
    balance: Dial
    examples: ExampleStrip
    strange: Line

    @property
    def inputs(self) -> list[Any]:
        """The query as inputs of a handler."""
        return [self.canvas, self.words, self.balance]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandOver:
    """How a tab hands a picture to the transfer: its button, and what is called with what."""

    button: gr.Button
    fn: Callable[..., Any]
    inputs: list[Any]


def large_picture(elem_id: str) -> gr.Image:
    """Make the place of one picture shown large."""
    return gr.Image(
        type="filepath", interactive=False, show_label=False, buttons=[], container=False,
        height=280, elem_id=elem_id,
    )  # fmt: skip
