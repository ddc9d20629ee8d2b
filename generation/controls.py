"""Kinds of control networks, and what each is given to follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final


class ControlKind(StrEnum):
    """What a control network follows.

    Scribbles are thick loose lines, line art thin ones, Canny edges of one pixel; all are white on
    black. Depth is bright where things are near; nothing of a drawing says it.
    """

    SCRIBBLE = "scribble"
    LINEART = "lineart"
    CANNY = "canny"
    DEPTH = "depth"


LINE_SHARES: Final[Mapping[ControlKind, float]] = {
    ControlKind.SCRIBBLE: 3 / 128,
    ControlKind.LINEART: 1 / 256,
    ControlKind.CANNY: 1 / 512,
}
"""Line width of a control image as a share of its shorter side."""

UNION_MODES: Final[Mapping[ControlKind, int]] = {
    ControlKind.DEPTH: 1,
    ControlKind.SCRIBBLE: 2,
    ControlKind.CANNY: 3,
    ControlKind.LINEART: 3,
}
"""Control types of SDXL's union network, by the order in which it was trained on them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSource:
    """A control network on disk.

    Attributes:
        folder: diffusers folder.
        kind: what it follows; a union network is told.
    """

    folder: Path
    kind: ControlKind = ControlKind.SCRIBBLE


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A control network in memory.

    Attributes:
        model: of diffusers.
        kind: what it follows.
        is_union: whether it is told at each step what it follows.
        is_adapter: whether it is a T2I-Adapter, which runs once for a drawing.
    """

    model: Any
    kind: ControlKind = ControlKind.SCRIBBLE
    is_union: bool = False
    is_adapter: bool = False
