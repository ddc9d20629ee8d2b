"""Files of a kit's composers, in a light module, so that listing kits loads no model code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ComposerFiles:
    """The files and settings that a composer is loaded from.

    Attributes:
        weights: The composer's own file; None where the kit has none.
        converter: The kit's converter, for composers that make no tokens themselves.
        settings: Fields of the settings of a composer that needs no training.
    """

    weights: Path | None = None
    converter: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
