"""New images from a composed query."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from generation.control import control_image, line_share
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, RequestError, effective_control_scale
from generation.sample import (
    DEFAULT_OPTIONS,
    Result,
    RunOptions,
    SamplingPlan,
    output_size,
    sample,
    sample_each,
)


def generate(
    pipeline: ImagePipeline, request: GenerateRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Result:
    """Draw images: the tokens and words through the text encoder, the sketch through control.

    The same request on the same device and dtype gives the same bytes. Images that are to be
    larger than they are drawn are enlarged by Lanczos' filter, which adds no detail.

    Raises:
        RequestError: the query or the control does not fit the pipeline.
        BusyError: another request holds the slot.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: there is too little memory.
    """
    result = sample(pipeline, plan_generation(pipeline, request), options)
    if request.enlarged_to is None:
        return result
    images = tuple(
        replace(one, image=one.image.resize(request.enlarged_to, Image.Resampling.LANCZOS))
        for one in result.images
    )
    return replace(result, images=images)


def generate_each(
    pipeline: ImagePipeline, requests: Sequence[GenerateRequest]
) -> list[Image.Image]:
    """Draw one image of each request, all in one batch; see `sample_each`.

    Raises:
        RequestError: the requests differ in more than query, sketch and seed, or one does not fit
            the pipeline.
        MissingTokensError: a query has no tokens to draw with.
    """
    return sample_each(pipeline, [plan_generation(pipeline, request) for request in requests])


def plan_generation(pipeline: ImagePipeline, request: GenerateRequest) -> SamplingPlan:
    """Resolve size, control image and control strength of a request.

    Raises:
        RequestError: the size is beyond the caps, or the control network that is named follows no
            lines or has nothing to follow.
    """
    height, width = output_size(pipeline, request.settings)
    scale = effective_control_scale(request)
    control, name = request.control, request.settings.control_name
    if name and control is None and request.control_sketch is None:
        raise RequestError(
            f"The control {name!r} has nothing to follow; give a drawing or a control image."
        )
    if request.control_sketch is not None and scale > 0:
        share = line_share(pipeline.control_kind(name))
        control = control_image(request.control_sketch, height, width, share)
    return SamplingPlan(
        request=request, height=height, width=width, control=control, control_scale=scale
    )
