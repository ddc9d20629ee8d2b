"""Components that display untrusted text, as text and never as markup."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from studio.ui.canvas import PlainHTML, page_file

_LINE_SCRIPT = """
const line = element.querySelector("p");
const show = () => {
  line.textContent = props.value || "";
  line.hidden = !props.value;
};
watch("value", show);
show();
"""

_FEEDBACK_SCRIPT = """
const [line, forget] = [element.querySelector("p"), element.querySelector("button")];
const show = () => {
  line.textContent = props.value || "";
  forget.hidden = !props.value;
};
forget.addEventListener("click", () => trigger("select", { index: 0, value: "" }));
watch("value", show);
show();
"""

_EXAMPLES_SCRIPT = """
const NS = "http://www.w3.org/2000/svg";
const strip = element.querySelector("div");
const draw = (strokes) => {
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "-0.04 -0.04 1.08 1.08");
  svg.setAttribute("aria-hidden", "true");
  for (const stroke of strokes) {
    const line = document.createElementNS(NS, "polyline");
    line.setAttribute("points", stroke.map(([x, y]) => `${x},${y}`).join(" "));
    svg.append(line);
  }
  return svg;
};
JSON.parse(props.value).forEach((example, index) => {
  const button = document.createElement("button");
  button.type = "button";
  button.title = example.words;
  button.setAttribute("aria-label", `Example: ${example.title}, ${example.words}`);
  button.append(draw(example.strokes));
  const name = document.createElement("span");
  name.textContent = example.title;
  button.append(name);
  button.addEventListener("click", () => trigger("select", { index, value: example.title }));
  strip.append(button);
});
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A frame on a picture, and the part of the query that matches there.

    Attributes:
        box: (left, top, right, bottom) in fractions of the picture.
        about: The words that match; empty if lines of the drawing do.
        colour: Colour of the frame, as CSS.
        lines: Indices in `drawing` of the lines that match.
        drawing: Strokes in the unit square, for a small picture of the lines.
    """

    box: tuple[float, float, float, float]
    about: str
    colour: str
    lines: tuple[int, ...] = ()
    drawing: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Facts about a picture: a title, named texts, and marks.

    Attributes:
        title: Title of the picture.
        rows: Names and texts.
        marks: Frames on the picture, numbered from 1.
        aspect: Width of the picture over its height; used for marks only.
        note: A sentence in place of requested marks.
    """

    title: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    marks: tuple[Mark, ...] = ()
    aspect: float = 1.0
    note: str = ""

    def with_marks(self, marks: tuple[Mark, ...], aspect: float) -> "Facts":
        """Return a copy with marks."""
        return replace(self, marks=marks, aspect=aspect, note="")

    def with_note(self, note: str) -> "Facts":
        """Return a copy with a sentence in place of marks."""
        return replace(self, marks=(), note=note)

    def as_value(self) -> str:
        """Return the value of a `FactSheet`."""
        return json.dumps(asdict(self))


class Heading(PlainHTML):
    """Heading of the page: its name and its motto."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Create the heading; keywords are gradio's."""
        super().__init__(
            value="",
            html_template="<h1>Duet Studio</h1><p>Draw a little, say a little.</p>",
            js_on_load=None,
            apply_default_css=False,
            **kwargs,
        )


class TextLine(PlainHTML):
    """A line of plain text; hidden if empty."""

    def __init__(self, *, value: str = "", **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Create the line; keywords are gradio's."""
        super().__init__(
            value=value,
            html_template='<p role="status"></p>',
            js_on_load=_LINE_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )


class FeedbackLine(PlainHTML):
    """A line with the feedback and a button that clears it (`select`); hidden if empty."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Create the line; keywords are gradio's."""
        super().__init__(
            value="",
            html_template='<p role="status"></p><button type="button">Clear feedback</button>',
            js_on_load=_FEEDBACK_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )


class FactSheet(PlainHTML):
    """Facts about a picture, and its marks. Value: `Facts.as_value()`, or "" for none."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Create the sheet; keywords are gradio's."""
        super().__init__(
            value="",
            html_template=page_file("facts.html"),
            js_on_load=page_file("facts.js"),
            apply_default_css=False,
            **kwargs,
        )


class ExampleStrip(PlainHTML):
    """Strip of example drawings; its `select` event has the index of the chosen example."""

    def __init__(self, *, examples: Sequence[dict[str, Any]], **kwargs: Any) -> None:  # noqa: ANN401
        """Create the strip; each example has `title`, `words` and `strokes`."""
        super().__init__(
            value=json.dumps(list(examples)),
            html_template='<div role="group" aria-label="Examples"></div>',
            js_on_load=_EXAMPLES_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )
