"""Training of the sentence composer by distillation of the large encoder."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.data.augment import crop_photos
from composer.data.world import PairBatch
from composer.medium import Medium
from composer.strategies.sentence import SentenceModel, SentenceShape
from composer.training.losses import in_batch_nce, multi_positive_nce, weighted_sum
from composer.training.pairs import PairData, PairScores, PairSources, to_device
from composer.training.sentence_losses import local_alignment, token_spread
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
        features: The tower's own map, its mean projected, against the large encoder's features of
            the same pictures, photos and drawings alike. Ours: through the text tower alone a light
            tower of random weights learns to see several times more slowly. Zero for a tower that
            is not trained.
        alignment: The tokens of a photo stay near its caption.
        spread: Mean cosine of the tokens of one reference; logged, not trained.
    """

    distillation: float = 1.0
    drawings: float = 1.0
    features: float = 1.0
    alignment: float = 0.2
    spread: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceTraining:
    """The recipe of sentence; settings of the run are in `RunSettings`.

    Attributes:
        sources: What is read.
        shape: Tower, number of tokens, head.
        num_photos: Photos in a batch, beside P x K drawings.
        num_pictures: Further pictures in a batch, for the tower's own features alone.
        num_negatives: Further photos of the world, as wrong answers.
        rate: Learning rate of randomly initialised weights.
        tower_rate: Of the tower.
        weight_decay: On matrices and kernels alone.
        temperature: Of the softmaxes.
        weights: Of the terms.
    """

    sources: PairSources
    shape: SentenceShape = field(default_factory=SentenceShape)
    num_photos: int = 32
    num_pictures: int = 192
    num_negatives: int = 512
    rate: float = 1.5e-3
    tower_rate: float = 1.5e-3
    weight_decay: float = 0.05
    temperature: float = 0.04
    weights: SentenceWeights = field(default_factory=SentenceWeights)


