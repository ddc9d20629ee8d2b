"""Line detectors of controlnet-aux: a photo, or a photo of a drawing, becomes a control image.

Their weights are `.pth` files, which torch's weights-only loader opens; it runs no code of a file.
"""

import warnings
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from generation.controls import ControlKind
from generation.request import RequestError
from generation.sizes import fit_source


class Detector(StrEnum):
    """Detectors by name; Canny needs no weights."""

    HED = "hed"
    PIDINET = "pidinet"
    LINEART = "lineart"
    CANNY = "canny"


WEIGHTS: Final[Mapping[Detector, str]] = {
    Detector.HED: "ControlNetHED.pth",
    Detector.PIDINET: "table5_pidinet.pth",
    Detector.LINEART: "sk_model.pth",
}
"""Files of the weights."""

NO_EXTRA: Final = (
    "Line detectors need controlnet-aux. Install it with: pip install 'duet-studio[control]'"
)
_FAINT: Final = 63
_STEP_PX: Final = 64  # sides that the detectors work at are multiples of it


class LineDetector:
    """A detector in memory."""

    def __init__(self, detector: Detector, weights: Path | None, device: str = "cpu") -> None:
        """Open a detector.

        Args:
            detector: which.
            weights: its file; None for Canny, which has none.
            device: as torch names it.

        Raises:
            RequestError: controlnet-aux is not installed, or the file is damaged or another's.
        """
        try:
            with warnings.catch_warnings():  # about detectors that are not used here
                warnings.simplefilter("ignore")
                self._detect = _open(detector, weights, device)
        except ImportError as error:
            raise RequestError(NO_EXTRA) from error
        self._detector = detector

    def control_image(
        self, image: Image.Image, height: int, width: int, kind: ControlKind
    ) -> UInt8[np.ndarray, "h w"]:
        """Return the lines of an RGB image, white_on_black, cut to the output's proportions.

        Scribbles are thinned to lines without shades; other kinds keep the detector's grey levels.
        """
        fitted = np.asarray(fit_source(image.convert("RGB"), height, width))
        side = max(_STEP_PX, round(min(height, width) / _STEP_PX) * _STEP_PX)
        extra: dict[str, Any] = {}
        if self._detector in (Detector.HED, Detector.PIDINET):
            extra["scribble"] = kind is ControlKind.SCRIBBLE
        lines = self._detect(
            fitted, detect_resolution=side, image_resolution=side, output_type="np", **extra
        )
        found = np.ascontiguousarray(lines[..., 0])
        resized = Image.fromarray(found).resize((width, height), Image.Resampling.BILINEAR)
        grey = np.asarray(resized)
        if np.isin(found, (0, 255)).all():  # thin lines stay lines at another size
            return np.where(grey > _FAINT, 255, 0).astype(np.uint8)
        return grey


def _open(detector: Detector, weights: Path | None, device: str) -> Any:  # noqa: ANN401
    match detector:
        case Detector.CANNY:
            from controlnet_aux.canny import CannyDetector

            return CannyDetector()
        case Detector.HED:
            from controlnet_aux.hed import ControlNetHED_Apache2, HEDdetector

            return HEDdetector(_fill(ControlNetHED_Apache2(), _require(weights), device))
        case Detector.PIDINET:
            from controlnet_aux.pidi import PidiNetDetector
            from controlnet_aux.pidi.model import pidinet

            return PidiNetDetector(_fill(pidinet(), _require(weights), device))
        case Detector.LINEART:
            from controlnet_aux.lineart import Generator, LineartDetector

            model = _fill(Generator(3, 1, 3), _require(weights), device)
            return LineartDetector(model, model)


def _require(weights: Path | None) -> Path:
    assert weights is not None, "only Canny has no weights"
    return weights


def _fill(model: torch.nn.Module, file: Path, device: str) -> torch.nn.Module:
    """Fill a network from a `.pth` file of it, whole and complete."""
    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the loader makes of a file that is not one of these
        raise RequestError(
            f"The detector's weights {file.name} are damaged, or hold more than tensors; fetch "
            "them again."
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    try:
        # PiDiNet's file was saved from a model on several cards.
        model.load_state_dict({str(k).removeprefix("module."): v for k, v in state.items()})
    except (RuntimeError, TypeError, AttributeError) as error:
        raise RequestError(
            f"The weights {file.name} are not those of this detector; fetch them again."
        ) from error
    return model.float().eval().to(device)
