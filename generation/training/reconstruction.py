"""How well autoencoders bring pictures back: figures and a sheet, of several in one run."""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.data.catalogue import PHOTO, CataloguePack, PackError
from composer.training.loop import fast_precision
from generation.quality import edge_ratios
from generation.training.command import Pixels, contact_sheet, log, to_levels
from generation.training.inputs import load_autoencoder
from generation.training.stock import decode, encode_mean

_BATCH = 4
_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """The quality of reconstructed pictures.

    Attributes:
        psnr_db: PSNR over all pixels and pictures.
        edge_ratio: Power of the edges (squared Laplacian of the grey levels) over that of the
            originals. It shows blur, which PSNR hides.
        edge_ratio_half: The same after both are halved in size, where noise counts less.
        chroma_r2: Share of the colour differences' variance that is kept; 1 is all of it. It
            shows lost colour, which PSNR hides as well.
    """

    psnr_db: float
    edge_ratio: float
    edge_ratio_half: float
    chroma_r2: float

    def __str__(self) -> str:
        """Give the figures in one line."""
        return (
            f"PSNR {self.psnr_db:.2f} dB, edges {self.edge_ratio:.2f} "
            f"(half size {self.edge_ratio_half:.2f}), chroma R2 {self.chroma_r2:.3f}"
        )


def measure_reconstruction(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> Reconstruction:
    """Reconstruct pictures and compare."""
    return compare(restore(vae, images), images)


def compare(restored: Float[Tensor, "n 3 h w"], images: Float[Tensor, "n 3 h w"]) -> Reconstruction:
    """Compare reconstructions with their originals, RGB in [-1, 1]."""
    error = (restored - images).square().mean() / 4  # levels span 2
    restored_chroma, chroma = chroma_of(restored), chroma_of(images)
    spread = (chroma - chroma.mean((0, 2, 3), keepdim=True)).square().sum()
    lost = (restored_chroma - chroma).square().sum()
    edge_ratio, edge_ratio_half = edge_ratios(restored, images)
    return Reconstruction(
        psnr_db=float(-10 * torch.log10(error)),
        edge_ratio=edge_ratio,
        edge_ratio_half=edge_ratio_half,
        chroma_r2=float(1 - lost / spread),
    )


@torch.no_grad()
def restore(vae: AutoencoderKL, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Encode pictures without noise and decode them, clipped to displayable levels."""
    parts: list[Tensor] = []
    for part in images.split(_BATCH):
        parts.append(functional.hardtanh(decode(vae, encode_mean(vae, part)).float()))
    return torch.cat(parts)


def chroma_of(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2 h w"]:
    """Return Cb and Cr of linear RGB differences or levels, with BT.601 weights."""
    weights = images.new_tensor([[-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    return torch.einsum("kc,nchw->nkhw", weights, images)


def reconstruction_sheet(
    images: Float[Tensor, "n 3 h w"], *restored: Float[Tensor, "n 3 h w"]
) -> Image.Image:
    """Show pictures at 100 %, below each what comes back: a row for each set."""
    return contact_sheet(to_levels(torch.cat([images, *restored])), len(images))


def held_out_pictures(pack: CataloguePack, count: int, size_px: int) -> Float[Tensor, "n 3 h w"]:
    """Return photos of validation designs, evenly spread over all of them.

    Raises:
        PackError: The pack has none.
    """
    rows = pack.rows(split="validation", domain=PHOTO)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
    return Pixels(pack, chosen, torch.device("cpu"), size_px).take(torch.arange(len(chosen)))


def read_pictures(folder: Path, count: int) -> Float[Tensor, "n 3 h w"]:
    """Read pictures of one size from a folder, evenly spread over its sorted files.

    Raises:
        PackError: There is none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".webp"))
    if not paths:
        raise PackError(f"{folder} holds no .png or .webp picture.")
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), count)).astype(int)]
    levels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in chosen])
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1


def decoder_ms(vae: AutoencoderKL, size_px: int, num_calls: int = 5) -> float:
    """Return the milliseconds that decoding one picture takes, after one call to warm up."""
    latents = torch.zeros(1, 4, size_px // 8, size_px // 8)
    uses_bf16 = fast_precision(torch.device("cpu")) == "bf16"
    started = time.perf_counter()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=uses_bf16):
        for call in range(num_calls + 1):
            if call == 1:
                started = time.perf_counter()
            decode(vae, latents)
    return 1e3 * (time.perf_counter() - started) / num_calls


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vae", type=Path, nargs="+", help="folders of autoencoders")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a training pack: photos of validation designs")
    source.add_argument("--pictures", type=Path, help="a folder of .png and .webp pictures")
    parser.add_argument("--count", type=int, default=96, help="number of pictures")
    parser.add_argument("--sheet", type=Path, help="where to put a sheet at 100 %%")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        images = _pictures(options)
    except PackError as error:
        log(str(error))
        return 2
    # Not every n-th: the kinds take turns.
    shown = images[torch.linspace(0, len(images) - 1, min(_SHOWN, len(images))).long()]
    rows: list[Tensor] = []
    for folder in options.vae:
        vae = load_autoencoder(folder, torch.device("cpu"))
        figures = {"vae": str(folder), "num_pictures": len(images)}
        figures |= asdict(measure_reconstruction(vae, images))
        figures |= {"decoder_ms": decoder_ms(vae, images.shape[-1])}
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()
        rows.append(restore(vae, shown))
    if options.sheet:
        reconstruction_sheet(shown, *rows).save(options.sheet)
    return 0


def _pictures(options: argparse.Namespace) -> Tensor:
    if options.pictures:
        return read_pictures(options.pictures, options.count)
    pack = CataloguePack.open(options.data)
    return held_out_pictures(pack, options.count, pack.image_px)


if __name__ == "__main__":
    sys.exit(main())
