"""Training of the sentence composer: a light tower learns what the large encoder sees."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from composer.data.augment import crop_photos
from composer.data.world import PairBatch
from composer.strategies.sentence import SentenceModel, SentenceShape
from composer.training.losses import multi_positive_nce, weighted_sum
from composer.training.pairs import PairData, PairScores, PairSources, numbers
from composer.training.sentence_losses import global_distillation, local_alignment, token_spread
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceWeights:
    """Weight of every term; zero switches a term off.

    Attributes:
        distillation: Photos against the large encoder's features of themselves.
        drawings: The same of drawings, whose goal is a photo of what they show. Ours: the paper's
            references are photos, and a light tower that copied what the large encoder makes of a
            drawing would search for drawings.
        alignment: The sentence of a photo stays near its caption.
        spread: Mean cosine of the tokens of one sentence; watched, not trained.
    """

    distillation: float = 1.0
    drawings: float = 1.0
    alignment: float = 0.2
    spread: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceTraining:
    """The recipe of sentence; how the run goes stands in `RunSettings`.

    Attributes:
        sources: What is read.
        shape: Tower, number of tokens, head.
        num_photos: Photos in a batch, beside P x K drawings.
        num_negatives: Further photos of the world that each is told from.
        rate: Learning rate.
        weight_decay: On matrices and kernels alone.
        temperature: Of the softmaxes.
        weights: Of the terms.
    """

    sources: PairSources
    shape: SentenceShape = field(default_factory=SentenceShape)
    num_photos: int = 64
    num_negatives: int = 512
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    temperature: float = 0.04
    weights: SentenceWeights = field(default_factory=SentenceWeights)


class SentenceObjective:
    """What a run of sentence trains, and on what.

    Source: papers.md 4.
    """

    name = "sentence"

    def __init__(self, recipe: SentenceTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Loads data and backbone.

        Raises:
            ValueError: One of them cannot be used, or the shape does not fit.
        """
        self.recipe, self._accelerator, self._seed = recipe, accelerator, seed
        self._data = PairData(recipe.sources, accelerator, seed=seed)
        self.backbone = self._data.backbone
        self.model = SentenceModel(self.backbone, recipe.shape)

    def trainable_state(self) -> dict[str, Tensor]:
        """Tower and head, with the running statistics of their norms."""
        return self.model.trainable_state()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Only matrices and kernels decay."""
        recipe, parameters = self.recipe, list(self.model.parameters())
        return [
            ParameterGroup(
                parameters=[p for p in parameters if p.ndim > 1],
                rate=recipe.rate,
                weight_decay=recipe.weight_decay,
            ),
            ParameterGroup(parameters=[p for p in parameters if p.ndim <= 1], rate=recipe.rate),
        ]

    def losses(self, step: int, draw: int) -> Losses:
        """All terms of a batch."""
        data, recipe, device = self._data, self.recipe, self.backbone.device
        rng = np.random.default_rng([self._seed, draw, 1])
        batch = data.batches.draw(draw)
        count = min(recipe.num_photos, len(data.world.photos))
        rows = rng.choice(len(data.world.photos), count, replace=False)
        size_px = self.backbone.image_size_px
        photos = crop_photos(data.world.photos[rows], size_px, rng, mirrors=False)
        pixels = torch.cat(
            [
                self.backbone.normalise_levels(photos),
                self.backbone.normalise_pixels(batch.drawings),
            ]
        )
        self.model.tower.train()
        with self._accelerator.autocast():
            tokens = self.model.tokens(pixels)
            sentences = self.model.read(tokens)
        self.model.tower.eval()
        own = numbers(rows, device)
        others = rng.choice(len(data.world.photos), min(recipe.num_negatives, count * 8))
        extra = data.gallery[numbers(np.setdiff1d(others, rows), device)]
        captions = data.class_features[data.gallery_classes[own]]
        has_caption = torch.ones(count, dtype=torch.bool, device=device)
        terms = {
            "distillation": global_distillation(
                sentences[:count], data.gallery[own], extra, temperature=recipe.temperature
            ),
            "drawings": self._drawings(batch, sentences[count:]),
            "alignment": local_alignment(sentences[:count], captions, has_caption),
            "spread": token_spread(tokens.float()),
        }
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights))

    def validate(self) -> PairScores:
        """Scores the validation split."""
        self.model.eval()
        return self._data.validate_tokens(self.model.tokens, self.model.read)

    def export(self, path: Path, scores: PairScores, notes: dict[str, str]) -> None:
        """Writes the composer's file."""
        self.model.save(path, half=True, notes=notes)

    def _drawings(self, batch: PairBatch, found: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """InfoNCE of drawings and all photos: of the very thing, or of its class if unknown."""
        data, device = self._data, self.backbone.device
        instances = numbers(batch.instances, device).unsqueeze(1)
        is_thing = instances == data.gallery_instances
        is_kin = numbers(batch.classes, device).unsqueeze(1) == data.gallery_classes
        is_known = instances >= 0
        return multi_positive_nce(
            found @ data.gallery.T,
            torch.where(is_known, is_thing, is_kin),
            torch.zeros_like(is_kin),
            temperature=self.recipe.temperature,
        )


def sentence_trainer(recipe: SentenceTraining, settings: RunSettings) -> Trainer[PairScores]:
    """Makes a run of sentence, which goes on from its state where there is one.

    Raises:
        ValueError: The backbone, the data or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = SentenceObjective(recipe, accelerator, seed=settings.seed)
    return Trainer(objective, settings, accelerator)
