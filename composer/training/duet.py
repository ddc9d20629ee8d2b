"""Training of the duet composer on the catalogue's pack and the natural archives."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import (
    DuetBatch,
    DuetBatches,
    EncodedReferences,
    Mixture,
    encode_gallery,
    encode_references,
    validation_queries,
)
from composer.data.feature_store import FeatureStore
from composer.data.natural_queries import read_natural_queries
from composer.data.world import natural_tables
from composer.strategies.duet import DuetModel, DuetShape
from composer.training.decoder import PICTURE_PX, Decoder, reconstruction
from composer.training.duet_natural import CachedNatural, NaturalReferences
from composer.training.duet_objective import (
    Banks,
    DuetFeatures,
    DuetMargins,
    DuetWeights,
    duet_terms,
    encode_batch,
)
from composer.training.duet_validation import DuetScores, validate
from composer.training.losses import weighted_sum
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetTraining:
    """The recipe of duet; settings of the run are in `RunSettings`.

    Attributes:
        clip: The frozen CLIP: its folder, or the name of a public one.
        data: Folder of the training pack.
        natural: Folder of the natural archives; None for the catalogue alone.
        start: A trained `duet.safetensors` to go on from; None for a new one.
        features: Folder where features of pictures are kept for further runs; None for none.
        batch_size: References, all of different designs.
        num_natural: Further drawings of the natural world, in steps through the tower.
        num_natural_cached: Further queries of the natural world in the other steps.
        num_cached_steps: First steps, on references that the initial tower encoded once; they train
            converter and prompt alone and are many times cheaper.
        cached_batch_size: References in each of these.
        num_drawings: Augmentations of each sketch that are encoded for them.
        norm_rate: Learning rate of the normalisation layers.
        head_rate: Learning rate of converter and prompt.
        weight_decay: On the converter's matrices only.
        auxiliary_share: Share of a batch that has the three auxiliary prompts.
        weights: Of the losses.
        margins: Of the losses.
        mixture: Of the batches.
    """

    clip: str | Path
    data: Path
    natural: Path | None = None
    start: Path | None = None
    features: Path | None = None
    batch_size: int = 64
    num_natural: int = 24
    num_natural_cached: int = 96
    num_cached_steps: int = 600
    cached_batch_size: int = 256
    num_drawings: int = 5
    norm_rate: float = 2e-3
    head_rate: float = 1.5e-3
    weight_decay: float = 0.02
    auxiliary_share: float = 0.25
    weights: DuetWeights = field(default_factory=DuetWeights)
    margins: DuetMargins = field(default_factory=DuetMargins)
    mixture: Mixture = field(default_factory=Mixture)
    shape: DuetShape = field(default_factory=DuetShape)


class DuetData:
    """Data of runs of duet on one pack, encoded once by the frozen towers.

    Frozen photo features of the whole training gallery serve as negatives of every step, which is
    exact where a memory bank approximates: the gallery's tower never changes.
    """

    def __init__(self, recipe: DuetTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Load backbone and pack and encode the galleries.

        Raises:
            ValueError: The backbone, the pack or an archive cannot be used.
        """
        self._recipe, self._accelerator, self._seed = recipe, accelerator, seed
        self.backbone = Backbone.load(recipe.clip, device=accelerator.device)
        self.pack = CataloguePack.open(recipe.data)
        _ = self.pack.training_photos()  # an error, where there is none
        self._store = FeatureStore(self.backbone, recipe.features)
        with accelerator.autocast():
            self.gallery = encode_gallery(self.pack, self.pack.rows(split="train"), self._store)
        validation_rows = self.pack.validation_photos()
        self.held_gallery = encode_gallery(self.pack, validation_rows, self._store)
        self.queries = validation_queries(self.pack, validation_rows, self.backbone.image_size_px)
        self.batches = DuetBatches(
            self.pack, self.gallery, self.backbone, seed=seed, mixture=recipe.mixture
        )
        self.banks = Banks(self.backbone)
        self.natural: NaturalReferences | None = None
        if recipe.natural is not None:
            self.natural = NaturalReferences(
                natural_tables(recipe.natural, self.backbone.image_size_px),
                self._store,
                accelerator,
                batch_size=recipe.num_natural,
                seed=seed,
            )
        self._store.flush()
        self._references: EncodedReferences | None = None
        self._cached_natural: CachedNatural | None = None

    def references(self, model: DuetModel) -> EncodedReferences:
        """Return the features of the training references, encoded on first use.

        Runs that share data must begin with the same tower.
        """
        if self._references is None:
            store = self._tuned_store(model)
            with self._accelerator.autocast():
                self._references = encode_references(
                    self.pack,
                    self.batches.designs,
                    self.gallery.rows,
                    store,
                    count=self._recipe.num_drawings,
                    seed=self._seed,
                )
            store.flush()
        return self._references

    def cached_natural(self, model: DuetModel) -> CachedNatural | None:
        """Return queries of the natural world, encoded on first use; None without archives."""
        if self._cached_natural is None and self.natural is not None:
            assert self._recipe.natural is not None
            queries = read_natural_queries(
                self._recipe.natural,
                self.natural.world,
                num_drawings=self._recipe.num_drawings,
                seed=self._seed,
            )
            self._cached_natural = CachedNatural(
                queries,
                self._store,
                self._tuned_store(model),
                self._accelerator,
                batch_size=self._recipe.num_natural_cached,
                seed=self._seed,
            )
        return self._cached_natural

    def _tuned_store(self, model: DuetModel) -> FeatureStore:
        return FeatureStore(
            self.backbone, self._recipe.features, tower=model.tower, encode=model.encode_image
        )


