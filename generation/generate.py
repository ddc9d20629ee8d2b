"""New images from a composed query."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from generation.control import control_image, line_share
from generation.controls import LINE_SHARES
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, RequestError, effective_control_scale
from generation.sample import (
    DEFAULT_OPTIONS,
    ControlsBySeed,
    Result,
    RunOptions,
    SamplingPlan,
    output_size,
    sample,
    sample_each,
)
from generation.sketchbook import Sketchbook


def generate(
    pipeline: ImagePipeline, request: GenerateRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Result:
    """Draw images: the tokens and words through the text encoder, the sketch through control.

    Words without a reference are drawn on drawings of the kit's own, one for each seed, if it has
    any of what they are about.

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
    """Draw one image of each request, those with and without control in a batch each.

    See `sample_each`.

    Raises:
        RequestError: the requests differ in more than query, sketch and seed, or one does not fit
            the pipeline.
        MissingTokensError: a query has no tokens to draw with.
    """
    plans = [plan_generation(pipeline, request) for request in requests]
    images: dict[int, Image.Image] = {}
    for uses_control in (True, False):
        rows = [row for row, plan in enumerate(plans) if plan.uses_control is uses_control]
        if rows:
            drawn = sample_each(pipeline, [plans[row] for row in rows])
            images |= dict(zip(rows, drawn, strict=True))
    return [images[row] for row in range(len(plans))]


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
        request=request,
        height=height,
        width=width,
        control=control,
        control_scale=scale,
        own_controls=_own_controls(pipeline, request, height, width),
    )


def kind_of_own_drawings(pipeline: ImagePipeline, request: GenerateRequest) -> str | None:
    """Return what the kit's own drawings show that a request is drawn on; None without any."""
    book = _own_book(pipeline, request)
    return None if book is None else book.kind(request.query)


def _own_book(pipeline: ImagePipeline, request: GenerateRequest) -> Sketchbook | None:
    """Return the kit's own drawings if the request has no control and one of them can be it."""
    has_control = request.control is not None or request.control_sketch is not None
    follows = pipeline.control_kind() in LINE_SHARES and effective_control_scale(request) > 0
    return pipeline.sketchbook if follows and not has_control else None


def _own_controls(
    pipeline: ImagePipeline, request: GenerateRequest, height: int, width: int
) -> ControlsBySeed:
    """Return control images of the kit's own drawings for words without a reference, by seed."""
    book, settings = _own_book(pipeline, request), request.settings
    if book is None:
        return {}
    share = line_share(pipeline.control_kind())
    seeds = range(settings.seed, settings.seed + settings.num_images)
    chosen = {seed: book.choose(request.query, seed) for seed in seeds}
    return {
        seed: control_image(drawing, height, width, share)
        for seed, drawing in chosen.items()
        if drawing is not None
    }
