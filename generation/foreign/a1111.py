"""The text chunk `parameters` of the A1111 web UI, Forge, and programs that write like them.

The words, lines of negative words after "Negative prompt:", and a last line of "Name: value" pairs
separated by commas, in which a value with commas is a JSON string.
"""

import json
from collections.abc import Iterator

from generation.foreign.settings import ForeignSettings, brief, few, plain_text, real, whole
from generation.png_text import MetadataError, read_json

PROGRAM = "A1111"
_NEGATIVE = "Negative prompt:"
_LEAST_PAIRS = 3  # fewer are words of the prompt
_NO_SETTINGS = ("Version",)


def read_parameters(text: str) -> ForeignSettings:
    """Read the chunk; its first lines are the words.

    Raises:
        MetadataError: it is JSON, which other programs store under this name.
    """
    if _is_json(text):
        raise MetadataError("The PNG's metadata are of a program whose settings are not read here.")
    lines = text.strip().splitlines()
    values = dict(_pairs(lines[-1])) if lines else {}
    if len(values) < _LEAST_PAIRS:
        values = {}
    else:
        lines.pop()
    start = next((n for n, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(_NEGATIVE)
    width, _, height = values.get("Size", "").partition("x")
    used = {
        "Seed": (seed := whole(values.get("Seed"))),
        "Steps": (steps := whole(values.get("Steps"))),
        "CFG scale": (guidance := real(values.get("CFG scale"))),
        "Size": whole(width) if whole(height) else None,
    }
    dropped = [
        brief(name, value)
        for name, value in values.items()
        if used.get(name) is None and name not in _NO_SETTINGS
    ]
    has_size = used["Size"] is not None
    return ForeignSettings(
        program=PROGRAM,
        text=plain_text("\n".join(lines[:start])),
        negative_text=plain_text(negative),
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        width=whole(width) if has_size else None,
        height=whole(height) if has_size else None,
        dropped=few(dropped),
    )


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        read_json(text)
    except MetadataError:
        return False
    return True


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the last line; the rest without a colon is left out."""
    start = 0
    while (colon := line.find(":", start)) >= 0:
        name, start = line[start:colon].strip(), colon + 1
        while line.startswith(" ", start):
            start += 1
        end = _end_of_string(line, start) if line.startswith('"', start) else start
        comma = line.find(",", end)
        end = len(line) if comma < 0 else comma
        yield name, _plain(line[start:end].strip())
        start = end + 1


def _end_of_string(line: str, start: int) -> int:
    """Return the index behind the JSON string at `start`; `start` where it has no end."""
    index = start + 1
    while index < len(line):
        if line[index] == '"':
            return index + 1
        index += 2 if line[index] == "\\" else 1
    return start


def _plain(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
