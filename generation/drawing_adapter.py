"""A T2I-Adapter: the control of a drawing for little more than a plain image.

A control network runs at every step; an adapter turns the drawing into features once, which are
added to the maps of the UNet at every step. The features of the last drawing are kept, so that
further seeds, words and strengths of a live page do not run it again.

Source: C. Mou et al., "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for
Text-to-Image Diffusion Models", AAAI 2024, section 3.3.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from generation.model_folder import PipelineError
from generation.request import RequestError

_RESIDUALS = "down_intrablock_additional_residuals"  # as diffusers calls the features


def check_adapter(model: Any, unet: Any) -> None:  # noqa: ANN401  models of diffusers
    """Check that an adapter's features have the sizes of a UNet's maps.

    Raises:
        PipelineError: they have not.
    """
    config = model.config
    width = height = int(unet.config.sample_size) * 8
    with torch.device("meta"):
        empty = type(model).from_config(config)(torch.zeros(1, config.in_channels, height, width))
    theirs = [(one.shape[1], one.shape[2]) for one in empty]
    if theirs != _map_sizes(unet):
        raise PipelineError(
            f"The adapter's features have (channels, side) {theirs}, the UNet's maps "
            f"{_map_sizes(unet)}. Choose one of the same family."
        )


def _map_sizes(unet: Any) -> list[tuple[int, int]]:  # noqa: ANN401
    """Return channels and side of the maps that features are added to, for the native size."""
    sizes: list[tuple[int, int]] = []
    side, blocks = int(unet.config.sample_size), unet.down_blocks
    for block, channels in zip(blocks, unet.config.block_out_channels, strict=True):
        has_attention = getattr(block, "has_cross_attention", False)
        shrinks = block.downsamplers is not None
        # Features join a block with attention before its maps shrink, any other after.
        sizes.append((int(channels), side if has_attention or not shrinks else side // 2))
        side = side // 2 if shrinks else side
    if len(sizes) == 3:  # SDXL's middle block takes a fourth
        sizes.append((sizes[-1][0], side))
    return sizes


class DrawingAdapter:
    """A T2I-Adapter beside a UNet.

    Attributes:
        model: the T2IAdapter of diffusers.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401  a model of diffusers
        """Take an opened adapter."""
        self.model = model
        self._known: tuple[bytes, list[Float[Tensor, "1 _ _ _"]]] | None = None

    @torch.no_grad()
    def features(self, control: UInt8[np.ndarray, "h w"]) -> list[Float[Tensor, "1 _ _ _"]]:
        """Return the features of a control image, white_on_black; those of the last one are kept.

        Raises:
            RequestError: a side is no multiple of what the adapter reads.
        """
        multiple = int(self.model.total_downscale_factor)
        height, width = control.shape
        if height % multiple or width % multiple:
            raise RequestError(
                f"This kit's adapter takes sides that are multiples of {multiple} pixels, got "
                f"{width} x {height}."
            )
        key = f"{control.shape}".encode() + control.tobytes()
        if self._known is None or self._known[0] != key:
            channels = int(self.model.config.in_channels)
            levels = torch.from_numpy(control.astype(np.float32) / 255)
            image = levels.expand(1, channels, height, width)
            parameter = next(self.model.parameters())
            self._known = key, list(self.model(image.to(parameter)))
        return self._known[1]


@contextmanager
def adding(
    unet: Any,  # noqa: ANN401  a model of diffusers
    features: Sequence[Float[Tensor, "1 _ _ _"]],
    scale: float,
) -> Generator[None, None, None]:
    """Have a UNet add features to its maps, for the time of a block.

    Args:
        unet: called by a pipeline of diffusers, which knows nothing of it.
        features: of one drawing; they serve every image of a batch and both halves of guidance.
        scale: strength.
    """
    scaled = [one * scale for one in features]
    instance = unet.__dict__
    before, forward = instance.get("forward"), unet.forward

    def adapted(sample: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        # The middle block leaves out features of another batch; the UNet empties the list.
        residuals = [one.to(sample).expand(len(sample), *one.shape[1:]) for one in scaled]
        return forward(sample, *args, **kwargs, **{_RESIDUALS: residuals})

    unet.forward = adapted
    try:
        yield
    finally:
        if before is None:
            del unet.forward
        else:
            unet.forward = before
