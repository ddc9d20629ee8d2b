"""The catalogue of composers: one method, one file."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from composer.backbone import Backbone
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.protocol import Composer, ComposerError
from composer.strategies.slerp import SlerpComposer


def _load_duet(backbone: Backbone, weights: Path | None) -> Composer:
    if weights is None:
        raise ComposerError(
            "The duet composer needs its trained weights and this kit has none; "
            "choose slerp, or train it: duet train composer duet."
        )
    return DuetComposer.load(weights, backbone)


def _load_slerp(backbone: Backbone, weights: Path | None) -> Composer:
    return SlerpComposer(backbone, None if weights is None else DuetModel.load(weights, backbone))


# Name to a loader, which takes the kit's backbone and the path of its duet.safetensors (or None).
COMPOSERS: Final[dict[str, Callable[[Backbone, Path | None], Composer]]] = {
    "duet": _load_duet,
    "slerp": _load_slerp,
}


def load_composer(name: str, backbone: Backbone, weights: Path | None) -> Composer:
    """Loads a composer by its exact name.

    Args:
        name: A key of `COMPOSERS`.
        backbone: The kit's CLIP.
        weights: Path of the kit's `duet.safetensors`; None where it has none.

    Raises:
        ComposerError: There is no composer of that name, or its weights do not fit.
    """
    if name not in COMPOSERS:
        known = ", ".join(sorted(COMPOSERS))
        raise ComposerError(f"There is no composer {name!r}; choose one of: {known}.")
    return COMPOSERS[name](backbone, weights)
