"""Requests made of the settings of other programs' pictures."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from composer.query import MAX_TEXT_LENGTH, Query
from generation.defaults import DrawingDefaults
from generation.foreign.settings import ForeignSettings
from generation.pipeline import ImagePipeline
from generation.png_text import MetadataError
from generation.request import DEFAULT_CAPS, DrawingSettings, GenerateRequest
from generation.sample import NATIVE_SHARE
from studio.engine import ComposeOptions, Engine

Number = TypeVar("Number", int, float)
_MOST_SEED = DEFAULT_CAPS.seed - DEFAULT_CAPS.num_images


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignRequest:
    """A request made of foreign settings, and a sentence for each that is not followed."""

    request: GenerateRequest
    notes: tuple[str, ...]


def foreign_request(engine: Engine, settings: ForeignSettings) -> ForeignRequest:
    """Make a request of the settings that mean something here; all others are named.

    Raises:
        MetadataError: The settings have no words to draw from.
    """
    if not settings.text:
        raise MetadataError(
            f"The settings of {settings.program} in this PNG have no words that are read here."
        )
    notes = [f"Not followed, {line}." for line in settings.dropped]
    text = _cut(settings.text, MAX_TEXT_LENGTH, "words", notes)
    negative = _cut(settings.negative_text, DEFAULT_CAPS.negative_text, "negative words", notes)
    query = engine.compose(Query(text=text), ComposeOptions(composer=engine.default_composer))
    drawing = _numbers(settings, engine.kit.drawing, notes)
    drawing = _sized(settings, engine.pipeline, replace(drawing, negative_text=negative), notes)
    notes += engine.notes_on_words(query, text)
    return ForeignRequest(
        request=GenerateRequest(query=query, settings=drawing), notes=tuple(notes)
    )


def _cut(text: str, most: int, what: str, notes: list[str]) -> str:
    if len(text) > most:
        notes.append(f"Not followed, the {what} beyond {most:,} characters.")
    return text[:most]


def _numbers(
    settings: ForeignSettings, defaults: DrawingDefaults, notes: list[str]
) -> DrawingSettings:
    """Return seed, steps and guidance; a missing one or one out of range is the kit's own."""
    steps, guidance = settings.num_inference_steps, settings.guidance_scale
    most_steps, most_guidance = DEFAULT_CAPS.num_inference_steps, DEFAULT_CAPS.guidance_scale
    return DrawingSettings(
        seed=_within("seed", settings.seed, (0, _MOST_SEED), 0, notes),
        num_inference_steps=_within(
            "steps", steps, (1, most_steps), defaults.num_inference_steps, notes
        ),
        guidance_scale=_within(
            "guidance", guidance, (1.0, most_guidance), defaults.guidance_scale, notes
        ),
        controlnet_conditioning_scale=defaults.controlnet_conditioning_scale,
        finish_noise=defaults.finish_noise,
    )


def _within(
    name: str,
    value: Number | None,
    limits: tuple[Number, Number],
    default: Number,
    notes: list[str],
) -> Number:
    """Return a value within limits, both included; the default in place of any other."""
    low, high = limits
    if value is not None and low <= value <= high:
        return value
    if value is None:
        notes.append(f"The PNG names no {name}; it is {default} here.")
    else:
        notes.append(
            f"Not followed, {name}: {value} is not in {low} to {high}; it is {default} here."
        )
    return default


def _sized(
    settings: ForeignSettings, pipeline: ImagePipeline, drawing: DrawingSettings, notes: list[str]
) -> DrawingSettings:
    """Return the settings with the picture's size, or its proportions where the kit is smaller."""
    width, height = settings.width, settings.height
    most = DEFAULT_CAPS.side_px * 8
    if width is None or height is None or not (8 <= width <= most and 8 <= height <= most):
        notes.append("The PNG names no size that is read here; it is the kit's own.")
        return drawing
    native, multiple = pipeline.native_size_px, pipeline.size_multiple_px
    share = width * height / (native * native)
    scale = 1.0 if 1 / NATIVE_SHARE <= share <= NATIVE_SHARE else math.sqrt(1 / share)
    new_width, new_height = (
        min(max(multiple, round(side * scale / multiple) * multiple), DEFAULT_CAPS.side_px)
        for side in (width, height)
    )
    if (new_width, new_height) != (width, height):
        notes.append(
            f"Not followed, size: {width} x {height}; it is {new_width} x {new_height} here, as "
            f"the kit draws about {native} x {native}."
        )
    return replace(drawing, width=new_width, height=new_height)
