"""Typed calls of stock diffusers models, whose type hints are wrong."""

from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn


def encode_mean(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c y x"]:
    """Return the mean latents of RGB pictures in [-1, 1], without `scaling_factor`."""
    output: Any = vae.encode(images)  # pyright: ignore[reportArgumentType]
    return output.latent_dist.mode()


def decode(vae: AutoencoderKL, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 3 h w"]:
    """Return RGB pictures, about [-1, 1] and not clipped."""
    output: Any = vae.decode(latents)  # pyright: ignore[reportArgumentType]
    return output.sample


def add_weights(digest: Any, model: nn.Module) -> None:  # noqa: ANN401  of hashlib
    """Add names and values of all weights to a hash, whatever device and dtype they have."""
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())


def move(model: nn.Module, target: torch.device | torch.dtype) -> None:
    """Move a model in place."""
    nn.Module.to(model, target)  # type: ignore[call-overload]
