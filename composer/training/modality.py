"""Training of the modality composer."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from composer.strategies.modality import Modality, ModalityModel, mix
from composer.training.losses import distance, multi_positive_nce, weighted_sum
from composer.training.pairs import PairData, PairScores, PairSources, to_device
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)

INITIAL_SCALE = 2.6592  # ln 14.28


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityWeights:
    """Weight of every term; all are divided by their sum. Zero switches a term off.

    Attributes:
        contrastive: CLIP's loss of pictures and class captions, several positives a row.
        semantic: Both semantics near the mean of picture and caption.
        classification: A converted vector is classified as the modality it was converted to.
        reconstruction: Semantics of one side and the vector of the other give the other's feature.
        orthogonality: Elementwise product of mean and modality vectors; zero as released.
        instance: The fine-grained variant's direct term between drawing and photo; its formula is
            a reconstruction, InfoNCE against all photos of the world.
    """

    contrastive: float = 1.0
    semantic: float = 0.1
    classification: float = 0.1
    reconstruction: float = 0.02
    orthogonality: float = 0.0
    instance: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModalityTraining:
    """The recipe of modality; settings of the run are in `RunSettings`.

    The released rates, 5e-8 for everything and 5e-3 for new parts, are for a full fine-tune of a
    large CLIP; normalisation layers of a small one take higher rates.
    """

    sources: PairSources
    norm_rate: float = 5e-3
    head_rate: float = 5e-3
    temperature: float = 0.04
    weights: ModalityWeights = field(default_factory=ModalityWeights)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ModalityFeatures:
    """Unit features of one batch.

    Attributes:
        sketches: Of n drawings, by the tuned tower.
        photos: Of a photo of each, by the frozen tower.
        texts: Of each one's class caption.
        classes: Number of each one's class.
    """

    sketches: Float[Tensor, "n d"]
    photos: Float[Tensor, "n d"]
    texts: Float[Tensor, "n d"]
    classes: Int[Tensor, " n"]


class ModalityObjective:
    """Objective of modality: model, data, losses, validation.

    Source: docs/papers.md, section 2. There a sample is one picture, drawn or photographed, with
    its class caption; so here, except that drawings come with a photo for the instance term.
    """

    name = "modality"

    def __init__(self, recipe: ModalityTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Load data and backbone.

        Raises:
            ValueError: One of them cannot be used.
        """
        self.recipe, self._accelerator = recipe, accelerator
        self._data = PairData(recipe.sources, accelerator, seed=seed)
        self.backbone = self._data.backbone
        self.model = ModalityModel(self.backbone)
        self._scale = nn.Parameter(torch.tensor(INITIAL_SCALE, device=self.backbone.device))

    def trainable_state(self) -> dict[str, Tensor]:
        """Return the model's state and the learned scale of the contrastive term."""
        return {**self.model.trainable_state(), "training.scale": self._scale}

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return normalisation layers and the rest, each at its rate."""
        norms = [p for n, p in self.trainable_state().items() if n.startswith("layer_norms.")]
        heads = [p for n, p in self.trainable_state().items() if not n.startswith("layer_norms.")]
        return [
            ParameterGroup(parameters=norms, rate=self.recipe.norm_rate),
            ParameterGroup(parameters=heads, rate=self.recipe.head_rate),
        ]

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch."""
        data, recipe = self._data, self.recipe
        batch = data.batches.draw(draw)
        device = self.backbone.device
        with self._accelerator.autocast():
            sketches = self.model.encode_image(
                self.backbone.normalise_pixels(batch.drawings)
            ).features
        classes = to_device(batch.classes, device)
        features = ModalityFeatures(
            sketches=sketches.float(),
            photos=data.gallery[to_device(batch.positives, device)],
            texts=data.class_features[classes],
            classes=classes,
        )
        terms = modality_terms(self.model, features, self._scale.exp())
        is_instance = to_device(batch.instances, device).unsqueeze(1) == data.gallery_instances
        converted = self.model.convert(features.sketches, Modality.SKETCH, Modality.PHOTO)
        terms["instance"] = multi_positive_nce(
            converted @ data.gallery.T,
            is_instance,
            torch.zeros_like(is_instance),
            temperature=recipe.temperature,
        )
        whole = sum(getattr(recipe.weights, f.name) for f in fields(recipe.weights))
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights) / whole)

    def validate(self) -> PairScores:
        """Score the validation split, drawings converted to the photo side."""
        model = self.model
        return self._data.validate(
            model.encode_image,
            mix,
            move=lambda features: model.convert(features, Modality.SKETCH, Modality.PHOTO),
            move_words=lambda features: model.convert(features, Modality.TEXT, Modality.PHOTO),
        )

    def export(self, path: Path, scores: PairScores, notes: dict[str, str]) -> None:
        """Write the composer's file with the share of the words that validation chose."""
        self.model.words_share = scores.share
        self.model.save(path, half=True, notes=notes)


def modality_terms(
    model: ModalityModel, features: ModalityFeatures, scale: Float[Tensor, ""]
) -> dict[str, Float[Tensor, ""]]:
    """Return every term of `ModalityWeights` but the instance term, unweighted.

    Source: docs/papers.md, equations (11) to (15).
    """
    sides = ((Modality.SKETCH, features.sketches), (Modality.PHOTO, features.photos))
    same = features.classes.unsqueeze(1) == features.classes
    none_ignored = torch.zeros_like(same)
    texts = features.texts
    parts: dict[str, list[Tensor]] = {
        name: [] for name in ("contrastive", "semantic", "reconstruction", "orthogonality")
    }
    s_text = model.semantics(texts, Modality.TEXT)
    m_text = model.vector(Modality.TEXT)
    for modality, images in sides:
        s_image, m_image = model.semantics(images, modality), model.vector(modality)
        logits = scale * images @ texts.T
        parts["contrastive"] += [
            multi_positive_nce(logits, same, none_ignored, temperature=1.0),
            multi_positive_nce(logits.T, same, none_ignored, temperature=1.0),
        ]
        middle = functional.normalize((images + texts) / 2, dim=-1)
        unit = functional.normalize
        parts["semantic"].append(
            (
                distance(unit(s_text, dim=-1), middle) + distance(unit(s_image, dim=-1), middle)
            ).mean()
        )
        parts["reconstruction"].append(
            (
                distance(unit(s_text + m_image, dim=-1), images)
                + distance(unit(s_image + m_text, dim=-1), texts)
            ).mean()
        )
        parts["orthogonality"] += [(middle * m_image).abs().mean(), (middle * m_text).abs().mean()]
    terms = {name: torch.stack(parts).mean() for name, parts in parts.items()}
    terms["classification"] = _classification(model, (*sides, (Modality.TEXT, texts)))
    return terms


def _classification(
    model: ModalityModel, sides: tuple[tuple[Modality, Float[Tensor, "n d"]], ...]
) -> Float[Tensor, ""]:
    """Return the cross entropy of D on every side converted to each other modality."""
    members = list(Modality)
    losses: list[Tensor] = []
    for source, features in sides:
        for target in members:
            if target is source:
                continue
            scores = model.classifier(model.convert(features, source, target))
            labels = torch.full((len(features),), members.index(target), device=features.device)
            losses.append(functional.cross_entropy(scores, labels))
    return torch.stack(losses).mean()


def modality_trainer(recipe: ModalityTraining, settings: RunSettings) -> Trainer[PairScores]:
    """Make a run of modality, which goes on from its state where there is one.

    Raises:
        ValueError: The backbone, the data or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = ModalityObjective(recipe, accelerator, seed=settings.seed)
    return Trainer(objective, settings, accelerator)
