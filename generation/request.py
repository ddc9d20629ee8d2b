"""Requests: frozen objects that hold everything an image depends on."""

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from composer.composed import ComposedQuery
from composer.sketch import Sketch
from generation import defaults
from generation.balance import control_share
from generation.masking import Mask


class RequestError(ValueError):
    """A request that cannot be served; the message says why."""


class Scheduler(StrEnum):
    """Samplers by name; `KIT` is the one that the kit was trained with."""

    KIT = "kit"
    DPM = "dpm++"
    UNIPC = "unipc"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """Limits that the server enforces, whatever a page or a client sends."""

    num_inference_steps: int = 50
    num_pixels: int = 768 * 768
    side_px: int = 2048
    enlarged_px: int = 4096
    num_images: int = 8
    guidance_scale: float = 30.0
    controlnet_conditioning_scale: float = 2.0
    ip_adapter_scale: float = 2.0
    negative_text: int = 1000
    control_name: int = 50
    seed: int = 2**63 - 1


DEFAULT_CAPS = Caps()


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingSettings:
    """How images are drawn, for generation and transfer alike.

    Attributes:
        seed: image i of the batch is drawn from seed + i.
        num_images: images drawn at once.
        num_inference_steps: denoising steps.
        guidance_scale: 1 switches guidance off.
        controlnet_conditioning_scale: 0 switches the control network off.
        height: pixels, a multiple of 8, or None for the kit's native size.
        width: pixels, a multiple of 8, or None for the kit's native size.
        scheduler: the sampler.
        negative_text: what to stay away from; empty is the kit's empty prompt.
        control_name: which of the kit's control networks runs; empty is its default.
        finish_noise: share of noise from which the kit's finisher draws the rest in one step,
            without guidance; 0 leaves all steps to the sampler.
    """

    seed: int = 0
    num_images: int = 1
    num_inference_steps: int = defaults.NUM_INFERENCE_STEPS
    guidance_scale: float = defaults.GUIDANCE_SCALE
    controlnet_conditioning_scale: float = defaults.CONTROLNET_CONDITIONING_SCALE
    height: int | None = None
    width: int | None = None
    scheduler: Scheduler = Scheduler.KIT
    negative_text: str = ""
    control_name: str = ""
    finish_noise: float = 0.0

    def __post_init__(self) -> None:
        """Check every number against the caps; the number of pixels depends on the kit.

        Raises:
            RequestError: a value is missing, not finite, out of range or beyond the caps.
        """
        _check_settings(self, DEFAULT_CAPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class StyleImage:
    """A picture that steers the style, through the kit's IP-Adapter.

    Attributes:
        image: RGB; its centre square is read.
        scale: strength, called `ip_adapter_scale` by diffusers; 0 switches it off.
    """

    image: Image.Image
    scale: float = defaults.IP_ADAPTER_SCALE

    def __post_init__(self) -> None:
        """Check mode and scale.

        Raises:
            RequestError: the picture is not RGB, or the scale is beyond the cap.
        """
        if self.image.mode != "RGB":
            raise RequestError(f"The style image must be RGB, got mode {self.image.mode}.")
        _check_real("ip_adapter_scale", self.scale, 0.0, DEFAULT_CAPS.ip_adapter_scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateRequest:
    """Everything that influences generated images.

    Attributes:
        query: the composed query; its prompt steers, its balance weighs drawing against words.
        control_sketch: drawing that steers structure, or None to draw from the tokens alone.
        control: finished control image of the output's size, white_on_black or depth, in place of
            `control_sketch`, as a re-run has it.
        style: picture that steers the style, or None.
        negative: the negative text, composed, where it names words of token files; None for plain
            words.
        settings: how the images are drawn.
        enlarged_to: width and height in pixels that the images are enlarged to; None leaves them
            as they are drawn.
    """

    query: ComposedQuery
    control_sketch: Sketch | None = None
    control: UInt8[np.ndarray, "h w"] | None = None
    style: StyleImage | None = None
    negative: ComposedQuery | None = None
    settings: DrawingSettings = field(default_factory=DrawingSettings)
    enlarged_to: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check that there is at most one control, and one negative text, and the size.

        Raises:
            RequestError: there are two, or the size is beyond the cap.
        """
        _check_control(self)
        for name, side in zip(("width", "height"), self.enlarged_to or (), strict=False):
            _check_whole(f"enlarged {name}", side, 1, DEFAULT_CAPS.enlarged_px)


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferRequest:
    """Everything that influences an image moved into another domain.

    Attributes:
        query: the source image and the domain's words, composed.
        source: RGB image to transfer; it is cut to the output's proportions about its centre.
        mask: part of the source that is drawn anew; the result then has the source's size. None for
            all of it.
        strength: share of the way to noise the source is taken, in (0, 1]; 1 forgets its colours.
        is_faithful: whether that noise is the one that the source itself comes from, by inversion,
            so that more of the source is kept; not with a style image.
        keeps_colours: whether the result has the colours of the source; its lights and darks are
            drawn.
        keeps_size: whether the result has the size of the source, less what exceeds the output's
            proportions; it is drawn at the settings' size and enlarged.
        control_sketch: drawing that steers structure, or None for the source's own edges.
        control: as in `GenerateRequest`.
        style: as in `GenerateRequest`.
        negative: as in `GenerateRequest`.
        settings: how the images are drawn.
    """

    query: ComposedQuery
    source: Image.Image
    mask: Mask | None = None
    strength: float = defaults.STRENGTH
    is_faithful: bool = False
    keeps_colours: bool = False
    keeps_size: bool = False
    control_sketch: Sketch | None = None
    control: UInt8[np.ndarray, "h w"] | None = None
    style: StyleImage | None = None
    negative: ComposedQuery | None = None
    settings: DrawingSettings = field(default_factory=DrawingSettings)

    def __post_init__(self) -> None:
        """Check controls, strength and source.

        Raises:
            RequestError: there are two controls or negative texts, the strength leaves no step, or
                the source is not RGB, or a faithful transfer has a style image.
        """
        _check_control(self)
        _check_real("strength", self.strength, 0.0, 1.0)
        num_steps = self.settings.num_inference_steps
        if int(num_steps * self.strength) < 1:
            raise RequestError(
                "`num_inference_steps` times `strength` must be at least 1, got "
                f"{num_steps} x {self.strength:g}. Raise one of them."
            )
        if self.source.mode != "RGB":
            raise RequestError(f"The source must be an RGB image, got mode {self.source.mode}.")
        if self.is_faithful and self.style is not None:
            raise RequestError("A faithful transfer has no style image. Leave out one of the two.")


Request = GenerateRequest | TransferRequest


def settings_of(kit: defaults.DrawingDefaults, **chosen: Any) -> DrawingSettings:  # noqa: ANN401
    """Return a kit's usual settings, with others for some fields."""
    usual = asdict(kit)
    del usual["strength"], usual["num_transfer_steps"]
    return DrawingSettings(**{**usual, **chosen})


def effective_control_scale(request: Request) -> float:
    """Return the control strength after the query's balance."""
    scale = request.settings.controlnet_conditioning_scale
    return scale * control_share(request.query.balance)


def effective_finish_noise(request: Request) -> float:
    """Return the noise share from which the finisher draws: 0 where a source is followed back."""
    if isinstance(request, TransferRequest) and request.is_faithful:
        return 0.0
    return float(request.settings.finish_noise)


def _check_settings(settings: DrawingSettings, caps: Caps) -> None:
    if not isinstance(settings.scheduler, Scheduler):
        names = ", ".join(Scheduler)
        raise RequestError(f"`scheduler` must be one of {names}, got {settings.scheduler!r}.")
    _check_whole("seed", settings.seed, 0, caps.seed - caps.num_images)
    _check_whole("num_images", settings.num_images, 1, caps.num_images)
    _check_whole("num_inference_steps", settings.num_inference_steps, 1, caps.num_inference_steps)
    _check_real("guidance_scale", settings.guidance_scale, 1.0, caps.guidance_scale)
    _check_real(
        "controlnet_conditioning_scale",
        settings.controlnet_conditioning_scale,
        0.0,
        caps.controlnet_conditioning_scale,
    )
    _check_real("finish_noise", settings.finish_noise, 0.0, 1.0)
    if not isinstance(settings.control_name, str) or len(settings.control_name) > caps.control_name:
        raise RequestError(
            f"`control_name` must be text of at most {caps.control_name} characters."
        )
    if not isinstance(settings.negative_text, str):
        raise RequestError("`negative_text` must be text.")
    if len(settings.negative_text) > caps.negative_text:
        raise RequestError(
            f"`negative_text` must have at most {caps.negative_text} characters, "
            f"got {len(settings.negative_text)}."
        )
    if (settings.height is None) is not (settings.width is None):
        raise RequestError("Give both `height` and `width`, or neither.")
    if settings.height is not None and settings.width is not None:
        _check_sides(settings.height, settings.width, caps)


def _check_control(request: Request) -> None:
    if request.control is not None and request.control_sketch is not None:
        raise RequestError("Give `control` or `control_sketch`, not both.")
    if request.negative is not None and request.negative.text != request.settings.negative_text:
        raise RequestError("`negative` must be composed of `negative_text`.")


def check_size(height: int, width: int, caps: Caps = DEFAULT_CAPS) -> None:
    """Check an output size in pixels.

    Raises:
        RequestError: a side is no positive multiple of 8, or the image is beyond the caps.
    """
    _check_sides(height, width, caps)
    if height * width > caps.num_pixels:
        raise RequestError(
            f"An image may have at most {caps.num_pixels} pixels, got {width} x {height}. "
            "Ask for a smaller one."
        )


def _check_sides(height: int, width: int, caps: Caps) -> None:
    for name, side in (("height", height), ("width", width)):
        _check_whole(name, side, 8, caps.side_px)
        if side % 8:
            raise RequestError(f"`{name}` must be a multiple of 8 pixels, got {side}.")


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RequestError(
            f"`{name}` must be a whole number from {low} to {high}, got {_excerpt(value)}."
        )


def _check_real(name: str, value: object, low: float, high: float) -> None:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not low <= number <= high:  # false for nan too
        raise RequestError(
            f"`{name}` must be a number from {low:g} to {high:g}, got {_excerpt(value)}."
        )


def _excerpt(value: object) -> str:
    return repr(value)[:40]
