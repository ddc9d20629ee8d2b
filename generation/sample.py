"""The sampler that generation and transfer share: its plan, its run, its result."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from generation.cancel import CancelToken, Progress, step_callback
from generation.lora import MergedLora
from generation.pipeline import ImagePipeline
from generation.request import (
    DEFAULT_CAPS,
    DrawingSettings,
    Request,
    RequestError,
    check_size,
    effective_finish_noise,
)
from generation.studio_light import StudioLight


class OutOfMemoryError(RuntimeError):
    """The machine has too little memory for the request, even one image at a time."""


class BusyError(RuntimeError):
    """Another request holds the slot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How to run, as opposed to what to make.

    Attributes:
        cancel: stops the work within one step.
        on_step: called after each step.
        wait_s: how long to wait for the slot; None waits for ever.
    """

    cancel: CancelToken | None = None
    on_step: Progress | None = None
    wait_s: float | None = None


DEFAULT_OPTIONS = RunOptions()
NATIVE_SHARE = 1.5
"""Pixels of the largest image, as a share of the kit's native ones, where that is above the cap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedImage:
    """One generated image.

    Attributes:
        image: RGB.
        index: position in the batch; it was drawn from the request's seed + index.
    """

    image: Image.Image
    index: int


ControlsBySeed = Mapping[int, UInt8[np.ndarray, "h w"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The images of a request.

    Attributes:
        request: the request.
        images: the images, in the order of their seeds.
        control: control image used, white_on_black or depth, or None.
        own_controls: those of the kit's own drawings by the images' seeds, where there is none.
        height: pixels.
        width: pixels.
        duration_s: sampling time, without waiting.
        device: device and dtype, such as "cpu/float32".
        weights_hash: hash of the models that drew.
        loras: LoRAs that are part of these models.
        adapter_hash: SHA-256 of the IP-Adapter that read the style image; empty without one.
    """

    request: Request
    images: tuple[GeneratedImage, ...]
    control: UInt8[np.ndarray, "h w"] | None
    height: int
    width: int
    duration_s: float
    device: str
    weights_hash: str
    loras: tuple[MergedLora, ...] = ()
    adapter_hash: str = ""
    own_controls: ControlsBySeed = field(default_factory=dict)

    def control_of(self, index: int) -> UInt8[np.ndarray, "h w"] | None:
        """Return the control image that an image was drawn on, or None."""
        return self.own_controls.get(self.request.settings.seed + index, self.control)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SamplingPlan:
    """A request resolved for one pipeline: everything that the sampler is given.

    Attributes:
        request: the request.
        height: pixels.
        width: pixels.
        control: white_on_black or depth control image, or None.
        control_scale: control strength after the query's balance; 0 leaves the control unused.
        source: RGB image of the output's size for image-to-image, or None.
        strength: image-to-image strength; unused without a source.
        inverts: whether drawing begins with the noise that the source comes from.
        own_controls: control images of the kit's own drawings by the images' seeds, for words
            without a control image.
    """

    request: Request
    height: int
    width: int
    control: UInt8[np.ndarray, "h w"] | None
    control_scale: float
    source: Image.Image | None = None
    strength: float = 1.0
    inverts: bool = False
    own_controls: ControlsBySeed = field(default_factory=dict)

    @property
    def uses_control(self) -> bool:
        """Whether the control network runs."""
        return self.control_scale > 0 and (self.control is not None or bool(self.own_controls))

    def controls(self, seeds: Sequence[int]) -> list[UInt8[np.ndarray, "h w"]]:
        """Return the control image of each seed's image; there are control images."""
        found = [self.own_controls.get(seed, self.control) for seed in seeds]
        return [one for one in found if one is not None]

    @property
    def control_name(self) -> str | None:
        """Name of the control network that runs, or None."""
        return self.request.settings.control_name if self.uses_control else None

    @property
    def style_scale(self) -> float:
        """Strength of the style image; 0 where there is none."""
        return 0.0 if self.request.style is None else float(self.request.style.scale)


def output_size(pipeline: ImagePipeline, settings: DrawingSettings) -> tuple[int, int]:
    """Return height and width in pixels: as requested, or the kit's native size.

    Raises:
        RequestError: the size is beyond the caps, or no multiple of the model's patches.
    """
    native = pipeline.native_size_px
    height = native if settings.height is None else settings.height
    width = native if settings.width is None else settings.width
    pixels = max(DEFAULT_CAPS.num_pixels, int(NATIVE_SHARE * native * native))
    check_size(height, width, replace(DEFAULT_CAPS, num_pixels=pixels))
    multiple = pipeline.size_multiple_px
    if height % multiple or width % multiple:
        raise RequestError(
            f"This kit draws heights and widths that are multiples of {multiple} pixels, got "
            f"{width} x {height}."
        )
    return height, width


def sample(pipeline: ImagePipeline, plan: SamplingPlan, options: RunOptions) -> Result:
    """Take the slot and draw the plan's images.

    Out of memory costs one retry with the batch cut into single images.

    Raises:
        RequestError: the query or the control does not fit the pipeline.
        MissingTokensError: the query has no tokens to draw with.
        BusyError: the slot stayed taken for `wait_s`.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: one image at a time is still too much.
    """
    _check_queries(pipeline, plan.request)
    wait_s = -1 if options.wait_s is None else options.wait_s
    if not pipeline.slot.acquire(timeout=wait_s):
        raise BusyError("Another image is being made. Try again in a moment.")
    try:
        start = time.perf_counter()
        images = _sample_or_split(pipeline, plan, options)
        duration_s = time.perf_counter() - start
        weights_hash = pipeline.hash_with(
            plan.request.settings.control_name, finishes=effective_finish_noise(plan.request) > 0
        )
        adapter_hash = pipeline.style_adapter().sha256 if plan.style_scale else ""
    finally:
        pipeline.slot.release()
    return Result(
        request=plan.request,
        images=tuple(GeneratedImage(image=image, index=i) for i, image in enumerate(images)),
        control=plan.control,
        own_controls=plan.own_controls,
        height=plan.height,
        width=plan.width,
        duration_s=duration_s,
        device=pipeline.device_name,
        weights_hash=weights_hash,
        loras=pipeline.loras,
        adapter_hash=adapter_hash,
    )


def sample_each(pipeline: ImagePipeline, plans: Sequence[SamplingPlan]) -> list[Image.Image]:
    """Draw one image of each of several plans in one batch, for measurements of many.

    On a CPU a batch of 16 takes a third of the time of 16 single images; the pixels may differ
    from a single image's by rounding.

    Raises:
        RequestError: the plans differ in more than query, control, source and seed, or one does
            not fit the pipeline.
        MissingTokensError: a query has no tokens to draw with.
    """
    for plan in plans:
        _check_queries(pipeline, plan.request)
        if plan.style_scale:
            raise RequestError("Requests with a style image are drawn one at a time.")
    calls = [call_arguments(pipeline, plan, [plan.request.settings.seed]) for plan in plans]
    with pipeline.slot:
        return pipeline.run(
            scheduler=plans[0].request.settings.scheduler,
            control_name=plans[0].control_name,
            use_image=plans[0].source is not None,
            inverts=plans[0].inverts,
            finish_noise=effective_finish_noise(plans[0].request),
            **_merge(calls),
        )


def _check_queries(pipeline: ImagePipeline, request: Request) -> None:
    pipeline.check_query(request.query)
    if request.negative is not None:
        pipeline.check_query(request.negative)


def _merge(calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge calls into one: tensors and lists are joined, all other values must be equal."""
    if any(call.keys() != calls[0].keys() for call in calls):
        raise RequestError("Requests of one batch must all have a control image, or none.")
    merged: dict[str, Any] = {}
    for name, first in calls[0].items():
        values = [call[name] for call in calls]
        if isinstance(first, torch.Tensor):
            if any(value.shape[1:] != first.shape[1:] for value in values):
                raise RequestError("Prompts of one batch must be equally long.")
            merged[name] = torch.cat(values)
        elif isinstance(first, list):
            merged[name] = [item for value in values for item in value]
        elif all(value == first for value in values):
            merged[name] = first
        else:
            raise RequestError(f"Requests of one batch must have the same `{name}`.")
    return merged


def pixels_hash(image: Image.Image) -> str:
    """16 hex digits over an image's size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:16]


def _sample_or_split(
    pipeline: ImagePipeline, plan: SamplingPlan, options: RunOptions
) -> list[Image.Image]:
    settings = plan.request.settings
    seeds = [settings.seed + i for i in range(settings.num_images)]
    if (images := _try_batch(pipeline, plan, options, seeds)) is not None:
        return images
    singles: list[Image.Image] = []
    for seed in seeds if len(seeds) > 1 else []:
        if (images := _try_batch(pipeline, plan, options, [seed])) is None:
            break
        singles += images
    if len(singles) < len(seeds):
        raise OutOfMemoryError(
            "The machine has too little memory for this image. Ask for a smaller one."
        )
    return singles


def _try_batch(
    pipeline: ImagePipeline, plan: SamplingPlan, options: RunOptions, seeds: list[int]
) -> list[Image.Image] | None:
    """Draw one batch; None when memory ran out."""
    if options.cancel is not None:
        options.cancel.check()
    try:
        return pipeline.run(
            scheduler=plan.request.settings.scheduler,
            control_name=plan.control_name,
            use_image=plan.source is not None,
            inverts=plan.inverts,
            finish_noise=effective_finish_noise(plan.request),
            style_scale=plan.style_scale,
            callback_on_step_end=step_callback(options.cancel, options.on_step),
            **call_arguments(pipeline, plan, seeds),
        )
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:  # the CPU allocator raises nothing more specific
        if "allocate memory" not in str(error):
            raise
    pipeline.free_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def call_arguments(pipeline: ImagePipeline, plan: SamplingPlan, seeds: list[int]) -> dict[str, Any]:
    """Return the arguments of the diffusers call."""
    settings = plan.request.settings
    negative = plan.request.negative
    states = pipeline.condition(
        plan.request.query, settings.negative_text if negative is None else negative
    )
    states = {name: one.expand(len(seeds), *one.shape[1:]) for name, one in states.items()}
    if pipeline.light is not None and plan.source is None:
        states |= _with_light(pipeline.light, states, seeds, plan.request.query.text)
    call: dict[str, Any] = {
        **states,
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": float(settings.guidance_scale),
    }
    if plan.source is None or plan.uses_control:
        call |= {"height": plan.height, "width": plan.width}
    if plan.source is not None:
        call |= {"image": [plan.source] * len(seeds), "strength": float(plan.strength)}
    if plan.request.style is not None and plan.style_scale:
        features = pipeline.style_adapter().encode(plan.request.style.image)
        # Without guidance there is no half that knows nothing of the picture.
        call["ip_adapter_image_embeds"] = [
            features if settings.guidance_scale > 1 else features[1:]
        ]
    if plan.uses_control:
        controls = plan.controls(seeds)
        images = {id(control): Image.fromarray(control).convert("RGB") for control in controls}
        for control in controls:
            _check_control_size(control, plan.height, plan.width)
        call |= {
            "control_image": [images[id(control)] for control in controls],
            "controlnet_conditioning_scale": plan.control_scale,
        }
    return call


def _with_light(
    light: StudioLight, states: Mapping[str, torch.Tensor], seeds: list[int], words: str
) -> dict[str, torch.Tensor]:
    """Put the state of each seed's backdrop and lights, as the words allow, behind the words'.

    It is the same with and without the words, so that guidance does not push it.
    """
    chosen = torch.stack([light.of_seed(seed, words) for seed in seeds])
    further = light.states(chosen)[:, None]
    return {
        name: torch.cat([states[name], further.to(states[name])], dim=1)
        for name in ("prompt_embeds", "negative_prompt_embeds")
    }


def _check_control_size(control: np.ndarray, height: int, width: int) -> None:
    if control.shape != (height, width):
        raise RequestError(
            f"The control image must be {width} x {height} px, got "
            f"{control.shape[1]} x {control.shape[0]}."
        )
