"""A training pack of the real format with a tiny world in it."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 30, 30),
    "blue": (30, 60, 220),
    "green": (20, 160, 60),
    "black": (20, 20, 20),
}
KINDS = ("chair", "bowl")
PAPER = {"photo": (180, 180, 170), "watercolour": (250, 240, 220)}


def shape_points(kind, number):
    """A polygon in 0..255 that differs from design to design."""
    rng = np.random.default_rng([KINDS.index(kind), number])
    angles = np.sort(rng.uniform(0, 2 * np.pi, 5 + 3 * KINDS.index(kind)))
    radii = rng.uniform(40, 110, len(angles))
    points = np.stack([128 + radii * np.cos(angles), 128 + radii * np.sin(angles)], axis=1)
    return [[int(x), int(y)] for x, y in [*points, points[0]]]


def encode(image, fmt):
    buffer = io.BytesIO()
    image.save(buffer, fmt)
    return buffer.getvalue()


def image_row(kind, number, split, domain, colourway, image_px=128):
    colour, size = list(COLOURS)[colourway], (image_px, image_px)
    picture, parts = Image.new("RGB", size, PAPER[domain]), Image.new("L", size, 0)
    scale = image_px / 256
    polygon = [(x * scale, y * scale) for x, y in shape_points(kind, number)]
    ImageDraw.Draw(picture).polygon(polygon, fill=COLOURS[colour], outline=(90, 90, 90))
    ImageDraw.Draw(parts).polygon(polygon, fill=1)
    design = f"{kind}-{split}-{number}"
    words = "a photo of" if domain == "photo" else "a watercolour of"
    finish = f"{colour} oak"
    return {
        "id": f"{design}-{domain}-{colourway}", "design": design, "kind": kind, "split": split,
        "domain": domain, "colourway": colourway, "image": encode(picture, "WEBP"),
        "parts": encode(parts, "PNG"), "part_names": ["body"], "part_finishes": [finish],
        "part_colours": [colour], "caption": f"{words} a {kind}, with a {finish} body",
        "attributes": f"with a {finish} body", "shape": "with corners",
        "paraphrases": [f"{words} a {kind}", f"a {finish} {kind}"],
    }  # fmt: skip


def view_columns(row):
    """A view from the left, and a drawing of the upper left corner."""
    seen = "seen from the left, with space around it"
    return {
        "azimuth": -30.0, "elevation": 20.0, "margin": 0.2,
        "studio": [0.5, 0.6, 0.7, 40.0, 50.0, -60.0, 25.0, 3.2, 0.8],
        "view": "from the left", "framing": "with space around it",
        "view_captions": [f"{row['caption']}, {seen}", f"{seen}: a {row['kind']}"],
        "skill": 2, "drawing": json.dumps([[[10, 20], [60, 20]], [[60, 20], [60, 90]]]),
    }  # fmt: skip


def write_pack(
    folder: Path,
    *,
    num_train: int = 4,
    num_held: int = 2,
    image_px: int = 128,
    has_views: bool = False,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    images, sketches = [], []
    for kind in KINDS:
        for split, count in (("train", num_train), ("validation", num_held)):
            for number in range(count):
                domains = ("photo", "watercolour") if split == "train" else ("photo",)
                for domain in domains:
                    images += [
                        image_row(kind, number, split, domain, c, image_px) for c in range(4)
                    ]
                for skill in range(3):
                    strokes = json.dumps([shape_points(kind, number)])
                    sketches.append({"design": f"{kind}-{split}-{number}", "kind": kind,
                                     "split": split, "skill": skill, "seed": 7,
                                     "strokes": strokes})  # fmt: skip
    if has_views:
        images = [row | view_columns(row) for row in images]
    half = len(images) // 2
    for shard, rows in enumerate((images[:half], images[half:])):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"images-{shard:03d}.parquet")
    pq.write_table(pa.Table.from_pylist(sketches), folder / "sketches-000.parquet")
    return folder
