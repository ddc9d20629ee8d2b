"""The canvas: our own component, whose value is the strokes as JSON."""

from importlib import resources
from typing import Any

import gradio as gr

from composer.sketch import MAX_JSON_BYTES, MAX_POINTS, MAX_STROKES
from studio.ui.quiet import WithoutStub

# A page's drawing stays well below what the server accepts.
PAGE_MAX_STROKES, PAGE_MAX_POINTS = MAX_STROKES // 4, MAX_POINTS // 2


def page_file(name: str) -> str:
    """Read a file of the page that ships beside this module."""
    return resources.files("studio.ui").joinpath(name).read_text(encoding="utf-8")


class PlainHTML(gr.HTML, metaclass=WithoutStub):
    """A component whose template holds no value: its script sets texts, never markup.

    Templates of `gr.HTML` are evaluated as JavaScript after the values are put in, so a value in a
    template would be a script of its author's.
    """

    def postprocess(self, value: str | None) -> str | None:
        """Hand the value on; it never becomes markup."""
        return value


class StrokeCanvas(PlainHTML):
    """A square to draw on. Value: JSON strokes in the unit square, "" for an empty canvas."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's own keywords
        """Make the canvas; keywords are gradio's (`elem_id`, ...)."""
        super().__init__(
            value="",
            html_template=page_file("canvas.html"),
            js_on_load=page_file("canvas.js"),
            max_strokes=PAGE_MAX_STROKES,
            max_points=PAGE_MAX_POINTS,
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: Any) -> str:  # noqa: ANN401  whatever a client sends
        """Take what a client sent; what is in it is checked where it becomes a sketch.

        Raises:
            gr.Error: It is no text, or longer than a drawing may be.
        """
        if payload is None:
            return ""
        if not isinstance(payload, str) or len(payload) > MAX_JSON_BYTES:
            raise gr.Error(
                "The drawing could not be read: it must be JSON strokes of at most 1 MiB.",
                title="Drawing",
                print_exception=False,
            )
        return payload
