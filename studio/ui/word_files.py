"""Token files of a visitor, which become words of the text for one visit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from composer.added_words import MAX_NAME_LENGTH, AddedWord
from composer.token_file import read_token
from studio.errors import UsageError
from studio.ui.context import PageContext
from studio.ui.inputs import UploadedFile, checked_text
from studio.ui.layout import PRIVATE
from studio.ui.messages import translate_errors
from studio.ui.texts import TextLine

HOW = (
    "A textual inversion becomes a word: chair.safetensors is written <chair>, as in “a <chair> in "
    "oak wood”, or <NAME> if you give a name first. Only you have it, until you leave."
)
NO_UPLOAD = "The file was not uploaded to this page."


class WordFileHandlers:
    """Handlers of one server; the words of a visitor are in `gr.State`."""

    def __init__(self, context: PageContext) -> None:
        """Serve the kit of a page."""
        self._context = context

    @translate_errors
    def add(
        self, upload: object, words: tuple[AddedWord, ...], name: object = ""
    ) -> tuple[tuple[AddedWord, ...], str]:
        """Add the word of an uploaded file; one of its name is replaced.

        Args:
            upload: The file, as a client sent it.
            words: The visitor's words.
            name: What the word is called, as a client sent it; the file's own name if empty.

        Raises:
            gr.Error: The file is none of this page's, is no textual inversion, or is for another
                kit; the name cannot stand in a text; or there are too many words.
        """
        file = self._file(upload)
        word = read_token(file, checked_text(name, "The name").strip() or None)
        kept = [one for one in words if one.mark.lower() != word.mark.lower()]
        most = self._context.caps.num_added_words
        if len(kept) >= most:
            raise UsageError(f"You have {most} words already; clear them to add another.")
        added = (*kept, word)
        self._context.engine.with_words(added)
        return added, said(added)

    @translate_errors
    def clear(self) -> tuple[tuple[AddedWord, ...], str]:
        """Forget all words."""
        return (), said(())

    def _file(self, upload: object) -> Path:
        file = Path(upload).resolve() if isinstance(upload, str) and upload else None
        if file is None or not file.is_relative_to(self._context.folder) or not file.is_file():
            raise UsageError(NO_UPLOAD)
        most = self._context.caps.token_bytes
        if file.stat().st_size > most:
            raise UsageError(f"A token file has at most {most >> 20} MiB here.")
        return file


def said(words: Sequence[AddedWord]) -> str:
    """Return the line that names the words, or says how one is made."""
    if not words:
        return HOW
    return f"Your words: {', '.join(word.mark for word in words)}. Write them among the others."


@dataclass(frozen=True, kw_only=True, slots=True)
class WordFiles:
    """Components of a visitor's token files."""

    name: gr.Textbox
    upload: UploadedFile
    clear: gr.Button
    line: TextLine
    words: gr.State

    def listen(self, handlers: WordFileHandlers, note: Any) -> None:  # noqa: ANN401  a handler
        """Connect the events, one at a time.

        Args:
            handlers: Their handlers.
            note: Registers an upload as the visitor's, to be removed at the end.
        """
        events: dict[str, Any] = {
            **PRIVATE, "show_progress": "hidden", "concurrency_id": "word-files",
            "concurrency_limit": 1, "trigger_mode": "multiple",
        }  # fmt: skip
        outputs = [self.words, self.line]
        self.upload.upload(note, self.upload, None, **PRIVATE)
        inputs = [self.upload, self.words, self.name]
        added: Any = self.upload.upload(handlers.add, inputs, outputs, **events)
        added.success(None, None, self.name, js="() => ''", **PRIVATE)
        self.clear.click(handlers.clear, None, outputs, **events)


def build_word_files() -> WordFiles:
    """Lay them out, closed."""
    words = gr.State(())
    with gr.Accordion("Words from files", open=False, elem_id="word-files"):
        line = TextLine(value=HOW, elem_id="word-files-line")
        with gr.Row():
            name = gr.Textbox(
                label="Name", placeholder="the file's own", max_lines=1, min_width=120,
                max_length=MAX_NAME_LENGTH, elem_id="word-name",
            )  # fmt: skip
            upload = UploadedFile(
                label="Add a token file", file_types=[".safetensors"], size="md", min_width=120,
                elem_id="add-word",
            )  # fmt: skip
            clear = gr.Button("Clear", scale=0, min_width=72, size="md", elem_id="clear-words")
    return WordFiles(name=name, upload=upload, clear=clear, line=line, words=words)
