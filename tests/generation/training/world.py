"""A training pack of a few drawn boxes and discs, and the models below the UNet, all tiny."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw

from composer.backbone import Backbone
from composer.strategies.duet import DuetModel
from composer.training.loop import Budget
from generation.training.command import Scale, StageOptions
from generation.training.loop import Optimisation
from tests.composer.data.fake_pack import view_columns
from tests.composer.tiny import write_clip

COLOURS = {"red": (200, 50, 40), "blue": (50, 80, 190), "green": (60, 150, 70)}
KINDS = ("box", "disc")
FAST = Optimisation(
    batch_size=8, learning_rate=3e-3, num_warmup_steps=2, average_decay=0.5, log_every=5
)


def draw_item(kind: str, colour: str, size: int, seed: int) -> tuple[Image.Image, Image.Image]:
    """Return a picture and its part map: the body, and a grey foot below it."""
    rng = np.random.default_rng(seed)
    ground = tuple(int(v) for v in rng.integers(90, 140, 3))
    image, parts = Image.new("RGB", (128, 128), ground), Image.new("L", (128, 128), 0)
    body = (64 - size, 50 - size // 2, 64 + size, 50 + size)
    for picture, fills in ((image, (COLOURS[colour], (70, 70, 70))), (parts, (1, 2))):
        pen = ImageDraw.Draw(picture)
        pen.rectangle((58, 50 + size, 70, 115), fill=fills[1])
        (pen.rectangle if kind == "box" else pen.ellipse)(body, fill=fills[0])
    return image, parts


def encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def write_pack(folder: Path, *, has_views: bool = False) -> Path:
    """8 train and 2 validation designs in 3 colours, some in watercolour, 2 sketches each."""
    images, sketches = [], []
    for number in range(10):
        kind, design = KINDS[number % 2], f"design-{number}"
        split, size = ("train" if number < 8 else "validation"), 20 + 2 * number
        for way, colour in enumerate(COLOURS):
            for domain in ("photo", "watercolour")[: 1 + (way == 0)]:
                image, parts = draw_item(kind, colour, size, 10 * number + way)
                images.append(
                    {
                        "id": f"{design}-{colour}-{domain}",
                        "design": design,
                        "kind": kind,
                        "split": split,
                        "domain": domain,
                        "colourway": way,
                        "image": encode(image, "WEBP"),
                        "parts": encode(parts, "PNG"),
                        "part_names": ["body", "foot"],
                        "part_finishes": [f"{colour} plastic", "grey metal"],
                        "part_colours": [colour, "grey"],
                        "caption": f"a {kind} with a {colour} plastic body",
                        "attributes": f"a {colour} plastic body, a grey metal foot",
                        "shape": "tall",
                        "paraphrases": [f"a {colour} {kind}"],
                    }
                )
        for skill in range(2):
            strokes = [[[50, 50], [200, 50], [200, 200 - size], [50, 200], [50, 50]]]
            sketches.append(
                {
                    "design": design,
                    "kind": kind,
                    "split": split,
                    "skill": skill,
                    "seed": 0,
                    "strokes": json.dumps(strokes),
                }
            )
    if has_views:
        images = [row | view_columns(row) for row in images]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(images), folder / "images-0.parquet")
    pq.write_table(pa.Table.from_pylist(sketches), folder / "sketches-0.parquet")
    return folder


def write_composer(folder: Path) -> tuple[Path, Path]:
    """Return a CLIP folder and an untrained duet composer for it."""
    clip = write_clip(folder / "clip")
    torch.manual_seed(0)
    DuetModel(Backbone.load(clip)).save(folder / "duet.safetensors")
    return clip, folder / "duet.safetensors"


def options(data: Path, out: Path, num_steps: int) -> StageOptions:
    return StageOptions(
        data=data,
        out=out,
        scale=Scale.CPU,
        budget=Budget(num_steps=num_steps),
        device=torch.device("cpu"),
    )
