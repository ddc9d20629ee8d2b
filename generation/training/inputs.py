"""Trained parts of the kit that the stages above the autoencoder are built on."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from generation.training.stock import move


@dataclass(frozen=True, kw_only=True, slots=True)
class KitSources:
    """Trained parts of the kit that the UNet is built on.

    Attributes:
        clip: folder of the kit's CLIP.
        duet: its trained duet composer.
        vae: folder of its autoencoder.
    """

    clip: Path
    duet: Path
    vae: Path


def load_autoencoder(folder: Path, device: torch.device) -> AutoencoderKL:
    """Load a trained autoencoder in fp32, frozen."""
    vae = AutoencoderKL.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    move(vae.eval().requires_grad_(False), torch.float32)
    move(vae, device)
    return vae


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the trained parts."""
    texts = {
        "clip": "folder of the kit's CLIP",
        "duet": "the trained duet.safetensors",
        "vae": "folder of the autoencoder; default: <out>/autoencoder/vae",
    }
    for name, text in texts.items():
        parser.add_argument(f"--{name}", type=Path, required=name != "vae", help=text)


def read_sources(args: argparse.Namespace) -> KitSources:
    """Turn parsed arguments into sources."""
    return KitSources(
        clip=args.clip, duet=args.duet, vae=args.vae or args.out / "autoencoder" / "vae"
    )
