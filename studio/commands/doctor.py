"""`duet doctor`."""

import platform
from importlib import metadata

import torch

from composer.hardware import Memory, memory_of
from generation.memory_plan import (
    MemoryPlan,
    MemoryPlanError,
    Offload,
    available_bytes,
    choose_plan,
    gigabytes,
    plans,
)
from studio.commands.options import DoctorOptions
from studio.commands.shared import open_engine, print_json, print_line
from studio.random_kit import full_size_footprints

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
    fits = what_fits(torch.device(engine.device), engine.dtype)
    if options.json:
        print_json({**report, "fits": fits})
        return 0
    for name, value in {**report, **{f"fits: {kit}": how for kit, how in fits.items()}}.items():
        print_line(f"{name:20} {value}")
    return 0


def what_fits(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Say of each full kit that draws how it fits into the memory of a device, as computed."""
    available = available_bytes(device)
    if available is None:
        return {}
    is_card = device.type == "cuda"
    answers: dict[str, str] = {}
    for name, need in full_size_footprints(dtype).items():
        try:
            answers[name] = _describe_plan(choose_plan(need, available, is_card=is_card))
        except MemoryPlanError:
            least = plans(need)[-1] if is_card else plans(need)[0]
            answers[name] = f"no: needs {gigabytes(least.peak_bytes)}"
    return answers


def _describe_plan(plan: MemoryPlan) -> str:
    how = {
        Offload.NONE: "yes",
        Offload.MODEL: "yes, its models take turns (--offload model)",
        Offload.SEQUENTIAL: "slowly, layer by layer (--offload sequential)",
    }[plan.offload]
    tiles = ", decoding in tiles" if plan.tiles else ""
    return f"{how}{tiles}; needs {gigabytes(plan.peak_bytes)}"


def _describe_memory(memory: Memory) -> str:
    if memory.total_bytes is None or memory.free_bytes is None:
        return "not reported by this system"
    return f"{memory.free_bytes / _GIB:.1f} of {memory.total_bytes / _GIB:.1f} GiB free"
