"""The text chunk `invokeai_metadata` of InvokeAI: one flat JSON object."""

from collections.abc import Mapping
from typing import Any, cast

from generation.foreign.settings import ForeignSettings, brief, few, plain_text, real, whole
from generation.png_text import MetadataError, read_json

PROGRAM = "InvokeAI"
_TEXTS = ("positive_prompt", "negative_prompt")
_NO_SETTINGS = (*_TEXTS, "app_version")
_OF_COURSE = {"generation_mode": "txt2img"}


def read_invokeai(text: str) -> ForeignSettings:
    """Read the chunk.

    Raises:
        MetadataError: it is no JSON object.
    """
    values = read_json(text)
    if not isinstance(values, dict):
        raise MetadataError("The PNG's metadata is damaged: InvokeAI's is no JSON object.")
    fields = cast("dict[str, Any]", values)
    positive, negative = (
        value if isinstance(value := fields.get(name), str) else "" for name in _TEXTS
    )
    used = {
        "seed": (seed := whole(fields.get("seed"))),
        "steps": (steps := whole(fields.get("steps"))),
        "cfg_scale": (guidance := real(fields.get("cfg_scale"))),
        "width": (width := whole(fields.get("width"))),
        "height": (height := whole(fields.get("height"))),
    }
    dropped = [
        line
        for name, value in fields.items()
        if used.get(name) is None and name not in _NO_SETTINGS and _OF_COURSE.get(name) != value
        for line in _lines(name, value)
    ]
    return ForeignSettings(
        program=PROGRAM,
        text=plain_text(positive),
        negative_text=plain_text(negative),
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        width=width,
        height=height,
        dropped=few(dropped),
    )


def _lines(name: str, value: object) -> list[str]:
    """Return a line for each thing that a field sets; none where it is empty or off."""
    entries = cast("list[object]", value) if isinstance(value, list) else [value]
    return [brief(name, _name_of(entry)) for entry in entries if entry]


def _name_of(value: object) -> object:
    """Return the name of a model, or of the model in an entry with a weight; others as they are."""
    if not isinstance(value, Mapping):
        return value
    entry = cast("Mapping[str, object]", value)
    for key in ("model", "lora", "control_model", "ip_adapter_model", "t2i_adapter_model"):
        inner = entry.get(key)
        if isinstance(inner, Mapping):
            weight = real(entry.get("weight"))
            named = _own_name(cast("Mapping[str, object]", inner))
            return named if weight is None else f"{named} at {weight:g}"
    return _own_name(entry)


def _own_name(entry: Mapping[str, object]) -> object:
    for key in ("name", "model_name", "image_name"):
        if isinstance(entry.get(key), str):
            return entry[key]
    return "set"
