"""Narrowing a gallery on the page: by its own media and kinds, and by a condition in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from retrieval.filters.language import parse
from retrieval.filters.tree import And, Field, Filter, FilterError, In, check_text
from retrieval.search import Gallery
from studio.errors import UsageError
from studio.ui.inputs import Choice, text
from studio.ui.messages import told
from studio.ui.texts import Line

MAX_CHOICES = 200
LABEL = "Narrow"
_LABEL_LENGTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowing:
    """What a visitor wants to see of the gallery alone; empty parts let everything through."""

    domains: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    written: str = ""

    def condition(self) -> Filter | None:
        """Join the parts.

        Raises:
            FilterError: What was written is no condition, or too deep.
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
        """Name it on the closed row, so that nobody wonders where the other pictures are."""
        parts = (", ".join(self.domains), ", ".join(self.kinds), self.written)
        named = "; ".join(part for part in parts if part)
        short = named if len(named) <= _LABEL_LENGTH else f"{named[: _LABEL_LENGTH - 1]}…"
        return f"{LABEL}: {short}" if named else LABEL


class Sieve:
    """The handlers of the row that narrows, over what one gallery holds."""

    def __init__(self, gallery: Gallery) -> None:
        """Look up what there is to choose among."""
        self._gallery = gallery
        self.domains = offered(gallery.values_of(Field.DOMAIN, MAX_CHOICES))
        self.kinds = offered(gallery.values_of(Field.KIND, MAX_CHOICES))

    @told
    def narrow(self, domains: object, kinds: object, written: object) -> tuple[Any, ...]:
        """Make the condition; where it is none, say so and leave the one before in force."""
        chosen = Narrowing(
            domains=_chosen(domains, self.domains, "medium"),
            kinds=_chosen(kinds, self.kinds, "kind"),
            written=text(written, "The condition").strip(),
        )
        try:
            where = chosen.condition()
            if where is not None:
                self._gallery.spread(1, where)  # what the engine cannot ask is known at once
        except FilterError as error:
            return gr.skip(), str(error), gr.skip()
        return where, "", gr.update(label=chosen.label())

    @told
    def widen(self) -> tuple[Any, ...]:
        """Let everything through again."""
        return [], [], "", None, "", gr.update(label=LABEL)


def offered(values: Sequence[str]) -> tuple[str, ...]:
    """Return those of a gallery's values that can be chosen: nothing where that is one alone."""
    found = tuple(value for value in values if _can_be_asked(value))
    return found if len(found) > 1 else ()


def _can_be_asked(value: str) -> bool:
    try:
        check_text(value)
    except FilterError:
        return False
    return True


def _chosen(values: object, choices: Sequence[str], name: str) -> tuple[str, ...]:
    """Check what a client says it chose."""
    sent: list[object] = values if isinstance(values, list) else [] if values is None else [values]
    found = tuple(dict.fromkeys(one for one in sent if isinstance(one, str) and one in choices))
    if len(found) != len(sent):
        raise UsageError(f"The gallery has no such {name}; choose from the list.")
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class NarrowRow:
    """The components of the row, and the condition that they set."""

    row: gr.Accordion
    domains: Choice
    kinds: Choice
    written: gr.Textbox
    clear: gr.Button
    said: Line
    where: gr.State

    def listen(self, sieve: Sieve, quiet: dict[str, Any]) -> None:
        """Have the handlers called; one at a time, so that the last choice is the one in force."""
        outputs = [self.where, self.said, self.row]
        one_by_one: dict[str, Any] = {
            **quiet, "concurrency_id": "narrow", "concurrency_limit": 1, "trigger_mode": "multiple",
        }  # fmt: skip
        gr.on(
            [self.domains.input, self.kinds.input, self.written.submit, self.written.blur],
            sieve.narrow, [self.domains, self.kinds, self.written], outputs, **one_by_one,
        )  # fmt: skip
        self.clear.click(
            sieve.widen, None, [self.domains, self.kinds, self.written, *outputs], **one_by_one
        )


def narrow_row(sieve: Sieve) -> NarrowRow:
    """Lay the row out, closed."""
    where = gr.State(None)
    with gr.Accordion(LABEL, open=False, elem_id="narrow") as row:
        with gr.Row(equal_height=False, elem_id="sieve"):
            domains = _list("Medium", sieve.domains, "narrow-domains")
            kinds = _list("Kind", sieve.kinds, "narrow-kinds")
            written = gr.Textbox(
                label="Condition", placeholder="domain = 'photo' and not tags has 'red'",
                max_lines=1, max_length=1000, scale=3, min_width=240, elem_id="narrow-condition",
            )  # fmt: skip
            clear = gr.Button("Clear", scale=0, min_width=72, size="md", elem_id="narrow-clear")
        said = Line(elem_id="narrow-said")
    return NarrowRow(
        row=row, domains=domains, kinds=kinds, written=written, clear=clear, said=said, where=where
    )


def _list(label: str, choices: Sequence[str], elem_id: str) -> Choice:
    return Choice(
        choices=list(choices), value=[], multiselect=True, label=label, scale=2, min_width=160,
        visible=bool(choices), elem_id=elem_id,
    )  # fmt: skip
