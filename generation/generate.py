"""New images from a composed query."""

from generation.control import control_image
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, effective_control_scale
from generation.sample import DEFAULT_OPTIONS, Inputs, Result, RunOptions, output_size, sample


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
    height, width = output_size(pipeline, request)
    control = request.control
    if request.control_sketch is not None and effective_control_scale(request) > 0:
        control = control_image(request.control_sketch, height, width)
    return sample(pipeline, request, Inputs(control=control), options)
