"""What clients may call: the page's functions, checked before gradio reads a request.

Gradio downloads an address that arrives as file data in any input, and offers several ways to run a
function past its queue. Here one reading of a request is checked, and only that reading is passed
on.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gradio as gr

from studio.ui.inputs import UploadedFile, UploadedImage

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JOINED = ("data", "event_data", "fn_index", "session_hash", "trigger_id")
_CALLED = ("data", "session_hash")
_ABOUT = ("event_id", "session_hash", "fn_index")
NO_FILE = "Send a picture as an upload; no address and no other file is read."
NO_FUNCTION = "The page has no such function."
NO_CALL = "The request must name a call that was made."
NOT_JSON = "The request must be a JSON object with a list of inputs."


class CallError(Exception):
    """A call that is refused.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        """Keep the sentence and the status."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFunction:
    """A function of the page as clients see it.

    Attributes:
        index: Its number in gradio's configuration.
        name: Its public name; empty if it has none.
        pictures: For each input whether an upload is expected.
        public: Positions of the inputs that a call by name may give; the rest are states.
        is_queued: Whether it waits in the queue.
        is_drawing: Whether it shares the slot of drawings.
    """

    index: int
    name: str
    pictures: tuple[bool, ...]
    public: tuple[int, ...]
    is_queued: bool
    is_drawing: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A checked call.

    Attributes:
        function: What is called.
        session: The visit; empty if the client named none.
        body: The request as it is passed on.
    """

    function: PageFunction
    session: str
    body: bytes


class PageCalls:
    """The functions of a page and the folder of its uploads."""

    def __init__(self, functions: Mapping[int, PageFunction], folder: Path) -> None:
        """Accept uploads below `folder` alone."""
        self._by_index, self._folder = functions, folder.resolve()
        self._by_name = {function.name: function for function in functions.values()}

    def read_joined(self, body: bytes) -> Call:
        """Read a call that the page sends to the queue.

        Raises:
            CallError: It is refused.
        """
        values = _read_object(body)
        return self._checked(self._at(values.get("fn_index")), values, _JOINED)

    def read_named(self, name: str, body: bytes) -> Call:
        """Read a call that a program sends by name; it waits in the queue, too.

        Raises:
            CallError: It is refused.
        """
        values = _read_object(body)
        return self._checked(self._named(name), values, _CALLED)

    def read_direct(self, name: str, body: bytes) -> Call:
        """Read a call past the queue, which only functions may get that never wait.

        Raises:
            CallError: It is refused.
        """
        values = _read_object(body)
        index = values.get("fn_index")
        function = self._named(name) if index is None else self._at(index)
        if function.is_queued:
            raise CallError("Calls past the queue are closed; use /gradio_api/call.", 404)
        return self._checked(function, values, _JOINED)

    def read_other(self, body: bytes) -> bytes:
        """Return the body of a request about a call that was made, as it is passed on.

        Raises:
            CallError: It is no JSON object that names a call.
        """
        values = _read_object(body)
        kept = {key: values[key] for key in _ABOUT if key in values}
        index, names = kept.get("fn_index", 0), [kept.get(key, "x") for key in _ABOUT[:2]]
        are_names = all(isinstance(name, str) and _SESSION.fullmatch(name) for name in names)
        if "event_id" not in kept or type(index) is not int or not are_names:
            raise CallError(NO_CALL)
        return json.dumps(kept).encode()

    def _at(self, index: object) -> PageFunction:
        function = self._by_index.get(index) if type(index) is int else None
        if function is None:
            raise CallError(NO_FUNCTION, 404)
        return function

    def _named(self, name: str) -> PageFunction:
        function = self._by_name.get(name) if name else None
        if function is None:
            raise CallError(NO_FUNCTION, 404)
        return function

    def _checked(
        self, function: PageFunction, values: dict[str, Any], keys: tuple[str, ...]
    ) -> Call:
        session = values.get("session_hash")
        if session is not None and not (
            isinstance(session, str) and _SESSION.fullmatch(session) is not None
        ):
            raise CallError("The name of the visit is not valid.")
        self._check_inputs(function, values.get("data"))
        if not all(self._is_own(file) for file in _files_in(values.get("event_data"))):
            raise CallError(NO_FILE)
        kept = {key: values[key] for key in keys if key in values}
        return Call(function=function, session=session or "", body=json.dumps(kept).encode())

    def _check_inputs(self, function: PageFunction, data: object) -> None:
        if not isinstance(data, list):
            raise CallError(NOT_JSON)
        inputs = cast("list[object]", data)
        num_all, num_public = len(function.pictures), len(function.public)
        if len(inputs) == num_all:
            pictures = function.pictures
        elif len(inputs) == num_public:
            pictures = tuple(function.pictures[position] for position in function.public)
        else:
            raise CallError(f"This function has {num_public} inputs, got {len(inputs)}.")
        for value, is_picture in zip(inputs, pictures, strict=True):
            for file in _files_in(value):
                if not (is_picture and file is value and self._is_own(file)):
                    raise CallError(NO_FILE)

    def _is_own(self, file: Mapping[str, object]) -> bool:
        """Tell whether file data name a file of this server; its address is never used."""
        path = file.get("path")
        if not isinstance(path, str) or "://" in path or not Path(path).is_absolute():
            return False
        try:
            return Path(path).resolve().is_relative_to(self._folder)
        except (OSError, ValueError, RuntimeError):
            return False


def functions_of(page: gr.Blocks, drawing: str) -> dict[int, PageFunction]:
    """Return the functions of a page by their number.

    Args:
        page: A page that is built.
        drawing: Name of the slot that drawings share.
    """
    return {index: _describe(index, function, drawing) for index, function in page.fns.items()}


def _describe(index: int, function: Any, drawing: str) -> PageFunction:  # noqa: ANN401  gradio's
    inputs: list[Any] = function.inputs
    is_public = function.api_visibility == "public" and isinstance(function.api_name, str)
    return PageFunction(
        index=index,
        name=function.api_name if is_public else "",
        pictures=tuple(isinstance(block, UploadedImage | UploadedFile) for block in inputs),
        public=tuple(number for number, block in enumerate(inputs) if not block.skip_api),
        is_queued=bool(function.queue),
        is_drawing=function.concurrency_id == drawing,
    )


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        values: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallError(NOT_JSON) from error
    if not isinstance(values, dict):
        raise CallError(NOT_JSON)
    return cast("dict[str, Any]", values)


def _files_in(value: object) -> Iterator[Mapping[str, object]]:
    """Yield every object in a JSON value that gradio, or a component, could take for a file."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            entry = cast("dict[str, object]", item)
            if "path" in entry or "url" in entry:
                yield entry
            waiting.extend(entry.values())
        elif isinstance(item, list):
            waiting.extend(cast("list[object]", item))
