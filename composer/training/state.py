"""Training state on disk: tensors as safetensors, counters as JSON, replaced as one."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS = "state.safetensors"
COUNTERS = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """All that a run needs to go on as if it had never stopped."""

    tensors: dict[str, Tensor]
    counters: dict[str, Any]


def save_state(folder: Path, state: TrainingState) -> None:
    """Write the state beside the old one, then swap; a kill leaves the old or the new."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    save_file(tensors, fresh / TENSORS)
    (fresh / COUNTERS).write_text(json.dumps(state.counters))
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path) -> TrainingState | None:
    """Read the state, or the one that was being replaced when the run was killed; None if none."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.replace(folder)
    if not (folder / COUNTERS).exists():
        return None
    return TrainingState(
        tensors=load_file(folder / TENSORS),
        counters=json.loads((folder / COUNTERS).read_text()),
    )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]
) -> dict[str, Tensor]:
    """Flatten an optimizer's per-parameter state to `optimizer.<parameter>.<key>`."""
    return {
        f"optimizer.{names[parameter]}.{key}": torch.as_tensor(value)
        for parameter, slots in optimizer.state.items()
        for key, value in slots.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` took out."""
    by_name = {name: parameter for parameter, name in names.items()}
    for full_name, tensor in tensors.items():
        if full_name.startswith("optimizer."):
            name, key = full_name.removeprefix("optimizer.").rsplit(".", 1)
            parameter = by_name[name]
            like = tensor if key == "step" else parameter
            kept = torch.empty_like(like, requires_grad=False)
            optimizer.state[parameter][key] = kept.copy_(tensor)
