"""Filter of the gallery on the page: by media, kinds and a written condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from retrieval.filters.language import parse
from retrieval.filters.tree import And, Field, Filter, FilterError, In, check_text
from retrieval.search import Gallery
from studio.errors import UsageError
from studio.ui.inputs import CheckedDropdown, checked_text
from studio.ui.messages import translate_errors
from studio.ui.texts import TextLine

MAX_CHOICES = 200
LABEL = "Filter"
_LABEL_LENGTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterChoice:
    """The filter of a visitor; empty parts match everything."""

    domains: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    written: str = ""

    def condition(self) -> Filter | None:
        """Return the conjunction of the parts; None if all are empty.

        Raises:
            FilterError: The written condition is malformed or too deep.
        """
        parts: list[Filter] = []
        if self.domains:
            parts.append(In(field=Field.DOMAIN, values=self.domains))
        if self.kinds:
            parts.append(In(field=Field.KIND, values=self.kinds))
        if self.written:
            parts.append(parse(self.written))
        match parts:
            case []:
                return None
            case [only]:
                return only
            case _:
                return And(parts=tuple(parts))

    def label(self) -> str:
        """Return the label of the closed row, which names the filter."""
        parts = (", ".join(self.domains), ", ".join(self.kinds), self.written)
        named = "; ".join(part for part in parts if part)
        short = named if len(named) <= _LABEL_LENGTH else f"{named[: _LABEL_LENGTH - 1]}…"
        return f"{LABEL}: {short}" if named else LABEL


class FilterHandlers:
    """Handlers of the filter row of one gallery."""

    def __init__(self, gallery: Gallery) -> None:
        """Look up the media and kinds of the gallery."""
        self._gallery = gallery
        self.domains = selectable_values(gallery.values_of(Field.DOMAIN, MAX_CHOICES))
        self.kinds = selectable_values(gallery.values_of(Field.KIND, MAX_CHOICES))

    @translate_errors
    def set_filter(self, domains: object, kinds: object, written: object) -> tuple[Any, ...]:
        """Return the filter; if it is malformed, return the error and keep the previous filter."""
        chosen = FilterChoice(
            domains=_chosen(domains, self.domains, "medium"),
            kinds=_chosen(kinds, self.kinds, "kind"),
            written=checked_text(written, "The condition").strip(),
        )
        try:
            where = chosen.condition()
            if where is not None:
                self._gallery.sample_items(1, where)  # raises if the engine does not support it
        except FilterError as error:
            return gr.skip(), str(error), gr.skip()
        return where, "", gr.update(label=chosen.label())

    @translate_errors
    def clear_filter(self) -> tuple[Any, ...]:
        """Return an empty filter."""
        return [], [], "", None, "", gr.update(label=LABEL)


def selectable_values(values: Sequence[str]) -> tuple[str, ...]:
    """Return the values of a gallery to choose from; none if there is only one."""
    usable = tuple(value for value in values if _is_usable(value))
    return usable if len(usable) > 1 else ()


def _is_usable(value: str) -> bool:
    try:
        check_text(value)
    except FilterError:
        return False
    return True


def _chosen(values: object, choices: Sequence[str], name: str) -> tuple[str, ...]:
    """Check the choices that a client sent."""
    sent: list[object] = values if isinstance(values, list) else [] if values is None else [values]
    chosen = tuple(
        dict.fromkeys(value for value in sent if isinstance(value, str) and value in choices)
    )
    if len(chosen) != len(sent):
        raise UsageError(f"The gallery has no such {name}; choose from the list.")
    return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterRow:
    """Components of the filter row, and the filter that they set."""

    row: gr.Accordion
    domains: CheckedDropdown
    kinds: CheckedDropdown
    written: gr.Textbox
    clear: gr.Button
    message: TextLine
    where: gr.State

    def listen(self, handlers: FilterHandlers, quiet: dict[str, Any]) -> None:
        """Connect the events, one at a time, so that the last choice takes effect."""
        outputs = [self.where, self.message, self.row]
        events: dict[str, Any] = {
            **quiet, "concurrency_id": "filter", "concurrency_limit": 1, "trigger_mode": "multiple",
        }  # fmt: skip
        gr.on(
            [self.domains.input, self.kinds.input, self.written.submit, self.written.blur],
            handlers.set_filter, [self.domains, self.kinds, self.written], outputs, **events,
        )  # fmt: skip
        self.clear.click(
            handlers.clear_filter,
            None,
            [self.domains, self.kinds, self.written, *outputs],
            **events,
        )


def build_filter_row(handlers: FilterHandlers) -> FilterRow:
    """Lay out the row, closed."""
    where = gr.State(None)
    with gr.Accordion(LABEL, open=False, elem_id="filter") as row:
        with gr.Row(equal_height=False, elem_id="filter-fields"):
            domains = _list("Medium", handlers.domains, "filter-domains")
            kinds = _list("Kind", handlers.kinds, "filter-kinds")
            written = gr.Textbox(
                label="Condition", placeholder="domain = 'photo' and not tags has 'red'",
                max_lines=1, max_length=1000, scale=3, min_width=240, elem_id="filter-condition",
            )  # fmt: skip
            clear = gr.Button("Clear", scale=0, min_width=72, size="md", elem_id="filter-clear")
        message = TextLine(elem_id="filter-message")
    return FilterRow(
        row=row,
        domains=domains,
        kinds=kinds,
        written=written,
        clear=clear,
        message=message,
        where=where,
    )


def _list(label: str, choices: Sequence[str], elem_id: str) -> CheckedDropdown:
    return CheckedDropdown(
        choices=list(choices), value=[], multiselect=True, label=label, scale=2, min_width=160,
        visible=bool(choices), elem_id=elem_id,
    )  # fmt: skip
