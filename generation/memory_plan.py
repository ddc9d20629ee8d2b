"""Plans for the memory of a card: which models stay on it, and how much that takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import torch

from composer.hardware import memory_of
from composer.peak_memory import used_bytes
from generation.families import DENOISER, Family
from generation.model_files import (
    CONTROL_NETWORK,
    PipelineSource,
    control_parameter_count,
    family_of,
    image_encoder_parameter_count,
    parameter_counts,
)
from generation.style_files import check_style_files, num_weights_of

GIB: Final = 1 << 30
# Peak of the tensors alive in a step with control network, in maps of the first width at the size
# of the latents, per image of the guidance batch; traced without memory at full size, where it is
# the same for every batch, size and precision. SD 3.5's transformer is not traced: the larger.
_STEP_MAPS: Final[Mapping[Family, float]] = {
    Family.SD: 33.25,
    Family.SDXL: 21.54,
    Family.SD3: 33.25,
}
# The same of the decoder, in maps of its first width at the size of the image.
_DECODE_MAPS: Final = 6.0
# Workspaces of convolutions and fragmentation: a share, and a constant.
_LARGE_BYTES: Final = 1_000_000_000
_SLACK: Final = 1.1
_RESERVE_BYTES: Final = 400_000_000
_LARGEST_LAYER_SHARE: Final = 0.02  # of a denoiser, generously, as one layer at a time is loaded


class Offload(StrEnum):
    """What leaves the card while it is not at work; `AUTO` takes the first that fits."""

    AUTO = "auto"
    NONE = "none"
    MODEL = "model"
    SEQUENTIAL = "sequential"


class MemoryPlanError(ValueError):
    """There is too little memory for a kit, whatever leaves the card."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Bytes of a kit's models, and of what they compute with, for one image of the native size.

    Attributes:
        text_bytes: all text encoders.
        step_models_bytes: denoiser and the largest control network.
        denoiser_bytes: the denoiser alone.
        decoder_bytes: autoencoder.
        step_bytes: tensors alive in a step of both halves of guidance.
        decode_bytes: tensors alive while an image is decoded.
        tile_bytes: the same for one tile.
        idle_bytes: all further control networks; one works at a time, and those that were opened
            stay.
        style_bytes: the layers of an IP-Adapter, which work in steps.
        style_encoder_bytes: its image encoder, which is on the card only while it reads a picture.
    """

    text_bytes: int
    step_models_bytes: int
    denoiser_bytes: int
    decoder_bytes: int
    step_bytes: int
    decode_bytes: int
    tile_bytes: int
    idle_bytes: int = 0
    style_bytes: int = 0
    style_encoder_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """A way to draw with a card.

    Attributes:
        offload: what leaves the card.
        tiles: whether images are decoded in tiles of half the native side.
        has_text_on_card: whether text is encoded on the card.
        peak_bytes: computed need.
    """

    offload: Offload
    tiles: bool
    has_text_on_card: bool
    peak_bytes: int


def footprint(source: PipelineSource, dtype: torch.dtype) -> Footprint:
    """Compute the footprint of a pipeline from its configs; no weights are opened.

    Raises:
        PipelineError: a config is missing or damaged.
        StyleError: the IP-Adapter is for another model, or lacks its image encoder.
    """
    family = family_of(source.folder)
    further = [
        control_parameter_count(family, one) for one in dict.fromkeys(source.further_controls)
    ]
    denoiser = _config(source.folder / DENOISER[family])
    style, vision = 0, 0
    if source.style is not None:
        check_style_files(source.style, denoiser)
        style = num_weights_of(source.style)
        vision = image_encoder_parameter_count(source.style.image_encoder)
    shapes = PipelineShapes(
        family=family,
        counts=parameter_counts(source.folder, source.controlnet),
        denoiser=denoiser,
        vae=_config(source.folder / "vae"),
        further_control_counts=further,
        style_count=style,
        style_encoder_count=vision,
    )
    return footprint_of(shapes, dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineShapes:
    """What decides the footprint of a pipeline.

    Attributes:
        family: what its models are.
        counts: number of weights of each model, by name.
        denoiser: its config.
        vae: config of the autoencoder.
        further_control_counts: numbers of weights of control networks beside the default one.
        style_count: number of weights of the IP-Adapter.
        style_encoder_count: number of weights of its image encoder.
    """

    family: Family
    counts: Mapping[str, int]
    denoiser: Mapping[str, Any]
    vae: Mapping[str, Any]
    further_control_counts: Sequence[int] = ()
    style_count: int = 0
    style_encoder_count: int = 0


def footprint_of(shapes: PipelineShapes, dtype: torch.dtype) -> Footprint:
    """Compute the footprint of a pipeline from the numbers of its weights and two configs."""
    family, counts, denoiser, vae = shapes.family, shapes.counts, shapes.denoiser, shapes.vae
    item_bytes = torch.finfo(dtype).bits // 8
    # The autoencoder of SDXL overflows in fp16 and is run in fp32 then.
    is_upcast = dtype is torch.float16 and vae.get("force_upcast", True) and family is Family.SDXL
    vae_bytes = 4 if is_upcast else item_bytes
    latent_px = int(denoiser["sample_size"])
    side_px = latent_px * 2 ** (len(vae["block_out_channels"]) - 1)
    first, width = _first_width(denoiser), int(vae["block_out_channels"][0])
    decode_bytes = _DECODE_MAPS * width * vae_bytes
    controls = (counts.get(CONTROL_NETWORK, 0), *shapes.further_control_counts)
    text = sum(count for name, count in counts.items() if name.startswith("text_encoder"))
    return Footprint(
        text_bytes=text * item_bytes,
        step_models_bytes=(counts[DENOISER[family]] + max(controls)) * item_bytes,
        denoiser_bytes=counts[DENOISER[family]] * item_bytes,
        decoder_bytes=counts["vae"] * vae_bytes,
        step_bytes=int(_STEP_MAPS[family] * 2 * first * latent_px**2 * item_bytes),
        decode_bytes=int(decode_bytes * side_px**2),
        tile_bytes=int(decode_bytes * min(side_px, int(vae["sample_size"]) // 2) ** 2),
        idle_bytes=(sum(controls) - max(controls)) * item_bytes,
        style_bytes=shapes.style_count * item_bytes,
        style_encoder_bytes=shapes.style_encoder_count * item_bytes,
    )


def plan_for(
    source: PipelineSource, device: torch.device, dtype: torch.dtype, wanted: Offload
) -> MemoryPlan | None:
    """Return the plan of a pipeline on a device; None where all simply stays there.

    Raises:
        MemoryPlanError: there is too little memory, or nothing to offload from.
        PipelineError: a config is missing or damaged.
        StyleError: the IP-Adapter is for another model, or lacks its image encoder.
    """
    if device.type != "cuda" and wanted in (Offload.MODEL, Offload.SEQUENTIAL):
        raise MemoryPlanError(
            f"--offload {wanted} moves models away from a GPU, and this kit draws on "
            f"{device.type}. Leave it out."
        )
    available = available_bytes(device)
    if available is None or (device.type != "cuda" and _weights_bytes(source) < _LARGE_BYTES):
        return None
    need = footprint(source, dtype)
    return choose_plan(need, available, wanted, is_card=device.type == "cuda")


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that a pipeline may fill; None where the system does not report it.

    That is what is free on a card. Of main memory it is all that this process, with its CLIP, does
    not use, since the system makes room there.
    """
    memory = memory_of(device)
    if device.type == "cuda" or memory.total_bytes is None:
        return memory.free_bytes
    return max(0, memory.total_bytes - used_bytes(device))


