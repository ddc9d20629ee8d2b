"""Two results side by side, A and B, with the settings in which they differ."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from generation.foreign.read import read_metadata
from generation.recorded import differences, recorded_settings
from studio.ui.context import checked_index
from studio.ui.layout import PRIVATE, large_picture
from studio.ui.messages import translate_errors
from studio.ui.present import PagePicture
from studio.ui.texts import Facts, FactSheet

Kept = tuple[PagePicture, ...]
Sides = tuple[PagePicture | None, PagePicture | None]
NO_SIDES: Sides = (None, None)
SAME = "The settings are the same."
_MISSING = "Choose the other result, and put it beside this one."


class ComparisonHandlers:
    """Handlers of one server; both sides of a visitor are in `gr.State`."""

    @translate_errors
    def put_first(self, kept: Kept, number: int, sides: Sides) -> tuple[Any, ...]:
        """Put the large result on the left."""
        return _outputs((kept[checked_index(number, len(kept))], sides[1]))

    @translate_errors
    def put_second(self, kept: Kept, number: int, sides: Sides) -> tuple[Any, ...]:
        """Put the large result on the right."""
        return _outputs((sides[0], kept[checked_index(number, len(kept))]))


def _outputs(sides: Sides) -> tuple[Any, ...]:
    files = (None if picture is None else picture.file for picture in sides)
    return (sides, *files, compared(sides).as_value())


def compared(sides: Sides) -> Facts:
    """Return the settings in which two results differ, as their PNGs record them."""
    first, second = sides
    if first is None or second is None:
        return Facts(note=_MISSING)
    recorded = (recorded_settings(read_metadata(picture.file)) for picture in (first, second))
    rows = tuple(
        (row.name, f"{row.first or '-'} | {row.second or '-'}") for row in differences(*recorded)
    )
    return Facts(
        title=f"A: {first.label} | B: {second.label}", rows=rows, note="" if rows else SAME
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Components of the comparison."""

    put_first: gr.Button
    put_second: gr.Button
    first: gr.Image
    second: gr.Image
    facts: FactSheet
    sides: gr.State

    def listen(self, handlers: ComparisonHandlers, kept: gr.State, number: gr.State) -> None:
        """Connect the events.

        Args:
            handlers: Their handlers.
            kept: Results of the visitor.
            number: Index of the large one.
        """
        inputs = [kept, number, self.sides]
        outputs: list[Any] = [self.sides, self.first, self.second, self.facts]
        events: dict[str, Any] = {
            **PRIVATE, "show_progress": "hidden", "concurrency_id": "comparison",
            "concurrency_limit": 1, "trigger_mode": "multiple",
        }  # fmt: skip
        self.put_first.click(handlers.put_first, inputs, outputs, **events)
        self.put_second.click(handlers.put_second, inputs, outputs, **events)


def build_comparison() -> Comparison:
    """Lay it out, closed."""
    sides = gr.State(NO_SIDES)
    with gr.Accordion("Compare two results", open=False, elem_id="compare"):
        with gr.Row():
            put_first = gr.Button("The large one is A", size="md", elem_id="put-first")
            put_second = gr.Button("The large one is B", size="md", elem_id="put-second")
        with gr.Row(equal_height=False):
            first, second = large_picture("compare-first"), large_picture("compare-second")
        facts = FactSheet(elem_id="compare-facts")
    return Comparison(
        put_first=put_first, put_second=put_second, first=first, second=second, facts=facts,
        sides=sides,
    )  # fmt: skip
