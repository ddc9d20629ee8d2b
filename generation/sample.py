"""Steps that generation and transfer share: inputs of the sampler, running it, naming results."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from generation.cancel import CancelToken, Progress, step_callback
from generation.conditioning import guidance_pair
from generation.pipeline import ImagePipeline
from generation.request import Request, RequestError, check_size, effective_control_scale


class OutOfMemoryError(RuntimeError):
    """The machine has too little memory for the request, even one image at a time."""


class BusyError(RuntimeError):
    """Another request holds the slot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How to run, as opposed to what to make.

    Attributes:
        cancel: stops the work within one step.
        on_step: told after each step.
        wait_s: how long to wait for the slot; None waits for ever.
    """

    cancel: CancelToken | None = None
    on_step: Progress | None = None
    wait_s: float | None = None


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One generated image.

    Attributes:
        image: RGB.
        index: position in the batch; it was drawn from the request's seed + index.
    """

    image: Image.Image
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a request gave.

    Attributes:
        request: what was asked.
        pictures: images in the order of their seeds.
        control: control image used, white_on_black, or None.
        height: pixels.
        width: pixels.
        duration_s: sampling time, without waiting.
        device: device and dtype, such as "cpu/float32".
        weights_hash: of the models that drew.
    """

    request: Request
    pictures: tuple[Picture, ...]
    control: UInt8[np.ndarray, "h w"] | None
    height: int
    width: int
    duration_s: float
    device: str
    weights_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What pixels the sampler starts from.

    Attributes:
        control: white_on_black control image, or None.
        source: RGB image of the output's size for image-to-image, or None.
        strength: image-to-image strength; unused without a source.
    """

    control: UInt8[np.ndarray, "h w"] | None = None
    source: Image.Image | None = None
    strength: float = 1.0


def output_size(pipeline: ImagePipeline, request: Request) -> tuple[int, int]:
    """Height and width in pixels: as asked, or the kit's own size.

    Raises:
        RequestError: the size is beyond the caps.
    """
    native = pipeline.native_size_px
    height = native if request.height is None else request.height
    width = native if request.width is None else request.width
    check_size(height, width)
    return height, width


def sample(
    pipeline: ImagePipeline, request: Request, inputs: Inputs, options: RunOptions
) -> Result:
    """Take the slot and draw the request's images.

    Out of memory costs one retry with the batch cut into single images.

    Raises:
        RequestError: the query or the control does not fit the pipeline.
        MissingTokensError: the query has no tokens to draw with.
        BusyError: the slot stayed taken for `wait_s`.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: one image at a time is still too much.
    """
    height, width = output_size(pipeline, request)
    pipeline.check_query(request.query)
    wait_s = -1 if options.wait_s is None else options.wait_s
    if not pipeline.slot.acquire(timeout=wait_s):
        raise BusyError("Another image is being made. Try again in a moment.")
    try:
        start = time.perf_counter()
        images = _sample_or_split(pipeline, request, inputs, options)
        duration_s = time.perf_counter() - start
        weights_hash = pipeline.weights_hash
    finally:
        pipeline.slot.release()
    return Result(
        request=request,
        pictures=tuple(Picture(image=image, index=i) for i, image in enumerate(images)),
        control=inputs.control,
        height=height,
        width=width,
        duration_s=duration_s,
        device=pipeline.device_name,
        weights_hash=weights_hash,
    )


def sample_each(
    pipeline: ImagePipeline, requests: Sequence[Request], inputs: Sequence[Inputs]
) -> list[Image.Image]:
    """Draw one image of each of several requests in one batch, for measurements of many.

    On a CPU a batch of 16 takes a third of the time of 16 single images; the pixels may differ
    from a single image's by rounding.

    Raises:
        RequestError: the requests differ in more than query, control, source and seed, or one
            does not fit the pipeline.
        MissingTokensError: a query has no tokens to draw with.
    """
    for request in requests:
        pipeline.check_query(request.query)
    calls = [
        _call(pipeline, request, given, [request.seed])
        for request, given in zip(requests, inputs, strict=True)
    ]
    with pipeline.slot:
        return pipeline.run(
            scheduler=requests[0].scheduler,
            use_control=_uses_control(requests[0], inputs[0]),
            use_image=inputs[0].source is not None,
            **_merge(calls),
        )


def _merge(calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One call for all: tensors and lists in a row, everything else the same in each."""
    if any(call.keys() != calls[0].keys() for call in calls):
        raise RequestError("Requests of one batch must all have a control image, or none.")
    merged: dict[str, Any] = {}
    for name, first in calls[0].items():
        values = [call[name] for call in calls]
        if isinstance(first, torch.Tensor):
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
    pipeline: ImagePipeline, request: Request, inputs: Inputs, options: RunOptions
) -> list[Image.Image]:
    seeds = [request.seed + i for i in range(request.num_images)]
    if (images := _try_batch(pipeline, request, inputs, options, seeds)) is not None:
        return images
    singles: list[Image.Image] = []
    for seed in seeds if len(seeds) > 1 else []:
        if (one := _try_batch(pipeline, request, inputs, options, [seed])) is None:
            break
        singles += one
    if len(singles) < len(seeds):
        raise OutOfMemoryError(
            "The machine has too little memory for this image. Ask for a smaller one."
        )
    return singles


def _try_batch(
    pipeline: ImagePipeline,
    request: Request,
    inputs: Inputs,
    options: RunOptions,
    seeds: list[int],
) -> list[Image.Image] | None:
    """Draw one batch; None when memory ran out."""
    if options.cancel is not None:
        options.cancel.check()
    try:
        return pipeline.run(
            scheduler=request.scheduler,
            use_control=_uses_control(request, inputs),
            use_image=inputs.source is not None,
            callback_on_step_end=step_callback(options.cancel, options.on_step),
            **_call(pipeline, request, inputs, seeds),
        )
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:  # the CPU allocator raises nothing more specific
        if "allocate memory" not in str(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _uses_control(request: Request, inputs: Inputs) -> bool:
    return inputs.control is not None and effective_control_scale(request) > 0


def _call(
    pipeline: ImagePipeline, request: Request, inputs: Inputs, seeds: list[int]
) -> dict[str, Any]:
    height, width = output_size(pipeline, request)
    negative, positive = guidance_pair(
        pipeline.text_encoder,
        pipeline.tokenizer,
        request.query.require_tokens(),
        request.negative_text,
    )
    call: dict[str, Any] = {
        "prompt_embeds": positive.expand(len(seeds), -1, -1),
        "negative_prompt_embeds": negative.expand(len(seeds), -1, -1),
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": float(request.guidance_scale),
    }
    if inputs.source is None:
        call |= {"height": height, "width": width}
    else:
        call |= {"image": [inputs.source] * len(seeds), "strength": float(inputs.strength)}
    if inputs.control is not None and _uses_control(request, inputs):
        _check_control_size(inputs.control, height, width)
        image = Image.fromarray(inputs.control).convert("RGB")
        name = "image" if inputs.source is None else "control_image"
        call |= {
            name: [image] * len(seeds),
            "controlnet_conditioning_scale": effective_control_scale(request),
        }
        if inputs.source is not None:
            call |= {"height": height, "width": width}
    return call


def _check_control_size(control: np.ndarray, height: int, width: int) -> None:
    if control.shape != (height, width):
        raise RequestError(
            f"The control image must be {width} x {height} px, got "
            f"{control.shape[1]} x {control.shape[0]}."
        )
