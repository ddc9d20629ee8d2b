"""The only place that turns exceptions into what the page says."""

import errno
import functools
import html
import logging
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

import gradio as gr

from studio.errors import USER_ERRORS

P = ParamSpec("P")
R = TypeVar("R")

LOGGER = logging.getLogger("studio.ui")
OUR_FAULT = "Something went wrong on our side. The log of the program says more; try again."


def told(handler: Callable[P, R]) -> Callable[P, R]:
    """Wrap a handler: its errors reach the page as one sentence, never as a traceback.

    What the user can mend is said as it is. Anything else is our bug: it is logged, and the page
    says only that. The signature is kept, as gradio reads it.
    """

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise as_page_error(error) from error

    return wrapped


def as_page_error(error: Exception) -> gr.Error:
    """Say an exception to the page."""
    if isinstance(error, USER_ERRORS):
        return notice(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return notice("The disk of the server is full, so the result could not be kept.")
    # The message of a bug may quote what the user typed: only its kind and place are logged.
    LOGGER.error("A handler failed with %s.", type(error).__name__, exc_info=_place(error))
    return notice(OUR_FAULT)


def notice(sentence: str) -> gr.Error:
    """Make the page's message from a sentence; gradio shows it as markup, so it is escaped."""
    return gr.Error(html.escape(sentence, quote=False), title="", duration=8, print_exception=False)


def _place(error: Exception) -> tuple[type[Exception], Exception, TracebackType | None]:
    return (RuntimeError, RuntimeError(type(error).__name__), error.__traceback__)
