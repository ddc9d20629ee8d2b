"""An IP-Adapter beside a pipeline: a picture that steers the style of what is drawn.

The UNet has the adapter's layers only while a request with such a picture runs, so that all others
are drawn by exactly the models of a kit without it. The image encoder waits on the CPU and visits
the device for one picture.

Source: H. Ye et al., "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion
Models", 2023, section 3.2; loaded and run by diffusers.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.files import sha256_of
from generation.model_files import open_image_encoder
from generation.style_files import StyleError, StyleSource, num_layers_of


class StyleAdapter:
    """An opened IP-Adapter.

    Attributes:
        sha256: of the adapter's file, in hex.
    """

    def __init__(
        self,
        base: Any,  # noqa: ANN401  a pipeline of diffusers
        source: StyleSource,
        device: torch.device,
    ) -> None:
        """Open the files; the caller holds the pipeline's slot. Cost: seconds.

        Args:
            base: the pipeline of diffusers whose UNet is adapted.
            source: the files, which fit by `check_style_files`.
            device: where pictures are read.

        Raises:
            StyleError: the adapter is for another UNet.
            PipelineError: the image encoder is damaged.
        """
        unet = base.unet
        num_ours, num_theirs = _num_cross_attentions(unet), num_layers_of(source)
        if num_ours != num_theirs:
            raise StyleError(
                f"{source.weights.name} adapts {num_theirs} layers, the kit's UNet has {num_ours}. "
                "Choose one of the same family."
            )
        self._base, self._unet, self._device = base, unet, device
        self.sha256 = sha256_of(source.weights)
        self._encoder = open_image_encoder(source.image_encoder, unet.dtype)
        self._encoder.requires_grad_(False).eval()
        self._known: tuple[bytes, Float[Tensor, "2 ..."]] | None = None
        plain = unet.attn_processors
        base.register_modules(image_encoder=self._encoder)
        try:
            base.load_ip_adapter(
                str(source.weights.parent),
                subfolder="",
                weight_name=source.weights.name,
                image_encoder_folder=None,
                local_files_only=True,
            )
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise StyleError(
                f"{source.weights.name} does not fit the kit's UNet. Choose one of its family."
            ) from error
        finally:
            base.image_encoder = None  # the pipeline must not take it to the device
            self._projection, unet.encoder_hid_proj = unet.encoder_hid_proj, None
            self._adapted = {
                name: one for name, one in unet.attn_processors.items() if _is_cross(name)
            }
            _put(unet, plain, None)
        for module in (self._projection, *self._adapted.values()):
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False)

    @contextmanager
    def active(self, scale: float) -> Generator[None, None, None]:
        """Put the adapter's layers into the UNet for a run; the caller holds the slot.

        Args:
            scale: strength of the picture; 0 leaves the result as it is without the adapter.
        """
        unet = self._unet
        plain = unet.attn_processors
        _put(unet, {**plain, **self._adapted}, self._projection)
        try:
            for module in (self._projection, *self._adapted.values()):  # the UNet may have moved
                torch.nn.Module.to(module, unet.device, unet.dtype)
            self._base.set_ip_adapter_scale(scale)
            yield
        finally:
            _put(unet, plain, None)

    @torch.no_grad()
    def encode(self, image: Image.Image) -> Float[Tensor, "2 ..."]:
        """Return the features of a picture, those of none first; the last picture's are kept.

        Args:
            image: RGB; its centre square is read.
        """
        key = f"{image.size}".encode() + image.tobytes()
        if self._known is None or self._known[0] != key:
            base = self._base
            base.image_encoder = torch.nn.Module.to(self._encoder, self._device)
            try:
                with self.active(1.0):
                    (features,) = base.prepare_ip_adapter_image_embeds(
                        image, None, self._device, 1, do_classifier_free_guidance=True
                    )
            finally:
                base.image_encoder = None
                torch.nn.Module.to(self._encoder, "cpu")
            self._known = key, features
        return self._known[1]


def _num_cross_attentions(unet: Any) -> int:  # noqa: ANN401  a model of diffusers
    return sum(_is_cross(name) for name in unet.attn_processors)


def _is_cross(processor_name: str) -> bool:
    return not processor_name.endswith("attn1.processor")


def _put(unet: Any, processors: dict[str, Any], projection: Any) -> None:  # noqa: ANN401
    unet.encoder_hid_proj = None  # its attentions are not among the processors
    unet.set_attn_processor(dict(processors))
    unet.encoder_hid_proj = projection
