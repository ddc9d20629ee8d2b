"""Frozen inputs of a UNet, made once and mapped from disk: latents, states, drawings, studio."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.data.catalogue import CataloguePack
from composer.data.views import NUM_STUDIO
from composer.files import write_text
from generation.control import CONTROL_LINE_SHARE
from generation.training.command import Pixels, draw_indices, log
from generation.training.conditions import Conditioner
from generation.training.loop import step_generator
from generation.training.stock import add_weights, encode_mean, move

_CHUNK = 16  # pictures between counts on disk
_PROGRESS = "progress.json"
_FACTOR = 8  # pixels a latent


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CacheSources:
    """What a cache is made from.

    Attributes:
        pack: A pack with views.
        rows: Its pictures that are cached.
        vae: The autoencoder, frozen.
        conditioner: Draws conditions that are never empty; emptying is the sampler's business.
        size_px: Side of the pictures.
        num_conditions: Conditions drawn for each picture.
        has_mirrored: Whether each picture is followed by its mirror image, with a mirrored drawing
            and words that swap left and right.
        seed: Of these draws.
    """

    pack: CataloguePack
    rows: Int[np.ndarray, " n"]
    vae: AutoencoderKL
    conditioner: Conditioner
    size_px: int = 256
    num_conditions: int = 4
    has_mirrored: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rows) * (2 if self.has_mirrored else 1)

    def key(self) -> str:
        """Return what tells caches of other contents apart; no decoder has a part in them."""
        conditioner = self.conditioner
        parts = [conditioner.backbone.text_hash, json.dumps(asdict(conditioner.shares))]
        parts += [conditioner.tokens.composer_hash, str(self.vae.config["scaling_factor"])]
        parts += [f"{self.size_px} {self.num_conditions} {self.has_mirrored} {self.seed}"]
        parts += [self.pack.items[row].id for row in self.rows]
        digest = hashlib.sha256("\n".join(parts).encode())
        quant_conv = self.vae.quant_conv
        assert quant_conv is not None
        for part in (self.vae.encoder, quant_conv):
            add_weights(digest, part)
        return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drops:
    """How often a condition is left out, each by itself, so that guidance can weigh them apart.

    Attributes:
        words: The states of words and token give way to those of the empty prompt.
        drawing: The drawing gives way to an empty one.
    """

    words: float = 0.1
    drawing: float = 0.2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureBatch:
    """Inputs of a training step.

    Attributes:
        latents: Scaled for the UNet.
        states: Hidden states of the words and the token.
        lines: The drawings that lie on the pictures, 0 or 1, white on black.
        studio: Backdrop and lights, each number with mean 0 and variance 1 over the cache.
        has_words: Which states are not those of the empty prompt.
        has_drawing: Which drawings were kept.
    """

    latents: Float[Tensor, "n 4 y x"]
    states: Float[Tensor, "n l e"]
    lines: Float[Tensor, "n 1 h w"]
    studio: Float[Tensor, "n 9"]
    has_words: Bool[Tensor, " n"]
    has_drawing: Bool[Tensor, " n"]


class PictureCache:
    """A finished cache; a batch reads its own pictures and nothing else.

    Attributes:
        key: Tells caches of other contents apart.
        empty: Hidden states of the empty prompt.
        studio_mean: Of the studios' numbers.
        studio_std: Of the studios' numbers.
    """

    def __init__(self, folder: Path) -> None:
        """Map the arrays of a folder that `build_cache` filled."""
        self.key = str(json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))["key"])
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES}
        self._latents, self._states = arrays["latents"], arrays["states"]
        self._lines, self.empty = arrays["lines"], torch.from_numpy(arrays["empty"].copy()).float()
        studio = np.asarray(arrays["studio"])
        self.studio_mean = studio.mean(0)
        self.studio_std = np.maximum(studio.std(0), 1e-3)
        self._studio = (studio - self.studio_mean) / self.studio_std

    def __len__(self) -> int:
        return len(self._latents)

    def studio_examples(self, count: int) -> Float[Tensor, "k 9"]:
        """Return the raw numbers of studios, evenly spread over the pictures."""
        chosen = np.linspace(0, len(self) - 1, min(len(self), count)).astype(int)
        return torch.from_numpy(self._studio[chosen] * self.studio_std + self.studio_mean)

    def draw(self, size: int, drops: Drops, generator: torch.Generator) -> PictureBatch:
        """Draw pictures, one of each one's conditions, and what is left out."""
        indices = draw_indices(generator, len(self), size).numpy()
        choices = torch.randint(self._states.shape[1], (size,), generator=generator).numpy()
        has_words = torch.rand(size, generator=generator) >= drops.words
        has_drawing = torch.rand(size, generator=generator) >= drops.drawing
        states = torch.from_numpy(self._states[indices, choices]).float()
        lines = np.unpackbits(self._lines[indices], axis=2)  # n h w/8 -> n h w
        return PictureBatch(
            latents=torch.from_numpy(self._latents[indices]).float(),
            states=torch.where(has_words[:, None, None], states, self.empty),
            lines=torch.from_numpy(lines).float()[:, None] * has_drawing[:, None, None, None],
            studio=torch.from_numpy(self._studio[indices]),
            has_words=has_words,
            has_drawing=has_drawing,
        )


