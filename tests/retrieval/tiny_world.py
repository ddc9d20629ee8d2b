"""A gallery of four pictures in the layout of the shipped one."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from composer.backbone import Backbone
from retrieval.indexing.encode import index_folder

STROKES = {"a": [[[10, 10], [200, 30]]], "b": [[[10, 200], [200, 30], [50, 60]]]}


def item(design, colour, split="test"):
    return {
        "path": f"images/{design}-{colour}.png",
        "design": design,
        "kind": "chair",
        "domain": "photo",
        "part_names": ["seat", "legs"],
        "part_finishes": [f"{colour} felt", "black metal"],
        "part_colours": [colour, "black"],
        "split": split,
        "skill": 1,
        "attributes": f"with a {colour} seat",
        "caption": f"a photo of a chair with a {colour} seat",
    }


def write_world(folder: Path, backbone: Backbone) -> Path:
    """Writes pictures, their table, sketches and the index."""
    items = [item("a", "red"), item("a", "blue"), item("b", "red"), item("b", "oak", "unseen")]
    (folder / "images").mkdir(parents=True)
    for number, row in enumerate(items):
        levels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 64)).save(folder / row["path"])
    sketches = [
        {"design": design, "skill": skill, "strokes": json.dumps(strokes)}
        for design, strokes in STROKES.items()
        for skill in (0, 1)
    ]
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    pq.write_table(pa.Table.from_pylist(sketches), folder / "sketches.parquet")
    index_folder(folder / "images", folder / "index", backbone, kit="tiny")
    return folder
