"""A picture that steers the style of what is drawn, for kits that have an IP-Adapter."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from generation.defaults import IP_ADAPTER_SCALE
from generation.request import DEFAULT_CAPS
from studio.kits import Kit
from studio.ui.inputs import CheckedSlider, UploadedImage
from studio.ui.layout import PRIVATE


@dataclass(frozen=True, kw_only=True, slots=True)
class StylePicture:
    """Components of the picture and its strength."""

    picture: UploadedImage
    scale: CheckedSlider

    @property
    def inputs(self) -> list[Any]:
        """The last inputs of the handlers that draw."""
        return [self.picture, self.scale]

    def listen(self, note: Any) -> None:  # noqa: ANN401  a handler
        """Connect the event by which an upload is registered as the visitor's."""
        self.picture.upload(note, self.picture, None, **PRIVATE)


def build_style_picture(kit: Kit) -> StylePicture | None:
    """Lay it out, closed; None for a kit that cannot use it."""
    if kit.ip_adapter is None:
        return None
    with gr.Accordion("Style from a picture", open=False, elem_id="style-picture"):
        picture = UploadedImage(
            label="Style of what is drawn", type="filepath", sources=["upload", "clipboard"],
            height=140, buttons=[], elem_id="style",
        )  # fmt: skip
        scale = CheckedSlider(
            minimum=0,
            maximum=DEFAULT_CAPS.ip_adapter_scale,
            value=IP_ADAPTER_SCALE,
            step=0.05,
            label="Strength of the style",
            elem_id="style-scale",
        )
    return StylePicture(picture=picture, scale=scale)