_NAMES = ("latents", "states", "lines", "studio", "empty")


@torch.no_grad()
def build_cache(folder: Path, sources: CacheSources) -> PictureCache:
    """Fill a folder, or what is missing of it; one of other contents is made anew.

    Raises:
        PackError: The pack has no views.
    """
    key, count = sources.key(), len(sources)
    num_done = count_done(folder, key)
    if num_done == count:
        return PictureCache(folder)
    sources.pack.view(int(sources.rows[0]))  # refuses packs without views before any work
    folder.mkdir(parents=True, exist_ok=True)
    if num_done == 0:
        (folder / _PROGRESS).unlink(missing_ok=True)
    arrays = _open_arrays(folder, sources, is_new=num_done == 0)
    arrays["empty"][:] = sources.conditioner.encode_texts([""])[0].cpu().numpy()
    device = sources.conditioner.backbone.device
    move(sources.vae.eval(), device)
    pixels = Pixels(sources.pack, sources.rows, torch.device("cpu"), sources.size_px)
    for start in range(num_done, count, _CHUNK):
        chosen = np.arange(start, min(start + _CHUNK, count))
        _fill(arrays, sources, pixels, chosen)
        for array in arrays.values():
            array.flush()
        write_done(folder, key, int(chosen[-1]) + 1)
        if start // _CHUNK % 50 == 0:
            log(f"inputs of {int(chosen[-1]) + 1} of {count} pictures")
    return PictureCache(folder)


def _fill(
    arrays: dict[str, np.memmap], sources: CacheSources, pixels: Pixels, chosen: np.ndarray
) -> None:
    copies = 2 if sources.has_mirrored else 1
    rows, is_mirrored = sources.rows[chosen // copies], chosen % copies == 1
    device = sources.conditioner.backbone.device
    images = pixels.take(torch.from_numpy(chosen // copies)).to(device)
    flipped = torch.from_numpy(is_mirrored).to(device)
    images[flipped] = images[flipped].flip(-1)
    latents = encode_mean(sources.vae, images) * sources.vae.config["scaling_factor"]
    arrays["latents"][chosen] = latents.half().cpu().numpy()
    for number in range(sources.num_conditions):
        step = int(chosen[0]) * sources.num_conditions + number
        generator = step_generator(sources.seed, step)
        states = sources.conditioner.draw(rows, generator, is_mirrored)
        arrays["states"][chosen, number] = states.half().cpu().numpy()
    line_px = CONTROL_LINE_SHARE * sources.size_px
    for index, row, mirrors in zip(chosen.tolist(), rows.tolist(), is_mirrored, strict=True):
        view = sources.pack.view(row)
        if mirrors:
            view = view.mirrored()
        lines = view.drawing.lines(sources.size_px, line_px) > 127
        arrays["lines"][index] = np.packbits(lines, axis=1)
        arrays["studio"][index] = view.studio


def _open_arrays(folder: Path, sources: CacheSources, is_new: bool) -> dict[str, np.memmap]:
    backbone, count, size = sources.conditioner.backbone, len(sources), sources.size_px
    states = (backbone.context_length, backbone.token_width)
    side = size // _FACTOR
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "latents": ((count, 4, side, side), np.float16),
        "states": ((count, sources.num_conditions, *states), np.float16),
        "lines": ((count, size, size // 8), np.uint8),
        "studio": ((count, NUM_STUDIO), np.float32),
        "empty": (states, np.float16),
    }
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="w+" if is_new else "r+", dtype=dtype, shape=shape
        )
        for name, (shape, dtype) in shapes.items()
    }


def count_done(folder: Path, key: str) -> int:
    """Return how many rows of a folder are filled; 0 where it holds other contents."""
    path = folder / _PROGRESS
    if not path.exists():
        return 0
    progress = json.loads(path.read_text(encoding="utf-8"))
    return int(progress["num_done"]) if progress["key"] == key else 0


def write_done(folder: Path, key: str, num_done: int) -> None:
    """Write down how many rows of a folder are filled."""
    write_text(folder / _PROGRESS, json.dumps({"key": key, "num_done": num_done}))
