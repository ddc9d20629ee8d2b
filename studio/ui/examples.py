"""Example queries, drawn by hand and shipped with the program."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composer.sketch import Sketch
from studio.kit_file import assets_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleQuery:
    """An example query: its title, its words, and its strokes as JSON."""

    title: str
    words: str
    strokes: str

    def for_strip(self) -> dict[str, Any]:
        """Return the fields that the strip of examples displays."""
        return {"title": self.title, "words": self.words, "strokes": json.loads(self.strokes)}


def load_examples(folder: Path | None = None) -> tuple[ExampleQuery, ...]:
    """Read the shipped examples in the order of their file names; none without a folder.

    Raises:
        ValueError: A file is damaged or contains no drawing.
    """
    source = folder or assets_folder() / "examples"
    return tuple(_read(path) for path in sorted(source.glob("*.json")))


def _read(path: Path) -> ExampleQuery:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        strokes = json.dumps(fields["strokes"], separators=(",", ":"))
        example = ExampleQuery(title=fields["title"], words=fields["words"], strokes=strokes)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The example {path.name} is damaged: {error}.") from error
    Sketch.from_json(example.strokes)
    return example
