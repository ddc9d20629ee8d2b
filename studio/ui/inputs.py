"""Inputs whose values only handlers check; gradio's inputs decode, fetch and compare too early."""

import math
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from generation.request import RequestError
from studio.ui.no_stubs import WithoutStub


class CheckedSlider(gr.Slider, metaclass=WithoutStub):
    """A slider whose value the handler checks, whatever its type."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  untrusted
        """Return the value unchanged."""
        return payload

    def get_block_name(self) -> str:
        """Return the name of the component in the browser."""
        return "slider"


class CheckedNumber(gr.Number, metaclass=WithoutStub):
    """A number whose value the handler checks."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  untrusted
        """Return the value unchanged."""
        return payload

    def get_block_name(self) -> str:
        """Return the name of the component in the browser."""
        return "number"


class CheckedDropdown(gr.Dropdown, metaclass=WithoutStub):
    """A dropdown whose choices the handler checks; gradio's error would quote them as markup."""

    def preprocess(self, payload: Any) -> Any:  # noqa: ANN401  untrusted
        """Return the value unchanged."""
        return payload

    def get_block_name(self) -> str:
        """Return the name of the component in the browser."""
        return "dropdown"


class UploadedImage(gr.Image, metaclass=WithoutStub):
    """An uploaded picture as the path of its file; nothing is decoded or fetched."""

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the path of the upload.

        Raises:
            gr.Error: The value is no upload.
        """
        if payload is None:
            return None
        if payload.path is None or (payload.url or "").startswith("data:"):
            raise _not_an_upload()
        return payload.path

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:  # noqa: ANN401
        """Refuse addresses, which gradio would fetch from the server.

        Raises:
            gr.Error: The value is an address.
        """
        if "://" in str(url_or_file_path or ""):
            raise _not_an_upload()
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def get_block_name(self) -> str:
        """Return the name of the component in the browser."""
        return "image"


class UploadedFile(gr.UploadButton, metaclass=WithoutStub):
    """A button for one file, as the path of its upload; nothing is read or fetched."""

    def preprocess(self, payload: Any) -> str | None:  # noqa: ANN401  gradio's type is wider
        """Return the path of the upload.

        Raises:
            gr.Error: The value is no upload.
        """
        path = getattr(payload, "path", None)
        if payload is not None and not isinstance(path, str):
            raise _not_an_upload()
        return path

    def get_block_name(self) -> str:
        """Return the name of the component in the browser."""
        return "uploadbutton"


def checked_float(value: object, name: str) -> float:
    """Check that a client sent a finite number.

    Raises:
        RequestError: The value is of another kind.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not abs(number) < math.inf:  # false for nan too
        raise RequestError(f"{name} must be a number, got {repr(value)[:40]}.")
    return float(number)


def checked_int(value: object, name: str) -> int:
    """Check that a client sent a whole number.

    Raises:
        RequestError: The value is of another kind.
    """
    # JSON numbers above 2^53 are not exact.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise RequestError(f"{name} must be a whole number, got {repr(value)[:40]}.")
    if abs(value) > 2**53:
        raise RequestError(f"{name} must be at most 2^53, got {repr(value)[:40]}.")
    return int(value)


def checked_text(value: object, name: str) -> str:
    """Check that a client sent text; None is empty text.

    Raises:
        RequestError: The value is of another kind.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text.")
    return value


def _not_an_upload() -> gr.Error:
    return gr.Error(
        "Upload the picture as a file; addresses are not fetched.",
        title="Picture",
        print_exception=False,
    )
