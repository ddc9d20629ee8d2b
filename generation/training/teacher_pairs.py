"""What a teacher draws from noise and conditions: made once, for a student to draw in one step."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from generation.defaults import GUIDANCE_SCALE
from generation.training.command import log
from generation.training.loop import step_generator
from generation.training.picture_cache import (
    Drops,
    PictureBatch,
    PictureCache,
    count_done,
    write_done,
)
from generation.training.picture_model import Condition, PictureModel, sample_latents
from generation.training.stock import add_weights

_LATENTS = "latents.npy"
_SEED_OFFSET = 2**32  # apart from the generators of training steps


@dataclass(frozen=True, kw_only=True, slots=True)
class PairRecipe:
    """How pairs are drawn.

    Attributes:
        num_batches: Batches of them.
        batch_size: Pairs in a batch.
        num_steps: Of the teacher's sampler.
        guidance_scale: Of the words.
        drops: How often words and drawing are left out.
        studio_share: Share of the batches in which backdrop and lights are told.
    """

    num_batches: int = 160
    batch_size: int = 8
    num_steps: int = 10
    guidance_scale: float = GUIDANCE_SCALE
    drops: Drops = field(default_factory=lambda: Drops(words=0.05, drawing=0.3))
    studio_share: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """A batch of pairs.

    Attributes:
        batch: Conditions, and the real pictures that they belong to.
        noise: What the teacher began with.
        latents: Where it ended.
        tells_studio: Whether it was told backdrop and lights.
    """

    batch: PictureBatch
    noise: Float[Tensor, "n 4 y x"]
    latents: Float[Tensor, "n 4 y x"]
    tells_studio: bool


class TeacherPairs:
    """A teacher's pictures; noise and conditions are drawn again from their seeds."""

    def __init__(self, folder: Path, cache: PictureCache, recipe: PairRecipe, seed: int) -> None:
        """Map the pictures of a folder that `draw_pairs` filled."""
        self._latents = np.load(folder / _LATENTS, mmap_mode="r")
        self._cache, self._recipe, self._seed = cache, recipe, seed

    def __len__(self) -> int:
        return len(self._latents)

    def take(self, index: int) -> Pairs:
        """Return a batch by its index."""
        batch, noise, tells_studio = _questions(self._cache, self._recipe, self._seed, index)
        latents = torch.from_numpy(self._latents[index].copy()).float()
        return Pairs(batch=batch, noise=noise, latents=latents, tells_studio=tells_studio)


@torch.no_grad()
def draw_pairs(
    folder: Path, teacher: PictureModel, cache: PictureCache, recipe: PairRecipe, seed: int
) -> TeacherPairs:
    """Fill a folder, or what is missing of it; pairs of another teacher are drawn anew."""
    key = _key(teacher, cache, recipe, seed)
    folder.mkdir(parents=True, exist_ok=True)
    num_done = count_done(folder, key) if (folder / _LATENTS).exists() else 0
    first = _questions(cache, recipe, seed, 0)[1]
    latents = np.lib.format.open_memmap(
        folder / _LATENTS,
        mode="r+" if num_done else "w+",
        dtype=np.float16,
        shape=(recipe.num_batches, *first.shape),
    )
    device = next(teacher.parameters()).device
    for index in range(num_done, recipe.num_batches):
        batch, noise, tells_studio = _questions(cache, recipe, seed, index)
        drawn = sample_latents(
            teacher,
            noise.to(device),
            Condition.of_batch(batch, tells_studio=tells_studio).to(device),
            cache.empty.to(device),
            num_steps=recipe.num_steps,
            guidance_scale=recipe.guidance_scale,
        )
        latents[index] = drawn.half().cpu().numpy()
        latents.flush()
        write_done(folder, key, index + 1)
        if index % 10 == 0:
            log(f"pairs of {index + 1} of {recipe.num_batches} batches")
    return TeacherPairs(folder, cache, recipe, seed)


def _questions(
    cache: PictureCache, recipe: PairRecipe, seed: int, index: int
) -> tuple[PictureBatch, Tensor, bool]:
    generator = step_generator(seed, _SEED_OFFSET + index)
    batch = cache.draw(recipe.batch_size, recipe.drops, generator)
    noise = torch.randn(batch.latents.shape, generator=generator)
    return batch, noise, float(torch.rand((), generator=generator)) < recipe.studio_share


def _key(teacher: PictureModel, cache: PictureCache, recipe: PairRecipe, seed: int) -> str:
    digest = hashlib.sha256(f"{cache.key} {json.dumps(asdict(recipe))} {seed}".encode())
    add_weights(digest, teacher)
    return digest.hexdigest()[:16]
