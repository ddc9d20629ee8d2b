"""Settings that a PNG records, as texts by name, and the difference of two."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from generation.foreign.settings import ForeignSettings
from generation.provenance import Provenance

_MAX_LENGTH = 200
_NAMES: Mapping[str, str] = {
    "Negative words": "negative_text",
    "Steps": "num_inference_steps",
    "Guidance": "guidance_scale",
    "Finished from noise": "finish_noise",
    "Strength": "strength",
    "Faithful": "is_faithful",
    "Keeps colours": "keeps_colours",
    "Keeps size": "keeps_size",
    "Enlarged to": "enlarged_to",
    "Control": "control_name",
    "Control strength": "controlnet_conditioning_scale",
    "Sampler": "scheduler",
    "Images at once": "num_images",
    "Kit": "kit",
    "Weights": "weights_hash",
    "Device": "device",
    "Source": "source_hash",
}
_OF_QUERY: Mapping[str, str] = {"Words": "text", "Balance": "balance", "Composer": "composer"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A setting that two pictures do not share; empty where one has none."""

    name: str
    first: str
    second: str


def recorded_settings(found: Provenance | ForeignSettings) -> dict[str, str]:
    """Return the settings of a picture by name; empty ones are left out.

    Drawings and control images, which are no text, stand as the first digits of a hash.

    Args:
        found: as read, untrusted; values of any type become bounded texts.
    """
    values = _foreign(found) if isinstance(found, ForeignSettings) else _own(found.fields)
    texts = {name: _text(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if text}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Difference, ...]:
    """Return the settings that differ, in the order of the first picture."""
    return tuple(
        Difference(name=name, first=first.get(name, ""), second=second.get(name, ""))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    )


def _own(fields: Mapping[str, Any]) -> dict[str, object]:
    query = _mapping(fields.get("query"))
    control = fields.get("control", fields.get("grey_control"))
    return {
        **{name: query.get(key) for name, key in _OF_QUERY.items()},
        "Drawing": _digest(query.get("pseudo_tokens")),
        "Seed": _seed(fields.get("seed"), fields.get("index")),
        **{name: fields.get(key) for name, key in _NAMES.items()},
        "Control image": _digest(control),
        "Mask": _digest(fields.get("mask")),
        "Size": _size(fields.get("width"), fields.get("height")),
        "LoRAs": _named(fields.get("loras"), "name", "scale"),
        "Tokens": _named(query.get("added_words"), "name", "sha256"),
        "Negative tokens": _named(
            _mapping(fields.get("negative")).get("added_words"), "name", "sha256"
        ),
        "Style": _named([fields.get("style")], "image_hash", "scale"),
    }


def _foreign(settings: ForeignSettings) -> dict[str, object]:
    return {
        "Words": settings.text,
        "Seed": settings.seed,
        "Negative words": settings.negative_text,
        "Steps": settings.num_inference_steps,
        "Guidance": settings.guidance_scale,
        "Size": _size(settings.width, settings.height),
        "Program": settings.program,
        "Others": "; ".join(settings.dropped),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _seed(of_batch: object, index: object) -> object:
    """Return the seed of one image of a batch."""
    if isinstance(of_batch, int) and isinstance(index, int):
        return of_batch + index
    return of_batch


def _digest(packed: object) -> str:
    """Return the first digits of a hash of a packed array; empty for one without rows."""
    array = _mapping(packed)
    match array.get("shape"):
        case [int() as rows, *_] if rows > 0:
            pass
        case _:
            return ""
    return hashlib.sha256(json.dumps(array, sort_keys=True).encode()).hexdigest()[:8]


def _size(width: object, height: object) -> str:
    return "" if width is None or height is None else f"{width} x {height}"


def _named(entries: object, name: str, about: str) -> str:
    """Return entries as "name (about)", separated by commas."""
    known = cast("list[object]", entries) if isinstance(entries, list) else []
    rows = [entry for entry in map(_mapping, known) if name in entry]
    return ", ".join(f"{row[name]} ({str(row.get(about))[:8]})" for row in rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    line = " ".join(text.split())
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]}..."
