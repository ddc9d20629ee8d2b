"""Domains on the page: presets, saved ones, and a visitor's own examples."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import gradio as gr
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from composer.added_words import AddedWord
from composer.query import MAX_TEXT_LENGTH
from generation.sample import pixels_hash
from studio.domain_examples import Examples
from studio.domains import (
    ONE_EXAMPLE,
    PRESETS,
    Learning,
    domain_word,
    fitting_domains,
    learn_domain,
    neutral_features,
)
from studio.errors import UsageError
from studio.ui.context import PageContext
from studio.ui.inputs import UploadedFile
from studio.ui.layout import PRIVATE
from studio.ui.messages import translate_errors
from studio.ui.texts import TextLine

Handler = Callable[..., Any]
NAME: Final = "examples"
MAX_SHOWN: Final = 30
HOW: Final = (
    "Add pictures that show a look, three or more of different subjects: they become the word "
    f"<{NAME}>. Only you have it, until you leave."
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PageExamples:
    """Examples of one visitor, as the encoder sees them, by the hash of their pixels."""

    levels: tuple[UInt8[np.ndarray, "h w 3"], ...] = ()
    hashes: tuple[str, ...] = ()


class ExampleHandlers:
    """Learns a domain from the pictures that a visitor adds, one after the other."""

    def __init__(self, context: PageContext) -> None:
        """Serve the kit of a page."""
        self._context, self._lock = context, Lock()
        self._photos: Float[Tensor, "m d"] | None = None

    def add(
        self, image: Image.Image, kept: PageExamples, words: tuple[AddedWord, ...]
    ) -> tuple[PageExamples, tuple[AddedWord, ...], str, str]:
        """Return the examples with one more, the words with theirs, and what the page says.

        Raises:
            UsageError: There are too many.
            InputError: The examples are like any photograph.
        """
        engine = self._context.engine
        if len(kept.hashes) >= MAX_SHOWN:
            raise UsageError(f"You have {MAX_SHOWN} examples already; clear them to begin anew.")
        digest = pixels_hash(image)
        if digest not in kept.hashes:
            levels = engine.backbone.crop(image)
            kept = PageExamples(levels=(*kept.levels, levels), hashes=(*kept.hashes, digest))
        examples = Examples(levels=np.stack(kept.levels), hashes=kept.hashes)
        domain = learn_domain(engine, NAME, examples, Learning(photos=self._neutral()))
        word = domain_word(engine, domain)
        others = [one for one in words if one.mark.lower() != word.mark]
        if len(others) >= self._context.caps.num_added_words:
            raise UsageError("You have too many words already; clear some to add examples.")
        added = (*others, word)
        engine.with_words(added)
        return kept, added, _said(len(kept.hashes)), word.mark

    @translate_errors
    def clear(
        self, words: tuple[AddedWord, ...]
    ) -> tuple[PageExamples, tuple[AddedWord, ...], str, str]:
        """Forget the examples and their word."""
        return PageExamples(), tuple(one for one in words if one.name != NAME), HOW, ""

    def _neutral(self) -> Float[Tensor, "m d"]:
        with self._lock:
            if self._photos is None:
                self._photos = neutral_features(self._context.engine)
            return self._photos


def _said(count: int) -> str:
    if count == 1:
        return ONE_EXAMPLE
    return f"{count} examples are the word <{NAME}>; it may stand among others."


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainInputs:
    """Components that name the domain of a transfer."""

    domain: gr.Radio
    own_words: gr.Textbox
    upload: UploadedFile
    clear: gr.Button
    line: TextLine
    kept: gr.State

    def listen(
        self, handlers: ExampleHandlers, add: Handler, note: Handler, words: gr.State
    ) -> None:
        """Connect the events, one at a time.

        Args:
            handlers: Their handlers.
            add: Reads an upload and adds it.
            note: Registers an upload as the visitor's, to be removed at the end.
            words: The visitor's words.
        """
        events: dict[str, Any] = {
            **PRIVATE, "show_progress": "hidden", "concurrency_id": "examples",
            "concurrency_limit": 1, "trigger_mode": "multiple",
        }  # fmt: skip
        outputs = [self.kept, words, self.line, self.own_words]
        self.upload.upload(note, self.upload, None, **PRIVATE)
        self.upload.upload(add, [self.upload, self.kept, words], outputs, **events)
        self.clear.click(handlers.clear, words, outputs, **events)


def domain_inputs(context: PageContext) -> DomainInputs:
    """Lay out the choice of the domain; saved domains may stand beside the presets."""
    draws = context.engine.kit.pipeline is not None
    saved = fitting_domains(context.engine) if draws and context.offers_saved else ()
    presets = {preset.casefold() for preset in PRESETS}
    choices = (*PRESETS, *(name for name in saved if name.casefold() not in presets))
    domain = gr.Radio(choices, value="watercolour", label="Into", elem_id="domain")
    own_words = gr.Textbox(
        label="Or in your own words", placeholder="a faded poster", max_lines=1,
        max_length=MAX_TEXT_LENGTH, elem_id="own-domain",
    )  # fmt: skip
    kept = gr.State(PageExamples())
    with gr.Accordion("Or like pictures of your own", open=False, elem_id="like-pictures"):
        line = TextLine(value=HOW, elem_id="like-pictures-line")
        with gr.Row():
            upload = UploadedFile(
                label="Add a picture", file_types=["image"], size="md", min_width=120,
                interactive=draws, elem_id="add-example",
            )  # fmt: skip
            clear = gr.Button("Clear", scale=0, min_width=72, size="md", elem_id="clear-examples")
    return DomainInputs(
        domain=domain, own_words=own_words, upload=upload, clear=clear, line=line, kept=kept
    )
