"""Levers of speed: what each changes, and how close the image stays to a plain call's."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from generation.model_folder import PipelineError

MAX_INTERVAL: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Levers:
    """Ways to draw faster, each on or off.

    Attributes:
        reuse_text: keys and values of the prompt are computed once per image, not at every step,
            and recent prompts are not encoded again; the same bytes.
        graph: on CUDA, a step of control network and denoiser is launched as one graph; the same
            kernels. Without effect elsewhere.
        channels_last: convolutions run with the channels innermost; equal but for rounding.
        fused_projections: query, key and value of self-attention in one product; equal but for
            rounding.
        compiled: repeated blocks are compiled once a size was drawn; equal but for rounding.
        cache_interval: the deep blocks of a UNet and the control network run at every step of this
            number only, their output is reused between; 1 is off. Changes the image.
    """

    reuse_text: bool = True
    graph: bool = False
    channels_last: bool = False
    fused_projections: bool = False
    compiled: bool = False
    cache_interval: int = 1

    def __post_init__(self) -> None:
        """Check the interval.

        Raises:
            PipelineError: it is out of range.
        """
        if not 1 <= self.cache_interval <= MAX_INTERVAL:
            raise PipelineError(
                f"`cache_interval` must be a whole number from 1 to {MAX_INTERVAL}, got "
                f"{self.cache_interval}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of those that are on."""
        on = [name for name in _SWITCHES if getattr(self, name)]
        return (*on, *([f"cache_interval {self.cache_interval}"] * (self.cache_interval > 1)))

    @property
    def inexact_names(self) -> tuple[str, ...]:
        """Names of those that are on and change an image's bytes."""
        return tuple(name for name in self.names if name not in _EXACT_SWITCHES)


_INTERVAL: Final = "cache_interval"
_EXACT_SWITCHES: Final = ("reuse_text", "graph")
_SWITCHES: Final = (*_EXACT_SWITCHES, "channels_last", "fused_projections", "compiled")
PLAIN: Final = Levers(reuse_text=False)
"""What a plain call of diffusers does."""
DEFAULT: Final = Levers()
EXACT: Final = Levers(graph=True)
"""All that give the same bytes."""
FAST: Final = replace(EXACT, channels_last=True, fused_projections=True, compiled=True)
"""All that give the same image but for rounding."""
LOSSY: Final = replace(FAST, cache_interval=3)
"""All; images differ visibly."""


def read_levers(table: Mapping[str, Any]) -> Levers:
    """Read the table `[speed]` of a kit.

    Raises:
        PipelineError: a lever is unknown, or its value cannot be.
    """
    known = [field.name for field in fields(Levers)]
    for name in table:
        if name not in known:
            raise PipelineError(
                f"The kit's [speed] names {name!r}; the levers are {', '.join(known)}."
            )
    for name, value in table.items():
        kind, meaning = (int, "a whole number") if name == _INTERVAL else (bool, "true or false")
        if type(value) is not kind:
            raise PipelineError(f"`{name}` must be {meaning}, got {value!r}.")
    return Levers(**table)


def for_device(levers: Levers, device_type: str) -> Levers:
    """Return the levers that pay on a device; graphs and compiled blocks do on CUDA."""
    return levers if device_type == "cuda" else replace(levers, graph=False, compiled=False)


def without_fixed_weights(levers: Levers) -> Levers:
    """Return the levers that work while weights move between main memory and the card."""
    return replace(levers, graph=False, fused_projections=False, compiled=False)
