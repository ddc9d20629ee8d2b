"""Latents of the pack's pictures, encoded once and cached."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.data.catalogue import CataloguePack
from composer.weights import WeightsError, read_safetensors, write_safetensors
from generation.training.command import Pixels, log
from generation.training.stock import add_weights, encode_mean, move

_BATCH = 32


@torch.no_grad()
def cached_latents(
    path: Path,
    vae: AutoencoderKL,
    pack: CataloguePack,
    rows: Int[np.ndarray, " n"],
    device: torch.device,
    shrink: int = 1,
) -> Float[Tensor, "n 4 h w"]:
    """Return latents of pictures, scaled for the UNet, in fp16, on the device.

    They are read from `path` if it was written for the same autoencoder, pictures and `shrink`,
    the factor by which pictures are reduced before they are encoded.
    """
    key = f"{latents_key(vae, pack, rows)}/{shrink}"
    if path.is_file():
        try:
            weights = read_safetensors(path, {"latents": (len(rows), 4, None, None)})
            if weights.metadata.get("key") == key:
                return weights.tensors["latents"].to(device)
        except WeightsError as error:
            log(f"latents are encoded again: {error}")
    move(vae.eval(), device)
    pixels = Pixels(pack, rows, device)
    parts: list[Tensor] = []
    for part in torch.arange(len(rows)).split(_BATCH):
        small = functional.avg_pool2d(pixels.take(part), shrink)
        latents = encode_mean(vae, small) * vae.config["scaling_factor"]
        parts.append(latents.half().cpu())
        if len(parts) % 50 == 0:
            log(f"latents {len(parts) * _BATCH} of {len(rows)}")
    encoded = torch.cat(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {"latents": encoded}, {"key": key})
    return encoded.to(device)


def latents_key(vae: AutoencoderKL, pack: CataloguePack, rows: Int[np.ndarray, " n"]) -> str:
    """Return what tells latents of other pictures or another autoencoder apart."""
    digest = hashlib.sha256("\n".join(pack.items[row].id for row in rows).encode())
    add_weights(digest, vae)
    return digest.hexdigest()[:16]
