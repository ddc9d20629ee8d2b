"""An image moved into another domain, its structure kept."""

from dataclasses import replace

from PIL import Image

from generation.colour import keep_colours
from generation.control import control_image, edge_image, line_share
from generation.masking import Mask, Window, blend, cut_window, window_of
from generation.pipeline import ImagePipeline
from generation.request import TransferRequest, effective_control_scale
from generation.sample import (
    DEFAULT_OPTIONS,
    Result,
    RunOptions,
    SamplingPlan,
    output_size,
    sample,
)
from generation.sizes import enlarge, fit_source


def transfer(
    pipeline: ImagePipeline, request: TransferRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Result:
    """Redraw a source image in the domain that the composed query's words name.

    Image-to-image keeps colours and layout (less the higher `strength`), the control network keeps
    outlines: the source's own edges, or the sketch that came with the request. A kit without a
    control network, or with one that cannot run beside image-to-image, transfers by that alone.
    With a mask, the part that it marks is drawn at the kit's size and put back into the source.
    A faithful transfer begins with the noise that the source comes from, not with random noise.
    Where the request keeps colours, what was drawn gives lights and darks alone; where it keeps the
    size, it is enlarged, and what may not change of the source's finest detail is put back.

    Raises:
        RequestError: the query or the source does not fit the pipeline.
        BusyError: another request holds the slot.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: there is too little memory.
    """
    plan = plan_transfer(pipeline, request)
    result = sample(pipeline, plan, options)
    if request.keeps_colours and plan.source is not None:
        reference = plan.source
        images = [replace(one, image=keep_colours(one.image, reference)) for one in result.images]
        result = replace(result, images=tuple(images))
    if request.mask is None:
        return _enlarged(result, request) if request.keeps_size else result
    window = _window(request.source, request.mask, plan.width / plan.height)
    images = [
        replace(one, image=blend(request.source, one.image, request.mask, window))
        for one in result.images
    ]
    return replace(result, images=tuple(images))


def _enlarged(result: Result, request: TransferRequest) -> Result:
    images = [
        replace(one, image=enlarge(one.image, request.source, detail=1 - request.strength))
        for one in result.images
    ]
    return replace(result, images=tuple(images))


def visible_part(source: Image.Image, mask: Mask | None) -> Image.Image:
    """Return what a square output is drawn from: the surroundings of a mask, or the whole."""
    return source if mask is None else cut_window(source, _window(source, mask, 1.0))


def _window(source: Image.Image, mask: Mask, aspect: float) -> Window:
    return window_of(mask, source.width, source.height, aspect=aspect)


def plan_transfer(pipeline: ImagePipeline, request: TransferRequest) -> SamplingPlan:
    """Resolve size, source, control image and control strength of a request.

    Raises:
        RequestError: the size is beyond the caps, or the control network that is named follows no
            lines.
    """
    height, width = output_size(pipeline, request.settings)
    source = request.source
    if request.mask is not None:
        source = cut_window(source, _window(source, request.mask, width / height))
    source = fit_source(source, height, width)
    scale = effective_control_scale(request)
    control, name = request.control, request.settings.control_name
    kind = pipeline.control_kind(name)
    if request.control_sketch is not None:
        control = control_image(request.control_sketch, height, width, line_share(kind))
    elif control is None and scale > 0 and (name or (kind and pipeline.controls_transfers)):
        control = edge_image(source, height, width, line_share(kind))
    return SamplingPlan(
        request=request,
        height=height,
        width=width,
        control=control,
        control_scale=scale,
        source=source,
        strength=request.strength,
        inverts=request.is_faithful,
    )
