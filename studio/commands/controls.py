"""The control image of a command: a finished one, or the lines of a photo."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from composer.images import open_image
from generation.control import fit_control, line_share
from generation.controls import ControlKind
from generation.request import DrawingSettings
from generation.sample import output_size
from studio.detectors import find_detector, locate_weights
from studio.engine import Engine
from studio.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlChoice:
    """Where the control image comes from.

    Attributes:
        image: File of a finished one.
        detector: Name of a detector that makes it of `photo`.
        photo: A photo, or a photo of a drawing.
    """

    image: Path | None
    detector: str | None
    photo: Path | None


def read_control(
    choice: ControlChoice, engine: Engine, settings: DrawingSettings
) -> UInt8[np.ndarray, "h w"] | None:
    """Return the control image that was chosen, of the output's size; None where none was.

    Raises:
        KitError: The kit has no such control network, or the detector's weights are missing.
        UsageError: There is no such detector, or nothing to detect lines in.
        RequestError: The control network follows no lines, or the detector cannot be used.
        ImageError: An image cannot be read.
    """
    name = engine.kit.find_control(settings.control_name)  # first, as it costs nothing
    if choice.detector is not None:
        return _detect(choice, engine, settings, name)
    if choice.image is None:
        return None
    return fit_control(open_image(choice.image), *output_size(engine.pipeline, settings))


def _detect(
    choice: ControlChoice, engine: Engine, settings: DrawingSettings, name: str
) -> UInt8[np.ndarray, "h w"]:
    detector = find_detector(choice.detector or "")
    if choice.image is not None:
        raise UsageError("Give --control-image or --control-from, not both.")
    if choice.photo is None or choice.photo.suffix.lower() == ".json":
        raise UsageError(
            "--control-from finds lines in a photo or in a photographed drawing; give one as "
            "--image or --sketch."
        )
    from generation.detectors import LineDetector

    weights = locate_weights(detector)
    opened = LineDetector(detector, weights, engine.device)
    image = open_image(choice.photo)
    engine.load_control(name)
    kind = engine.pipeline.control_kind(name) or ControlKind.SCRIBBLE
    line_share(kind)  # depth follows no lines
    return opened.control_image(image, *output_size(engine.pipeline, settings), kind)
