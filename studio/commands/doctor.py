"""`duet doctor`."""

import argparse
import platform
from importlib import metadata

import torch

from studio.commands.shared import open_engine, print_json, say

LIBRARIES = (
    "duet-studio",
    "torch",
    "torchvision",
    "open_clip_torch",
    "diffusers",
    "transformers",
    "lancedb",
    "gradio",
)


def run(arguments: argparse.Namespace) -> int:
    """Load the kit and tell what is there."""
    engine = open_engine(arguments)
    backbone = engine.backbone
    found = {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "kit": engine.kit.name,
        "draws": engine.kit.pipeline is not None,
        "composers": ", ".join(engine.kit.composers),
        "gallery_hash": backbone.gallery_hash,
        "text_hash": backbone.text_hash,
        "weights licence": engine.kit.licence,
    }
    if arguments.json:
        print_json(found)
    else:
        for name, value in found.items():
            say(f"{name:16} {value}")
    return 0
