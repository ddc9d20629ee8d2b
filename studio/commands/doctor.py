"""`duet doctor`."""

import platform
from importlib import metadata

import torch

from composer.hardware import Memory, memory_of
from studio.commands.options import DoctorOptions
from studio.commands.shared import open_engine, print_json, print_line

_GIB = 1 << 30
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
    report = {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "device": engine.device,
        "precision": str(engine.dtype).removeprefix("torch."),
        "memory": _describe_memory(memory_of(torch.device(engine.device))),
        "threads": torch.get_num_threads(),
        "kit": engine.kit.name,
        "draws": engine.kit.pipeline is not None,
        "composers": ", ".join(engine.kit.search_tower.composers),
        "gallery_hash": engine.search_backbone.gallery_hash,
        "text_hash": engine.backbone.text_hash,
        "weights licence": engine.kit.licence,
    }
    if options.json:
        print_json(report)
    else:
        for name, value in report.items():
            print_line(f"{name:16} {value}")
    return 0


def _describe_memory(memory: Memory) -> str:
    if memory.total_bytes is None or memory.free_bytes is None:
        return "not reported by this system"
    return f"{memory.free_bytes / _GIB:.1f} of {memory.total_bytes / _GIB:.1f} GiB free"
