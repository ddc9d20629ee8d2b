"""Report of `duet bench composers`: a page of tables and pictures, and the same as JSON."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from composer.images import open_image
from studio.kits import Kit

THUMBNAIL_PX = 144
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportQuery:
    """One query and the answers of each composer.

    Attributes:
        sketch: The drawing.
        words: The words.
        split: The part of the gallery it belongs to.
        target: File of the target.
        answers: Rank of the target and files of the first hits, by composer.
    """

    sketch: Image.Image
    words: str
    split: str
    target: Path
    answers: Mapping[str, tuple[int, Sequence[Path]]]


def write_report(
    folder: Path, heading: Row, rows: Sequence[Row], queries: Sequence[ReportQuery]
) -> None:
    """Write `index.html`, `composers.json` and their pictures.

    Raises:
        OSError: The folder cannot be written.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    entries = [_page_query(query, number, images) for number, query in enumerate(queries)]
    text = resources.files("studio").joinpath("templates/composers.html").read_text("utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(text)
    content = page.render(heading=heading, tables=grouped(rows), queries=entries)
    (folder / "index.html").write_text(content, encoding="utf-8")
    report = json.dumps({**heading, "bench": "composers", "rows": list(rows)}, indent=1)
    (folder / "composers.json").write_text(report + "\n", encoding="utf-8")


def grouped(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Group rows of the same fields and split into tables, in order of appearance."""
    tables: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        split = str(row.get("split", ""))
        tables.setdefault((split, *row), []).append(row)
    return [(_title(split, fields), table) for (split, *fields), table in tables.items()]


def weights_digest(kit: Kit) -> str:
    """Return twelve hex digits that identify the weights of all composers that search."""
    digest, tower = hashlib.sha256(), kit.search_tower
    files = [tower.converter, *(part.weights for part in tower.composers.values())]
    for file in sorted({file for file in files if file is not None}):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _title(split: str, fields: Sequence[str]) -> str:
    if split:
        return f"Accuracy: {split}"
    if "moved_by_neutral" in fields:
        return "Effect of words on a query, and difference between tokens"
    return "Cost of encoding a drawing"


def _page_query(query: ReportQuery, number: int, images: Path) -> dict[str, Any]:
    name = f"query-{number}.png"
    query.sketch.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS).save(images / name)
    answers = [
        (composer, rank, [_page_hit(file, images, query.target) for file in files])
        for composer, (rank, files) in query.answers.items()
    ]
    return {
        "sketch": f"images/{name}",
        "words": query.words,
        "split": query.split,
        "answers": answers,
    }


def _page_hit(file: Path, images: Path, target: Path) -> dict[str, Any]:
    thumbnail = images / f"{file.stem}.webp"
    if not thumbnail.exists():
        image = open_image(file)
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        image.save(thumbnail, quality=80)
    return {"file": f"images/{thumbnail.name}", "alt": file.stem, "is_target": file == target}
