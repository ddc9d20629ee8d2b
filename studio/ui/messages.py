"""Translation of exceptions into messages of the page."""

import errno
import functools
import html
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gradio as gr

from studio.errors import USER_ERRORS
from studio.ui.quiet import LOGGER, without_message

P = ParamSpec("P")
R = TypeVar("R")

INTERNAL_ERROR = "Something went wrong. Try again; the details are in the program's log."


def translate_errors(handler: Callable[P, R]) -> Callable[P, R]:
    """Wrap a handler so that its errors reach the page as one sentence.

    User errors are displayed as they are. Other errors are bugs: they are logged, and the page
    displays a general message. The signature is kept, because gradio reads it.
    """

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise page_error(error) from error

    return wrapped


def page_error(error: Exception) -> gr.Error:
    """Return the message of the page for an exception."""
    if isinstance(error, USER_ERRORS):
        return notice(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return notice("The disk of the server is full, so the result could not be kept.")
    # The message may quote the user's input, so only type and traceback are logged.
    LOGGER.error("A handler failed with %s.", type(error).__name__, exc_info=without_message(error))
    return notice(INTERNAL_ERROR)


def notice(sentence: str) -> gr.Error:
    """Return a sentence as a message of the page, escaped because gradio renders markup."""
    return gr.Error(html.escape(sentence, quote=False), title="", duration=8, print_exception=False)
