"""LoRAs with the names that public files have."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.replicas.checkpoints import ldm_unet_name

LCM_SD15, LCM_SDXL = "latent-consistency/lcm-lora-sdv1-5", "latent-consistency/lcm-lora-sdxl"
HYPER, LIGHTNING = "ByteDance/Hyper-SD", "ByteDance/SDXL-Lightning"

_BLOCKS = ("down_blocks", "mid_block", "up_blocks")
_TEXT = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")

Factors = tuple[torch.Tensor, torch.Tensor]


def unet_factors(unet: Any, *, rank: int = 2, seed: int = 0) -> dict[str, Factors]:
    """Both factors of each layer in a UNet's blocks, in half precision, by diffusers' names."""
    torch.manual_seed(seed)
    factors: dict[str, Factors] = {}
    for name, module in unet.named_modules():
        if not name.startswith(_BLOCKS):
            continue
        if isinstance(module, torch.nn.Linear):
            up, down = (module.out_features, rank), (rank, module.in_features)
        elif isinstance(module, torch.nn.Conv2d):
            up = (module.out_channels, rank, 1, 1)
            down = (rank, module.in_channels, *module.kernel_size)
        else:
            continue
        factors[name] = (0.2 * torch.randn(down)).half(), (0.2 * torch.randn(up)).half()
    return factors


def text_factors(encoder: Any, *, rank: int = 2, seed: int = 1) -> dict[str, Factors]:
    """Both factors of each layer of a CLIP text model, by the names that public files have."""
    torch.manual_seed(seed)
    factors: dict[str, Factors] = {}
    for name, module in encoder.named_modules():
        if name.endswith(_TEXT):
            down, up = torch.randn(rank, module.in_features), torch.randn(module.out_features, rank)
            named = "text_model." + name.removeprefix("text_model.")
            factors[named] = (0.2 * down).half(), (0.2 * up).half()
    return factors


def write_lora(file: Path, unet: Any, *, rank: int = 2, seed: int = 0) -> Path:
    """A LoRA with kohya's names over attention, feed-forward, convolutions and projections."""
    return write_kohya(file, unet_factors(unet, rank=rank, seed=seed), alpha=lambda _: rank)


def write_kohya(
    file: Path,
    unet: dict[str, Factors],
    *texts: dict[str, Factors],
    alpha: Any = lambda index: index % 3 + 1,
) -> Path:
    """A LoRA as kohya's trainer saves it, with an alpha for each layer.

    Args:
        file: where to.
        unet: factors of the UNet's layers.
        texts: factors of text encoders; of two, as for SDXL, the names have a number.
        alpha: the alpha of a layer by its number in the file.
    """
    numbered = [""] if len(texts) == 1 else [str(i + 1) for i in range(len(texts))]
    parts = [("lora_unet", unet)]
    parts += [(f"lora_te{number}", text) for number, text in zip(numbered, texts, strict=True)]
    layers = {
        f"{prefix}_{name.replace('.', '_')}": factors
        for prefix, part in parts
        for name, factors in part.items()
    }
    state: dict[str, torch.Tensor] = {}
    for index, (stem, (down, up)) in enumerate(layers.items()):
        state[f"{stem}.lora_down.weight"], state[f"{stem}.lora_up.weight"] = down, up
        state[f"{stem}.alpha"] = torch.tensor(float(alpha(index))).half()
    return _save(file, state, {"ss_network_module": "networks.lora"})


def write_sgm(file: Path, unet: dict[str, Factors], *, num_layers: int = 1) -> Path:
    """A LoRA for SDXL as kohya's trainer saves it: with the names of the first code of SDXL."""
    named = {
        ldm_unet_name(f"{name}.weight", num_layers, is_sdxl=True).removesuffix(".weight"): factors
        for name, factors in unet.items()
    }
    return write_kohya(file, named)


def write_diffusers(
    file: Path,
    unet: dict[str, Factors],
    text: dict[str, Factors],
    *,
    alpha: float | None = None,
    part: str = "unet",
) -> Path:
    """A LoRA as diffusers saves it: peft's names, and its settings in the metadata if given."""
    state: dict[str, torch.Tensor] = {}
    for prefix, factors in ((part, unet), ("text_encoder", text)):
        for name, (down, up) in factors.items():
            state[f"{prefix}.{name}.lora_A.weight"] = down
            state[f"{prefix}.{name}.lora_B.weight"] = up
    settings = {"unet.r": 2, "unet.lora_alpha": alpha}
    settings |= {"text_encoder.r": 2, "text_encoder.lora_alpha": alpha}
    metadata = {} if alpha is None else {"lora_adapter_metadata": json.dumps(settings)}
    return _save(file, state, metadata)


def write_old_diffusers(file: Path, unet: dict[str, Factors], prefix: str = "unet.") -> Path:
    """A LoRA as the first trainers of diffusers saved it: attention processors alone."""
    state: dict[str, torch.Tensor] = {}
    for name, (down, up) in unet.items():
        head, _, layer = name.rpartition(".attn")
        number, _, projection = layer.partition(".")
        if not head:
            continue
        projection = projection.removesuffix(".0")
        stem = f"{prefix}{head}.attn{number}.processor.{projection}_lora"
        state[f"{stem}.down.weight"], state[f"{stem}.up.weight"] = down, up
    return _save(file, state, {})


def _save(file: Path, state: dict[str, torch.Tensor], metadata: dict[str, str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: one.contiguous() for name, one in state.items()}, file, metadata=metadata)
    return file
