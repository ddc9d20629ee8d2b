"""Weights of the line detectors, which all kits share; they are fetched like a kit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from generation.detectors import WEIGHTS, Detector
from studio.errors import UsageError
from studio.hub import Hub, default_hub
from studio.kit_contents import HubSource, KitPart

DETECTORS: Final = "detectors"
"""What `duet kits fetch` calls them."""

_SIZES_MB: Final[Mapping[Detector, float]] = {
    Detector.HED: 29.4,
    Detector.PIDINET: 2.9,
    Detector.LINEART: 17.2,
}


def detector_sources() -> dict[Detector, HubSource]:
    """Return where the weights of each detector are; Canny has none."""
    return {
        detector: HubSource(
            repository="lllyasviel/Annotators", patterns=(file,), is_weights_only=True
        )
        for detector, file in WEIGHTS.items()
    }


def detector_parts() -> dict[str, KitPart]:
    """Return the weights as parts of a kit, by name."""
    return {
        f"detector {detector}": KitPart(
            location=source,
            licence="see its repository; not said there for each file",
            size_bytes=int(_SIZES_MB[detector] * 1_000_000),
        )
        for detector, source in detector_sources().items()
    }


def find_detector(name: str) -> Detector:
    """Return a detector by name.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        return Detector(name)
    except ValueError as error:
        raise UsageError(
            f"There is no line detector {name!r}; choose one of: {', '.join(Detector)}."
        ) from error


def locate_weights(detector: Detector, hub: Hub | None = None) -> Path | None:
    """Return the file of a detector's weights; None for Canny.

    Raises:
        KitError: It was not downloaded.
    """
    if detector is Detector.CANNY:
        return None
    source = detector_sources()[detector]
    return (hub or default_hub()).locate(source, kit=DETECTORS) / source.patterns[0]
