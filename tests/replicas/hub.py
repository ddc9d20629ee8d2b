"""Every repository that the shipped kits name."""

from pathlib import Path

from tests.replicas.adapters import IP_ADAPTER, write_ip_adapter
from tests.replicas.clips import CLIP_B32, CLIP_L14, write_clip_b32, write_clip_l14
from tests.replicas.layout import Repository, read_folder
from tests.replicas.loras import HYPER, LCM_SD15, LCM_SDXL, LIGHTNING, write_lora
from tests.replicas.pipelines import (
    SD15,
    SD15_CONTROLS,
    SD15_SCRIBBLE,
    SDXL,
    SDXL_SCRIBBLE,
    SDXL_SKETCH_ADAPTER,
    SDXL_TURBO,
    SDXL_UNION,
    make_sd_unet,
    make_sdxl_unet,
    write_sd15,
    write_sd15_scribble,
    write_sdxl,
    write_sdxl_scribble,
    write_sdxl_sketch_adapter,
    write_sdxl_union,
)
from tests.replicas.sd35 import SD35, SD35_CANNY, write_sd35, write_sd35_canny


def write_all(folder: Path) -> dict[str, Repository]:
    """Every repository that the shipped kits name, as a hub serves them."""
    clip = write_clip_l14(folder / "l14")
    write_clip_b32(folder / "b32")
    write_sd15(folder / "sd15", clip)
    write_sd15_scribble(folder / "sd15-scribble")
    write_sdxl(folder / "sdxl", clip)
    write_sdxl(folder / "turbo", clip, is_turbo=True)
    write_sdxl_scribble(folder / "sdxl-scribble")
    for seed, name in enumerate(SD15_CONTROLS, start=1):
        write_sd15_scribble(folder / f"sd15-{name}", seed=seed)
    write_sdxl_union(folder / "sdxl-union")
    write_sd35(folder / "sd35", clip)
    write_sd35_canny(folder / "sd35-canny")
    write_ip_adapter(folder / "ip-adapter")
    write_sdxl_sketch_adapter(folder / "sdxl-sketch-adapter")
    sd, xl = make_sd_unet(), make_sdxl_unet(8)
    plain = "pytorch_lora_weights.safetensors"
    write_lora(folder / "lcm" / plain, sd)
    write_lora(folder / "lcm-xl" / plain, xl)
    write_lora(folder / "hyper" / "Hyper-SD15-4steps-lora.safetensors", sd)
    write_lora(folder / "hyper" / "Hyper-SDXL-4steps-lora.safetensors", xl)
    write_lora(folder / "lightning" / "sdxl_lightning_4step_lora.safetensors", xl)
    named = {
        CLIP_L14: "l14", CLIP_B32: "b32", SD15: "sd15", SD15_SCRIBBLE: "sd15-scribble",
        SDXL: "sdxl", SDXL_TURBO: "turbo", SDXL_SCRIBBLE: "sdxl-scribble", LCM_SD15: "lcm",
        LCM_SDXL: "lcm-xl", HYPER: "hyper", LIGHTNING: "lightning", SD35: "sd35",
        SD35_CANNY: "sd35-canny", SDXL_UNION: "sdxl-union", IP_ADAPTER: "ip-adapter",
        SDXL_SKETCH_ADAPTER: "sdxl-sketch-adapter",
        **{repository: f"sd15-{name}" for name, repository in SD15_CONTROLS.items()},
    }  # fmt: skip
    return {repository: read_folder(folder / name) for repository, name in named.items()}
