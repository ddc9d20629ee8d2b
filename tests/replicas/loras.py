"""LoRAs with the names that public files have."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

LCM_SD15, LCM_SDXL = "latent-consistency/lcm-lora-sdv1-5", "latent-consistency/lcm-lora-sdxl"
HYPER, LIGHTNING = "ByteDance/Hyper-SD", "ByteDance/SDXL-Lightning"


def write_lora(file: Path, unet: Any, *, rank: int = 2, seed: int = 0) -> Path:
    """A LoRA with kohya's names over attention, feed-forward, convolutions and projections."""
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if not name.startswith(("down_blocks", "mid_block", "up_blocks")):
            continue
        stem = "lora_unet_" + name.replace(".", "_")
        if isinstance(module, torch.nn.Linear):
            state[f"{stem}.lora_down.weight"] = 0.2 * torch.randn(rank, module.in_features)
            state[f"{stem}.lora_up.weight"] = 0.2 * torch.randn(module.out_features, rank)
        elif isinstance(module, torch.nn.Conv2d):
            size = module.kernel_size
            down = 0.2 * torch.randn(rank, module.in_channels, *size)
            state[f"{stem}.lora_down.weight"] = down
            state[f"{stem}.lora_up.weight"] = 0.2 * torch.randn(module.out_channels, rank, 1, 1)
        else:
            continue
        state[f"{stem}.alpha"] = torch.tensor(float(rank))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half() for name, tensor in state.items()}, file)
    return file
