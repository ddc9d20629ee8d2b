"""Single-file checkpoints, with the names of the first Stable Diffusion code."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.replicas.pipelines import make_sd_unet, make_vae

_LDM_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_LDM_TOP = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def ldm_unet_name(name: str, num_layers: int, *, is_sdxl: bool = False) -> str:
    """The name that single-file checkpoints have for a weight of a UNet."""
    for ours, theirs in _LDM_TOP.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    parts = name.split(".")
    if parts[0] == "mid_block":
        index = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}[".".join(parts[1:3])]
        head, rest = f"middle_block.{index}", parts[3:]
    else:
        block, kind, item = int(parts[1]), parts[2], int(parts[3])
        rest = parts[4:]
        if parts[0] == "down_blocks":
            first = 1 + block * (num_layers + 1)
            place = {"resnets": (item, 0), "attentions": (item, 1)}.get(kind, (num_layers, 0))
            head = f"input_blocks.{first + place[0]}.{place[1]}"
            rest = ["op", *rest[1:]] if kind == "downsamplers" else rest
        else:
            first = block * (num_layers + 1)
            # The first block of SD 1.x has no attention.
            last = (num_layers, 1 if block == 0 and not is_sdxl else 2)
            place = {"resnets": (item, 0), "attentions": (item, 1)}.get(kind, last)
            head = f"output_blocks.{first + place[0]}.{place[1]}"
    if rest[0] in _LDM_RESNET:
        rest = [_LDM_RESNET[rest[0]], *rest[1:]]
    return ".".join([head, *rest])


def _ldm_vae_name(name: str, num_blocks: int) -> str:
    """The name that single-file checkpoints have for a weight of an autoencoder."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for side in ("encoder", "decoder"):
        name = name.replace(f"{side}.mid_block.resnets.0", f"{side}.mid.block_1")
        name = name.replace(f"{side}.mid_block.resnets.1", f"{side}.mid.block_2")
        name = name.replace(f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1")
    for ours, theirs in (
        ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):  # fmt: skip
        if "attn_1" in name:
            name = name.replace(f".{ours}.", f".{theirs}.")
    for block in range(num_blocks):
        down, up = f"encoder.down_blocks.{block}.", f"decoder.up_blocks.{block}."
        if name.startswith(down):
            rest = name.removeprefix(down).replace("resnets", "block")
            return f"encoder.down.{block}." + rest.replace("downsamplers.0", "downsample")
        if name.startswith(up):
            rest = name.removeprefix(up).replace("resnets", "block")
            rest = rest.replace("upsamplers.0", "upsample")
            return f"decoder.up.{num_blocks - 1 - block}.{rest}"
    return name


def write_checkpoint(file: Path, clip: Path, *, seed: int = 0) -> Path:
    """A single file of the SD 1.x kind, with the names of the first Stable Diffusion code."""
    torch.manual_seed(seed)
    unet, vae = make_sd_unet(), make_vae({})
    state = {
        f"model.diffusion_model.{ldm_unet_name(name, 1)}": tensor
        for name, tensor in unet.state_dict().items()
    }
    for name, tensor in vae.state_dict().items():
        is_projection = ".attentions." in name and "group_norm" not in name and tensor.ndim == 2
        shaped = tensor[:, :, None, None] if is_projection else tensor
        state[f"first_stage_model.{_ldm_vae_name(name, 4)}"] = shaped
    for name, tensor in load_file(clip / "model.safetensors").items():
        if name.startswith("text_model."):
            state[f"cond_stage_model.transformer.{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file
