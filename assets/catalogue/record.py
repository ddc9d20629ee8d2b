"""Rows of the training pack and the gallery: pictures, sketches and their words."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from assets.catalogue import words
from assets.catalogue.freehand import draw, draw_in_place
from assets.catalogue.lighting import studio_numbers
from assets.catalogue.model import Colourway, Kind
from assets.catalogue.plan import SKILLS, Design, Shot, generator, sketch_camera
from assets.catalogue.render import buffers
from assets.catalogue.scene import PreparedObject
from assets.catalogue.sketch import Curve, contours

Row = dict[str, Any]
Picture = NDArray[np.uint8]

SKETCH_PX = 256  # side of the buffers that sketches are traced from
_WORDS = [
    ("id", pa.string()),
    ("design", pa.string()),
    ("kind", pa.string()),
    ("split", pa.string()),
    ("domain", pa.string()),
    ("colourway", pa.int32()),
    ("part_names", pa.list_(pa.string())),
    ("part_finishes", pa.list_(pa.string())),
    ("part_colours", pa.list_(pa.string())),
    ("caption", pa.string()),
    ("attributes", pa.string()),
    ("shape", pa.string()),
    ("paraphrases", pa.list_(pa.string())),
]
_VIEW = [
    ("azimuth", pa.float32()),  # of the camera, in degrees as in `Camera`
    ("elevation", pa.float32()),
    ("margin", pa.float32()),
    ("studio", pa.list_(pa.float32())),  # in the order of `lighting.STUDIO_NUMBERS`
    ("view", pa.string()),
    ("framing", pa.string()),
    ("view_captions", pa.list_(pa.string())),
    ("skill", pa.int32()),  # of the hand that made the next column
    ("drawing", pa.string()),  # strokes as in `SKETCHES`, but lying on the picture
]
IMAGES = pa.schema([*_WORDS, *_VIEW, ("image", pa.binary()), ("parts", pa.binary())])
ITEMS = pa.schema([*_WORDS, ("path", pa.string()), ("skill", pa.int32())])
PARTS = pa.schema([("id", pa.string()), ("parts", pa.binary())])
SKETCHES = pa.schema(
    [
        ("design", pa.string()),
        ("kind", pa.string()),
        ("split", pa.string()),
        ("skill", pa.int32()),
        ("seed", pa.int64()),
        ("strokes", pa.string()),
    ]
)


def described(kind: Kind, design: Design, colourway: Colourway) -> words.ObjectDescription:
    """Return what the caption grammar says about a design in a colourway."""
    return words.ObjectDescription(
        names=(kind.name, *kind.synonyms),
        shape=design.shape.words,
        finishes=tuple(
            (part, words.finish_phrase(f.colour, f.material, f.pattern))
            for part, f in colourway.finishes
        ),
    )


def word_columns(kind: Kind, design: Design, *, id: str, colourway: int, domain: str) -> Row:
    """Return all columns of a picture but the picture."""
    worn = kind.colourways[colourway]
    named = described(kind, design, worn)
    return {
        "id": id,
        "design": design.id,
        "kind": kind.name,
        "split": design.split.value,
        "domain": domain,
        "colourway": colourway,
        "part_names": [part for part, _ in named.finishes],
        "part_finishes": [phrase for _, phrase in named.finishes],
        "part_colours": [f.colour for _, f in worn.finishes],
        "caption": words.caption(named, domain),
        "attributes": words.attribute_phrase(named.finishes),
        "shape": words.shape_phrase(named.shape),
        "paraphrases": list(words.paraphrases(named, domain)),
    }


def view_columns(kind: Kind, design: Design, shot: Shot, domain: str) -> Row:
    """Return what is known of a picture's camera, framing, backdrop and lights, and its words."""
    camera = shot.view.camera
    view = words.view_phrase(camera.azimuth, camera.elevation)
    framing = words.framing_phrase(camera.margin)
    named = described(kind, design, kind.colourways[shot.colourway])
    return {
        "azimuth": camera.azimuth,
        "elevation": camera.elevation,
        "margin": camera.margin,
        "studio": list(studio_numbers(shot.view)),
        "view": view,
        "framing": framing,
        "view_captions": list(words.view_captions(named, view, framing, domain)),
    }


def drawing_columns(curves: Sequence[Curve], id: str) -> Row:
    """Draw over a picture, with the hand and the skill that belong to its id."""
    rng = generator(id, "drawing")
    skill = int(rng.integers(len(SKILLS)))
    return {"skill": skill, "drawing": as_json(draw_in_place(curves, skill=skill, rng=rng))}


def as_json(strokes: Sequence[NDArray[np.int64]]) -> str:
    """Write strokes as a list of lists of points."""
    return json.dumps([stroke.tolist() for stroke in strokes], separators=(",", ":"))


def part_map(
    part_ids: NDArray[np.uint8], names: Sequence[str], named: Sequence[str]
) -> NDArray[np.uint8]:
    """Renumber a part map to the order of the named parts.

    Args:
        part_ids: uint8 (H, W), i + 1 for `names[i]`, 0 for the background.
        names: Of the object's parts.
        named: Names of the parts in the caption.

    Returns:
        uint8 (H, W): i + 1 for `named[i]`, higher numbers for parts never named.
    """
    unnamed = [name for name in names if name not in named]
    order = [*named, *unnamed]
    table = np.array([0, *(order.index(name) + 1 for name in names)], np.uint8)
    return table[part_ids]


def sketch_row(kind: Kind, design: Design, prepared: PreparedObject, skill: int) -> Row:
    """Draw a design with one skill, from the camera its plan gives that sketch."""
    camera = sketch_camera(design, skill, {kind.name: kind})
    curves = contours(buffers(prepared, camera, SKETCH_PX))
    rng = generator(design.id, "hand", skill)
    strokes = draw(curves, skill=skill, rng=rng)
    return {
        "design": design.id,
        "kind": kind.name,
        "split": design.split.value,
        "skill": skill,
        "seed": int(skill),
        "strokes": as_json(strokes),
    }


def webp(image: NDArray[np.uint8], quality: int) -> bytes:
    """Encode a picture, uint8 RGB (H, W, 3)."""
    blob = io.BytesIO()
    Image.fromarray(image).save(blob, "WEBP", quality=quality, method=6)
    return blob.getvalue()


def write_webp(image: NDArray[np.uint8], quality: int, path: Path) -> None:
    """Write a picture, uint8 RGB (H, W, 3), whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(webp(image, quality))
    unfinished.replace(path)


def png(values: NDArray[np.uint8]) -> bytes:
    """Encode a part map, uint8 (H, W)."""
    blob = io.BytesIO()
    Image.fromarray(values, "L").save(blob, "PNG", optimize=True)
    return blob.getvalue()


def part_file(folder: Path, name: str, table: str) -> Path:
    """Return where one design's rows of a table wait for the others'."""
    return folder / f"{name}.{table}.parquet"


def join_tables(
    tables: Sequence[tuple[str, pa.Schema]], names: Sequence[str], folder: Path, out: Path
) -> None:
    """Join the rows that wait in a folder, in the order of the names, into one file a table."""
    for table, schema in tables:
        parts = [pq.read_table(part_file(folder, name, table)) for name in names]
        write_table(pa.concat_tables(parts).to_pylist(), schema, out / f"{table}.parquet")


def write_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write rows to a parquet file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