class SentenceObjective:
    """Objective of sentence: model, data, losses, validation.

    Source: docs/papers.md, section 4.
    """

    name = "sentence"

    def __init__(self, recipe: SentenceTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Load data and backbone.

        Raises:
            ValueError: One of them cannot be used, or the shape does not fit.
        """
        self.recipe, self._accelerator, self._seed = recipe, accelerator, seed
        self._data = PairData(recipe.sources, accelerator, seed=seed)
        self.backbone = self._data.backbone
        self.model = SentenceModel(self.backbone, recipe.shape)
        self._pictures: _Pictures | None = None
        if recipe.weights.features > 0:
            self._pictures = _Pictures(self._data, self.model.num_channels, accelerator)

    def trainable_state(self) -> dict[str, Tensor]:
        """Return tower and head with the running statistics of their norms, and a projection.

        The projection of the tower's features, if they are trained, is not exported.
        """
        extra = {} if self._pictures is None else dict(self._pictures.named_parameters())
        return self.model.trainable_state() | {f"pictures.{n}": p for n, p in extra.items()}

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return tower and head, each at its rate; only matrices and kernels decay."""
        recipe = self.recipe
        named = [(n, p) for n, p in self.trainable_state().items() if p.requires_grad]
        groups: list[ParameterGroup] = []
        for is_tower, rate in ((True, recipe.tower_rate), (False, recipe.rate)):
            parameters = [p for n, p in named if n.startswith("tower.") == is_tower]
            matrices = [p for p in parameters if p.ndim > 1]
            vectors = [p for p in parameters if p.ndim <= 1]
            groups += [
                ParameterGroup(parameters=matrices, rate=rate, weight_decay=recipe.weight_decay),
                ParameterGroup(parameters=vectors, rate=rate),
            ]
        return [group for group in groups if group.parameters]

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch."""
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
            tokens = self.model.tokens(pixels, torch.arange(len(pixels), device=device) < count)
            sentences = self.model.read(tokens)
            of_pictures = self._pictures and self._pictures.loss(
                self.model, rng, recipe.num_pictures, recipe.temperature
            )
        self.model.tower.eval()
        photo_rows = to_device(rows, device)
        others = rng.choice(len(data.world.photos), min(recipe.num_negatives, count * 8))
        negatives = data.gallery[to_device(np.setdiff1d(others, rows), device)]
        captions = data.class_features[data.gallery_classes[photo_rows]]
        has_caption = torch.ones(count, dtype=torch.bool, device=device)
        terms = {
            "distillation": in_batch_nce(
                sentences[:count],
                data.gallery[photo_rows],
                negatives,
                temperature=recipe.temperature,
            ),
            "drawings": self._goals(batch, sentences[count:]),
            "alignment": local_alignment(sentences[:count], captions, has_caption),
            "spread": token_spread(tokens.float()),
        }
        if of_pictures is not None:
            terms["features"] = of_pictures
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights))

    def validate(self) -> PairScores:
        """Score the validation split."""
        self.model.eval()
        return self._data.validate_tokens(self.model.tokens, self.model.read)

    def export(self, path: Path, scores: PairScores, notes: dict[str, str]) -> None:
        """Write the composer's file."""
        self.model.save(path, half=True, notes=notes)

    def _goals(self, batch: PairBatch, vectors: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Return the InfoNCE of drawings and photos of the instance, or of its class if unknown."""
        data, device = self._data, self.backbone.device
        instances = to_device(batch.instances, device).unsqueeze(1)
        is_thing = instances == data.gallery_instances
        is_kin = to_device(batch.classes, device).unsqueeze(1) == data.gallery_classes
        is_known = instances >= 0
        return multi_positive_nce(
            vectors @ data.gallery.T,
            torch.where(is_known, is_thing, is_kin),
            torch.zeros_like(is_kin),
            temperature=self.recipe.temperature,
        )


class _Pictures(nn.Module):
    """All photos and drawings of the world, each seen once by the large encoder."""

    def __init__(self, data: PairData, num_channels: int, accelerator: Accelerator) -> None:
        super().__init__()
        world, self._backbone = data.world, data.backbone
        ink = np.stack([world.ink(row, None) for row in range(len(world.drawings))])
        drawings = np.repeat(ink[..., None], 3, axis=-1)
        with accelerator.autocast():
            drawn = data.store.features(drawings, Medium.DRAWING)
        data.store.flush()
        self._pixels = (world.photos, drawings)
        self._features = (torch.cat([data.gallery, drawn]),)  # not a weight
        self.project = nn.Linear(num_channels, data.backbone.joint_dim).to(data.backbone.device)

    def loss(
        self, model: SentenceModel, rng: np.random.Generator, count: int, temperature: float
    ) -> Float[Tensor, ""]:
        """Return the InfoNCE of the tower's features of some pictures, half of them drawings."""
        sizes = [len(pixels) for pixels in self._pixels]
        picked = [rng.choice(n, min(count // 2, n), replace=False) for n in sizes]
        pixels = np.concatenate([p[rows] for p, rows in zip(self._pixels, picked, strict=True)])
        size_px = self._backbone.image_size_px
        levels = crop_photos(pixels, size_px, rng, mirrors=False)
        features = model.map_features(self._backbone.normalise_levels(levels)).mean(dim=1)
        vectors = functional.normalize(self.project(features).float(), dim=-1)
        rows = to_device(np.concatenate([picked[0], sizes[0] + picked[1]]), self._backbone.device)
        return in_batch_nce(vectors, self._features[0][rows], temperature=temperature)


def sentence_trainer(recipe: SentenceTraining, settings: RunSettings) -> Trainer[PairScores]:
    """Make a run of sentence, which goes on from its state where there is one.

    Raises:
        ValueError: The backbone, the data or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = SentenceObjective(recipe, accelerator, seed=settings.seed)
    return Trainer(objective, settings, accelerator)
