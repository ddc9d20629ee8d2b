"""Batches of captioned pictures for the mini CLIP."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from open_clip import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from composer.data.augment import crop_photos
from composer.data.pictures import CaptionIds, PictureTable, truth_matrix
from composer.training.clip.model import MEAN, STD
from composer.training.clip.recipe import ClipTraining, Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipBatch:
    """Batch of one step.

    Attributes:
        pixels: Normalised pictures.
        ids: Token ids of the distinct captions drawn for them.
        truth: Which captions are true of which pictures.
        words: Shares of the words of all captions of each picture; rows sum to 1, or to 0.
    """

    pixels: Float[Tensor, "b 3 s s"]
    ids: Int[Tensor, "t l"]
    truth: Bool[Tensor, "b t"]
    words: Float[Tensor, "b w"]

    def to(self, device: str) -> "ClipBatch":
        """Return the batch on a device."""
        return ClipBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class CaptionWords:
    """Words that captions share, weighted by their rarity."""

    def __init__(self, texts: Sequence[str], min_captions: int) -> None:
        """Take the words that at least `min_captions` of the distinct captions contain."""
        words_of = [set(re.findall(r"[a-z]+", text.lower())) for text in texts]
        counts = Counter(word for words in words_of for word in words)
        self.words = sorted(word for word, count in counts.items() if count >= min_captions)
        index_of = {word: index for index, word in enumerate(self.words)}
        self._contains = np.zeros((len(texts), len(self.words)), dtype=bool)
        for row, words in enumerate(words_of):
            self._contains[row, [index_of[word] for word in words if word in index_of]] = True
        shares = np.array([counts[word] / len(texts) for word in self.words])
        self._weights = -np.log(shares).astype(np.float32)

    def targets(self, ids: Int[np.ndarray, "b k"]) -> Float[Tensor, "b w"]:
        """Return the shares of the words in the captions of each picture, as weighted."""
        held = (self._contains[ids] & (ids >= 0)[..., None]).any(1) * self._weights
        return torch.from_numpy(held / np.maximum(held.sum(1, keepdims=True), 1e-6))


class ClipBatches:
    """Draws batches from the tables; every draw is a function of the seed and the step."""

    def __init__(
        self, tables: Sequence[PictureTable], tokenizer: SimpleTokenizer, recipe: ClipTraining
    ) -> None:
        """Number and tokenize the captions of all tables once."""
        self._tables = list(tables)
        self._captions = CaptionIds(tables)
        self._tokens = tokenizer(self._captions.texts)
        self._words = CaptionWords(self._captions.texts, recipe.min_captions)
        self._recipe = recipe

    @property
    def num_words(self) -> int:
        """Number of words that the vision tower predicts."""
        return len(self._words.words)

    def draw(self, step: int, phase: Phase) -> ClipBatch:
        """Return the batch of a step: pictures, a caption of each, and which are true of which."""
        rng = np.random.default_rng([self._recipe.seed, step])
        pixels, true_ids, sampled = [], [], []
        is_hard = rng.random() < phase.hard_share
        for index, count in self._counts(rng, phase):
            table = self._tables[index]
            rows = self._rows(table, count, rng, is_hard=is_hard)
            ids = self._captions.of(index, rows)
            smallest = 0.8 if table.name.startswith("catalogue") else 0.65
            pixels.append(crop_photos(table.images[rows], 128, rng, smallest=smallest))
            true_ids.append(ids)
            num_captions = (ids >= 0).sum(1)
            sampled.append(ids[np.arange(len(rows)), rng.integers(0, num_captions)])
        texts = np.unique(np.concatenate(sampled))
        return ClipBatch(
            pixels=_normalise(_shrunk(torch.cat(pixels), phase.image_px)),
            ids=self._tokens[texts],
            truth=truth_matrix(true_ids, texts),
            words=torch.cat([self._words.targets(ids) for ids in true_ids]),
        )

    def _counts(self, rng: np.random.Generator, phase: Phase) -> list[tuple[int, int]]:
        names = [table.name for table in self._tables]
        is_catalogue = np.array([name.startswith("catalogue") for name in names])
        is_sketch = np.array([name == "catalogue_sketches" for name in names])
        weights = np.array([self._recipe.source_weights[name] for name in names])
        share = phase.catalogue_share if is_catalogue.any() else 0.0
        groups = [(is_catalogue, share), (~is_catalogue, 1 - share)]
        if phase.sketch_share is not None and is_sketch.any():
            groups[:1] = [
                (is_sketch, share * phase.sketch_share),
                (is_catalogue & ~is_sketch, share * (1 - phase.sketch_share)),
            ]
        for mask, total in groups:
            if mask.any():
                weights[mask] *= total / weights[mask].sum()
        counts = rng.multinomial(self._recipe.batch_size, weights / weights.sum())
        return [(index, int(count)) for index, count in enumerate(counts) if count]

    @staticmethod
    def _rows(
        table: PictureTable, count: int, rng: np.random.Generator, *, is_hard: bool
    ) -> np.ndarray:
        """Draw rows; in a hard batch those of a grouped catalogue table come from four groups."""
        if table.groups is None or not table.name.startswith("catalogue") or not is_hard:
            return rng.integers(0, len(table), count)
        groups = np.asarray(table.groups)
        chosen = rng.choice(np.unique(groups), size=4, replace=False)
        return rng.choice(np.flatnonzero(np.isin(groups, chosen)), size=count)


def _shrunk(pixels: Float[Tensor, "b 3 h w"], size_px: int) -> Float[Tensor, "b 3 s s"]:
    return functional.adaptive_avg_pool2d(pixels, size_px)


def _normalise(pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