def plans(need: Footprint) -> tuple[MemoryPlan, ...]:
    """Return all plans, the fastest first, each smaller than the one before."""
    entries: list[MemoryPlan] = []
    for offload in (Offload.NONE, Offload.MODEL, Offload.SEQUENTIAL):
        for tiles in (False, True):
            plan = _plan(need, offload, tiles=tiles)
            if not entries or plan.peak_bytes < entries[-1].peak_bytes:
                entries.append(plan)
    return tuple(entries)


def choose_plan(
    need: Footprint, free_bytes: int, wanted: Offload = Offload.AUTO, *, is_card: bool = True
) -> MemoryPlan:
    """Return the fastest plan that fits.

    Args:
        need: of the kit.
        free_bytes: of the device.
        wanted: the plans to choose from.
        is_card: whether models can leave the device for main memory.

    Raises:
        MemoryPlanError: none fits; the message says what to do.
    """
    wanted = wanted if is_card else Offload.NONE
    entries = [plan for plan in plans(need) if wanted in (Offload.AUTO, plan.offload)]
    for plan in entries:
        if plan.peak_bytes <= free_bytes:
            return plan
    least = entries[-1]
    advice = "draw with another device or a smaller kit"
    if is_card and wanted in (Offload.NONE, Offload.MODEL):
        advice = f"let it choose with --offload auto, or {advice}"
    raise MemoryPlanError(
        f"This kit needs {gigabytes(least.peak_bytes)} of memory on the device to draw, of which "
        f"{gigabytes(free_bytes)} are free: close other programs, {advice}."
    )


def gigabytes(count: int) -> str:
    """Return bytes in words."""
    return f"{count / GIB:.1f} GiB"


def _plan(need: Footprint, offload: Offload, *, tiles: bool) -> MemoryPlan:
    decode = need.tile_bytes if tiles else need.decode_bytes
    layers = int(_LARGEST_LAYER_SHARE * need.denoiser_bytes)
    step_models = need.step_models_bytes + need.style_bytes
    # Layer by layer, the image encoder of an IP-Adapter is not used.
    resident, stages = {
        Offload.NONE: (
            need.text_bytes + step_models + need.idle_bytes + need.decoder_bytes,
            (need.step_bytes, decode, need.style_encoder_bytes),
        ),
        Offload.MODEL: (
            0,
            (
                step_models + need.step_bytes,
                need.decoder_bytes + decode,
                need.style_encoder_bytes,
            ),
        ),
        Offload.SEQUENTIAL: (0, (layers + need.step_bytes, layers + decode)),
    }[offload]
    has_text = offload is Offload.NONE or need.text_bytes <= max(stages)
    return MemoryPlan(
        offload=offload,
        tiles=tiles,
        has_text_on_card=has_text,
        peak_bytes=int(_SLACK * (resident + max(stages))) + _RESERVE_BYTES,
    )


def _weights_bytes(source: PipelineSource) -> int:
    named = (source.folder, source.controlnet, *source.further_controls)
    folders = {one for one in named if one is not None}
    if source.random_around is not None:
        return _LARGE_BYTES
    files = (file for folder in folders for file in folder.rglob("*.safetensors"))
    return sum(file.stat().st_size for file in files)


def _config(folder: Path) -> Mapping[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _first_width(denoiser: Mapping[str, Any]) -> int:
    if "block_out_channels" in denoiser:
        return int(denoiser["block_out_channels"][0])
    return int(denoiser["num_attention_heads"]) * int(denoiser["attention_head_dim"])
