"""Frozen inputs of the stages above the autoencoder: CLIP, tokens, latents of the pack."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.strategies.duet import DuetComposer
from generation.training.command import StageOptions, log
from generation.training.conditions import Conditioner, Shares, collect_tokens, usable_rows
from generation.training.latents import cached_latents
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingInputs:
    """Frozen inputs of a stage above the autoencoder.

    Attributes:
        pack: the training pack.
        rows: rows of the pictures used.
        vae: the autoencoder.
        backbone: the kit's CLIP.
        conditioner: draws and encodes conditions of the train split.
        latents: latents of `rows`.
    """

    pack: CataloguePack
    rows: Int[np.ndarray, " n"]
    vae: AutoencoderKL
    backbone: Backbone
    conditioner: Conditioner
    latents: Float[Tensor, "n 4 h w"]


def prepare(options: StageOptions, sources: KitSources, shares: Shares) -> TrainingInputs:
    """Load the trained parts, cache latents and tokens.

    Raises:
        PackError: the pack cannot be read.
        BackboneError: the CLIP cannot be loaded.
        ComposerError: the composer does not fit the CLIP.
    """
    pack = CataloguePack.open(options.data)
    rows = usable_rows(pack, "train")
    backbone = Backbone.load(sources.clip, device=options.device)
    log("tokens of the drawings")
    tokens = collect_tokens(DuetComposer.load(sources.duet, backbone), pack, "train")
    vae = load_autoencoder(sources.vae, options.device)
    path = options.out / "latents.safetensors"
    return TrainingInputs(
        pack=pack,
        rows=rows,
        vae=vae,
        backbone=backbone,
        conditioner=Conditioner(backbone, pack, tokens, shares),
        latents=cached_latents(path, vae, pack, rows, options.device),
    )


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
