"""Logs without content: no text, drawing or file of a visitor reaches a terminal or a log."""

import importlib
import logging
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

LOGGER = logging.getLogger("studio.ui")
# They print tracebacks, whose last line quotes what an input did not accept.
_PRINTING = ("gradio.queueing", "gradio.routes", "gradio.route_utils")
# It logs what a request raised, in as many lines as there are layers.
_SERVER = "uvicorn.error"

ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def without_message(error: BaseException) -> ErrorInfo:
    """Return an error for a log: its class and its place, without its message.

    The message may quote the visitor's input, and so may the errors that it follows from.
    """
    name = str(error) if isinstance(error, _WithheldError) else type(error).__name__
    withheld = _WithheldError(name).with_traceback(error.__traceback__)
    return (_WithheldError, withheld, error.__traceback__)


def class_and_place(error: BaseException) -> str:
    """Return the class of an error, and the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class _WithheldError(Exception):
    """Stands for another error, whose class is all that it says."""


@contextmanager
def logs_without_content() -> Generator[None, None, None]:
    """Log every error of this process by class and place alone."""
    modules = [importlib.import_module(name) for name in _PRINTING]
    record, thread = logging.getLogRecordFactory(), threading.excepthook
    logging.setLogRecordFactory(_without_content(record))
    threading.excepthook = _log_thread
    for module in modules:
        vars(module)["traceback"] = _Traceback("traceback")
    try:
        yield
    finally:
        for module in modules:
            vars(module)["traceback"] = traceback
        threading.excepthook = thread
        logging.setLogRecordFactory(record)


class _Traceback(ModuleType):
    """The module `traceback`, except that an error is logged in one line without its message.

    Whoever sends what no input accepts must not fill the log, either.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the module has
        return getattr(traceback, name)

    @staticmethod
    def print_exc(*_: object, **__: object) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            LOGGER.error("A request failed: %s.", class_and_place(error))


def _without_content(record_of: Any) -> Any:  # noqa: ANN401  the signature of a record factory
    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401
        made: logging.LogRecord = record_of(*args, **kwargs)
        error = made.exc_info[1] if made.exc_info else None
        if error is not None and made.name == _SERVER:
            made.exc_info, made.args = None, ()
            made.msg = f"A request failed: {class_and_place(error.__cause__ or error)}."
        elif error is not None:
            made.exc_info = without_message(error)
        if made.name == "asyncio":  # further lines represent the task and its error
            made.msg, made.args = made.getMessage().split("\n")[0], ()
        return made

    return record


def _log_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        LOGGER.error("A thread failed.", exc_info=failure.exc_value)
