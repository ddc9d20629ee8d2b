"""An image moved into another domain, its structure kept."""

from PIL import Image, ImageOps

from generation.control import control_image, edge_image, line_share
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


def transfer(
    pipeline: ImagePipeline, request: TransferRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Result:
    """Redraw a source image in the domain that the composed query's words name.

    Image-to-image keeps colours and layout (less the higher `strength`), the control network keeps
    outlines: the source's own edges, or the sketch that came with the request. A kit without a
    control network, or with one that cannot run beside image-to-image, transfers by that alone.

    Raises:
        RequestError: the query or the source does not fit the pipeline.
        BusyError: another request holds the slot.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: there is too little memory.
    """
    return sample(pipeline, plan_transfer(pipeline, request), options)


def plan_transfer(pipeline: ImagePipeline, request: TransferRequest) -> SamplingPlan:
    """Resolve size, source, control image and control strength of a request.

    Raises:
        RequestError: the size is beyond the caps, or the control network that is named follows no
            lines.
    """
    height, width = output_size(pipeline, request.settings)
    source = fit_source(request.source, height, width)
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
    )


def fit_source(source: Image.Image, height: int, width: int) -> Image.Image:
    """Cut an RGB image to the output's proportions about its centre and resize it."""
    return ImageOps.fit(source, (width, height), Image.Resampling.LANCZOS)
