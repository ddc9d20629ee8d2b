"""The canvas component, whose value is strokes as JSON."""

from importlib import resources
from typing import Any

import gradio as gr

from composer.sketch import MAX_JSON_BYTES, MAX_POINTS, MAX_STROKES
from studio.ui.no_stubs import WithoutStub

# Lower than the server's limits.
PAGE_MAX_STROKES, PAGE_MAX_POINTS = MAX_STROKES // 4, MAX_POINTS // 2


def page_file(name: str) -> str:
    """Return the text of a file beside this module."""
    return resources.files("studio.ui").joinpath(name).read_text(encoding="utf-8")


class PlainHTML(gr.HTML, metaclass=WithoutStub):
    """A component whose template contains no value; its script sets text, never markup.

    Templates of `gr.HTML` are evaluated as JavaScript after values are inserted, so a value in a
    template could run as a script.
    """

    def postprocess(self, value: str | None) -> str | None:
        """Return the value unchanged; it never becomes markup."""
        return value


class StrokeCanvas(PlainHTML):
    """A square to draw on. Value: JSON strokes in the unit square, "" for an empty canvas."""

    def __init__(self, *, template: str = "canvas.html", **kwargs: Any) -> None:  # noqa: ANN401
        """Create the canvas; keywords are gradio's (`elem_id`, ...)."""
        super().__init__(
            value="",
            html_template=page_file(template),
            js_on_load=page_file("canvas.js"),
            max_strokes=PAGE_MAX_STROKES,
            max_points=PAGE_MAX_POINTS,
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: Any) -> str:  # noqa: ANN401  untrusted
        """Return the text that a client sent; it is parsed and checked as a sketch later.

        Raises:
            gr.Error: It is no text, or longer than the limit of drawings.
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
