"""Training state on disk: tensors as safetensors, counters as JSON, replaced together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from composer.files import atomic_folder, recover_folder

TENSORS = "state.safetensors"
COUNTERS = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """Everything a run needs to continue as if it had never stopped."""

    tensors: dict[str, Tensor]
    counters: dict[str, Any]


def save_state(folder: Path, state: TrainingState) -> None:
    """Replace the state; a kill leaves the old or the new one."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    with atomic_folder(folder) as unfinished:
        save_file(tensors, unfinished / TENSORS)
        (unfinished / COUNTERS).write_text(json.dumps(state.counters))


def load_state(folder: Path) -> TrainingState | None:
    """Read the state, also where its replacement was interrupted; None where there is none."""
    recover_folder(folder)
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
    """Load what `optimizer_tensors` returned."""
    by_name = {name: parameter for parameter, name in names.items()}
    # A fused optimizer counts where the parameters are, others on the CPU.
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    for full_name, tensor in tensors.items():
        if full_name.startswith("optimizer."):
            name, key = full_name.removeprefix("optimizer.").rsplit(".", 1)
            parameter = by_name[name]
            is_count = key == "step"
            device = tensor.device if is_count and not is_fused else parameter.device
            like = tensor if is_count else parameter
            kept = torch.empty_like(like, device=device, requires_grad=False)
            optimizer.state[parameter][key] = kept.copy_(tensor)
