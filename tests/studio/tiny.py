"""A kit folder with small random weights, and a gallery folder of colour fields."""

from pathlib import Path

import numpy as np
from PIL import Image

from composer.backbone import Backbone
from composer.strategies.duet import DuetModel
from retrieval.indexing.encode import index_folder
from tests.composer.tiny import tiny_backbone, write_clip

KIT_TOML = """
name = "tiny"
licence = "none"
knows = "It knows nothing."

[backbone]
path = "clip"

[composers.duet]
weights = "composers/duet.safetensors"

[composers.slerp]
weights = "composers/duet.safetensors"
alpha = 0.7
"""


def write_kit(folder: Path) -> Path:
    write_clip(folder / "clip")
    (folder / "composers").mkdir()
    DuetModel(tiny_backbone()).save(folder / "composers" / "duet.safetensors")
    (folder / "kit.toml").write_text(KIT_TOML)
    return folder


def write_gallery(folder: Path, *, num_images: int = 6) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(num_images):
        levels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 48)).save(folder / f"{number}.png")
    return folder


def index_gallery(folder: Path, backbone: Backbone) -> Path:
    index_folder(folder, folder / ".duet", backbone, kit="tiny")
    return folder / ".duet"
