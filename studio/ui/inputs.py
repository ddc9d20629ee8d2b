"""Inputs that let nothing through unchecked: gradio's own decode, fetch and compare too early."""

import math
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from generation.request import RequestError
from studio.ui.quiet import WithoutStub


class Dial(gr.Slider, metaclass=WithoutStub):
    """A slider whose value is checked by the handler, in one sentence, whatever its type."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  whatever a client sends
        """Hand the value on as it came."""
        return payload

    def get_block_name(self) -> str:
        """Name the component that the browser shows."""
        return "slider"


class Count(gr.Number, metaclass=WithoutStub):
    """A number whose value is checked by the handler, like `Dial`."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  whatever a client sends
        """Hand the value on as it came."""
        return payload

    def get_block_name(self) -> str:
        """Name the component that the browser shows."""
        return "number"


class Choice(gr.Dropdown, metaclass=WithoutStub):
    """A list whose choice is checked by the handler, like `Dial`: gradio's refusal quotes it."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  whatever a client sends
        """Hand the value on as it came."""
        return payload

    def get_block_name(self) -> str:
        """Name the component that the browser shows."""
        return "dropdown"


class Picture(gr.Image, metaclass=WithoutStub):
    """An uploaded picture as the path of its bytes: nothing is decoded or fetched here."""

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the path of the upload; `composer.images.open_image` reads it.

        Raises:
            gr.Error: The value is no upload.
        """
        if payload is None:
            return None
        if payload.path is None or (payload.url or "").startswith("data:"):
            raise _not_an_upload()
        return payload.path

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:  # noqa: ANN401
        """Refuse addresses: gradio would fetch them from the server's place.

        Raises:
            gr.Error: The value is an address.
        """
        if "://" in str(url_or_file_path or ""):
            raise _not_an_upload()
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def get_block_name(self) -> str:
        """Name the component that the browser shows."""
        return "image"


def real(value: object, name: str) -> float:
    """Check that a client sent a finite number.

    Raises:
        RequestError: It did not.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not abs(number) < math.inf:  # false for nan too
        raise RequestError(f"{name} must be a number, got {repr(value)[:40]}.")
    return float(number)


def whole(value: object, name: str) -> int:
    """Check that a client sent a whole number.

    Raises:
        RequestError: It did not.
    """
    # Beyond 2^53 a JSON number is no longer the one that was typed.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise RequestError(f"{name} must be a whole number, got {repr(value)[:40]}.")
    if abs(value) > 2**53:
        raise RequestError(f"{name} must be at most 2^53, got {repr(value)[:40]}.")
    return int(value)


def text(value: object, name: str) -> str:
    """Check that a client sent text; None is empty text.

    Raises:
        RequestError: It did not.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text.")
    return value


def _not_an_upload() -> gr.Error:
    return gr.Error(
        "Hand the picture in as a file; addresses are not fetched.",
        title="Picture",
        print_exception=False,
    )
