"""New images from a composed query."""

from collections.abc import Sequence

from PIL import Image

from generation.control import control_image
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, effective_control_scale
from generation.sample import (
    DEFAULT_OPTIONS,
    Inputs,
    Result,
    RunOptions,
    output_size,
    sample,
    sample_each,
)


def generate(
    pipeline: ImagePipeline, request: GenerateRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Result:
    """Draw images: the tokens and words through the text encoder, the sketch through control.

    The same request on the same device and dtype gives the same bytes.

    Raises:
        RequestError: the query or the control does not fit the pipeline.
        BusyError: another request holds the slot.
        GenerationCancelledError: the work was stopped.
        OutOfMemoryError: there is too little memory.
    """
    return sample(pipeline, request, _inputs(pipeline, request), options)


def generate_each(
    pipeline: ImagePipeline, requests: Sequence[GenerateRequest]
) -> list[Image.Image]:
    """Draw one image of each request, all in one batch; see `sample_each`.

    Raises:
        RequestError: the requests differ in more than query, sketch and seed, or one does not fit
            the pipeline.
        MissingTokensError: a query has no tokens to draw with.
    """
    return sample_each(pipeline, requests, [_inputs(pipeline, r) for r in requests])


def _inputs(pipeline: ImagePipeline, request: GenerateRequest) -> Inputs:
    control = request.control
    if request.control_sketch is not None and effective_control_scale(request) > 0:
        control = control_image(request.control_sketch, *output_size(pipeline, request))
    return Inputs(control=control)
