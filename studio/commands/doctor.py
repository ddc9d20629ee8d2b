"""`duet doctor`."""

import platform
from importlib import metadata

import torch

from studio.commands.options import DoctorOptions
from studio.commands.shared import open_engine, print_json, print_line

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


def run(options: DoctorOptions) -> int:
    """Load the kit and print versions, hashes and licence."""
    engine = open_engine(options.kit)
    backbone = engine.backbone
    report = {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "device": options.kit.device,
        "threads": torch.get_num_threads(),
        "kit": engine.kit.name,
        "draws": engine.kit.pipeline is not None,
        "composers": ", ".join(engine.kit.composers),
        "gallery_hash": backbone.gallery_hash,
        "text_hash": backbone.text_hash,
        "weights licence": engine.kit.licence,
    }
    if options.json:
        print_json(report)
    else:
        for name, value in report.items():
            print_line(f"{name:16} {value}")
    return 0