class DuetObjective:
    """Objective of duet: model, data, losses, validation."""

    name = "duet"

    def __init__(
        self,
        recipe: DuetTraining,
        accelerator: Accelerator,
        *,
        seed: int,
        data: DuetData | None = None,
    ) -> None:
        """Take the data of another run of the same sources, or load it.

        Raises:
            ValueError: The backbone, the pack, an archive or the start cannot be used.
        """
        self.recipe, self._seed = recipe, seed
        self._accelerator = accelerator
        self._data = data or DuetData(recipe, accelerator, seed=seed)
        self.backbone = self._data.backbone
        torch.manual_seed(seed)
        if recipe.start is None:
            self.model = DuetModel(self.backbone, recipe.shape)
        else:
            self.model = DuetModel.load(recipe.start, self.backbone).train()
        self._decoder: Decoder | None = None
        if recipe.weights.reconstruction > 0:
            self._decoder = Decoder(self.backbone.joint_dim).to(self.backbone.device)

    def trainable_state(self) -> dict[str, Tensor]:
        """Return norms, converter and prompt, and the decoder, which is not exported."""
        decoder = {} if self._decoder is None else dict(self._decoder.named_parameters())
        decoder = {f"training.decoder.{name}": p for name, p in decoder.items()}
        return {**self.model.trainable_state(), **decoder}

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return norms at their rate, and the rest; only matrices of the converter decay."""
        norms: list[Tensor] = []
        matrices: list[Tensor] = []
        vectors: list[Tensor] = []
        for name, parameter in self.trainable_state().items():
            if name.startswith("layer_norms."):
                norms.append(parameter)
            elif parameter.ndim > 1 and name != "prompt":
                matrices.append(parameter)
            else:
                vectors.append(parameter)
        recipe = self.recipe
        return [
            ParameterGroup(parameters=norms, rate=recipe.norm_rate),
            ParameterGroup(
                parameters=matrices, rate=recipe.head_rate, weight_decay=recipe.weight_decay
            ),
            ParameterGroup(parameters=vectors, rate=recipe.head_rate),
        ]

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch."""
        recipe, data = self.recipe, self._data
        batch = self._draw(step, draw)
        rng = np.random.default_rng([self._seed, draw, 1])
        with self._accelerator.autocast():
            features = encode_batch(
                self.model, batch, data.gallery, data.banks, rng, recipe.auxiliary_share
            )
        terms = duet_terms(features, batch, data.gallery, recipe.margins)
        if self._decoder is not None:
            terms["reconstruction"] = self._reconstruction(self._decoder, features, batch)
        if data.natural is not None and recipe.weights.natural > 0:
            terms["natural"] = self._natural_loss(data.natural, step, draw)
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights))

    def validate(self) -> DuetScores:
        """Score the validation split."""
        natural, data = self._data.natural, self._data
        chairs = None if natural is None else natural.chairs
        asked = None if chairs is None else chairs.asked(self.model)
        scores = validate(self.model, data.queries, data.held_gallery, asked)
        if natural is None:
            return scores
        return replace(scores, category=natural.held.precision(self._read_alone))

    def export(self, path: Path, scores: DuetScores, notes: dict[str, str]) -> None:
        """Write `duet.safetensors` with the shares that validation chose."""
        self.model.residual, self.model.words_share = scores.residual, scores.words_share
        self.model.residual_alone = scores.residual_alone
        self.model.save(path, half=True, notes=notes)

    def _read_alone(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return the text features of `[P_L; s_w]` of preprocessed drawings."""
        return self.model.read_alone(self.model.encode_image(pixels).features)

    def _reconstruction(
        self, decoder: Decoder, features: DuetFeatures, batch: DuetBatch
    ) -> Float[Tensor, ""]:
        """Return `L_rec` of the references that have auxiliary prompts."""
        num_auxiliary, data = len(features.q_delta), self._data
        rows = data.gallery.rows[batch.anchors[:num_auxiliary].numpy()]
        levels = torch.from_numpy(data.pack.pixels(rows, PICTURE_PX)).to(self.backbone.device)
        photos = levels.permute(0, 3, 1, 2).float() / 255  # n h w 3 -> n 3 h w
        return reconstruction(decoder, photos, features.q[:num_auxiliary], features.q_delta)

    def _natural_loss(self, natural: NaturalReferences, step: int, draw: int) -> Float[Tensor, ""]:
        """Return the natural world's term: of cached queries first, then through the tower."""
        recipe, model, margins = self.recipe, self.model, self.recipe.margins
        cached = self._data.cached_natural(model) if step < recipe.num_cached_steps else None
        if cached is not None:
            return cached.loss(model, draw, temperature=margins.nce_temperature)
        return natural.loss(
            model,
            draw,
            temperature=margins.nce_temperature,
            layout_temperature=margins.layout_temperature,
        )

    def _draw(self, step: int, draw: int) -> DuetBatch:
        """Return the batch of a step: of cached features first, then of pixels."""
        recipe, data = self.recipe, self._data
        if step >= recipe.num_cached_steps:
            return data.batches.draw(draw, recipe.batch_size)
        return data.batches.draw(draw, recipe.cached_batch_size, data.references(self.model))


def duet_trainer(
    recipe: DuetTraining, settings: RunSettings, *, data: DuetData | None = None
) -> Trainer[DuetScores]:
    """Make a run of duet, which goes on from its state where there is one.

    Args:
        recipe: What is trained.
        settings: Of the run.
        data: That of another run of the same sources and seed; None to load it.

    Raises:
        ValueError: The backbone, the data, the start or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = DuetObjective(recipe, accelerator, seed=settings.seed, data=data)
    return Trainer(objective, settings, accelerator)
