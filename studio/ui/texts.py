"""Components that show text which may come from anyone: set as text, never as markup."""

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

_TASTE_SCRIPT = """
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
    """A frame on a picture and what answers there.

    Attributes:
        box: (left, top, right, bottom) in fractions of the picture.
        about: Words; empty where lines of the drawing answer.
        colour: Of the frame, as CSS.
        lines: Places of these lines in `drawing`.
        drawing: Strokes in the unit square, for a small picture of the lines.
    """

    box: tuple[float, float, float, float]
    about: str
    colour: str
    lines: tuple[int, ...] = ()
    drawing: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a picture, for a person: a title and named texts.

    Attributes:
        title: What it is.
        rows: Names and texts.
        marks: Frames to lay upon it, numbered from 1.
        aspect: Width of the picture over its height; needed for marks alone.
        note: A sentence where marks were asked for and there are none.
    """

    title: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    marks: tuple[Mark, ...] = ()
    aspect: float = 1.0
    note: str = ""

    def marking(self, marks: tuple[Mark, ...], aspect: float) -> "Facts":
        """The same with marks upon the picture."""
        return replace(self, marks=marks, aspect=aspect, note="")

    def noting(self, note: str) -> "Facts":
        """The same with a sentence in place of marks."""
        return replace(self, marks=(), note=note)

    def as_value(self) -> str:
        """Return the value of a `FactSheet`."""
        return json.dumps(asdict(self))


class Heading(PlainHTML):
    """The name of the page and what it is for."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Make the heading; keywords are gradio's."""
        super().__init__(
            value="",
            html_template="<h1>Duet Studio</h1><p>Draw a little, say a little.</p>",
            js_on_load=None,
            apply_default_css=False,
            **kwargs,
        )


class Line(PlainHTML):
    """One line of plain text; nothing where the value is empty."""

    def __init__(self, *, value: str = "", **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Make the line; keywords are gradio's."""
        super().__init__(
            value=value,
            html_template='<p role="status"></p>',
            js_on_load=_LINE_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )


class Taste(PlainHTML):
    """A line and a button that takes back what it says (`select`); nothing for an empty value."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Make the line; keywords are gradio's."""
        super().__init__(
            value="",
            html_template='<p role="status"></p><button type="button">Forget</button>',
            js_on_load=_TASTE_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )


class FactSheet(PlainHTML):
    """Facts of a picture, and marks upon it. Value: `Facts.as_value()`, or "" for none."""

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401  gradio's keywords
        """Make the sheet; keywords are gradio's."""
        super().__init__(
            value="",
            html_template=page_file("facts.html"),
            js_on_load=page_file("facts.js"),
            apply_default_css=False,
            **kwargs,
        )


class ExampleStrip(PlainHTML):
    """Drawings to start from; its `select` event carries the index of the one chosen."""

    def __init__(self, *, examples: Sequence[dict[str, Any]], **kwargs: Any) -> None:  # noqa: ANN401
        """Make the strip; each example has `title`, `words` and `strokes`."""
        super().__init__(
            value=json.dumps(list(examples)),
            html_template='<div role="group" aria-label="Examples"></div>',
            js_on_load=_EXAMPLES_SCRIPT,
            apply_default_css=False,
            **kwargs,
        )
