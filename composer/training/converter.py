"""Training of a kit's converter on text alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack, PackItem
from composer.data.feature_store import FeatureStore
from composer.data.pictures import PictureTable
from composer.prompt import PromptBatch, assemble_prompts, encode_by_length
from composer.splice import splice
from composer.strategies.converter import TextConverter
from composer.strategies.reference import PLAIN_PROMPT
from composer.training.duet_validation import Accuracy, accuracy
from composer.training.losses import distance, in_batch_nce, weighted_sum
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)

_BATCH = 256
# Words that tokens never replace.
_PLAIN_WORDS = frozenset(
    ("a", "an", "the", "of", "with", "and", "in", "on", "at", "as", "it", "is", "to", "from", "by")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterWeights:
    """Weight of every term; zero switches a term off.

    Attributes:
        whole: "a photo of" and the tokens of a caption's feature give that feature; in-batch
            InfoNCE.
        replaced: A caption whose keywords are replaced by its tokens keeps its feature.
        difference: The tokens of the difference of two media, after a photo's caption, give the
            caption in that medium; C also converts domain differences.
    """

    whole: float = 1.0
    replaced: float = 1.0
    difference: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterTraining:
    """The recipe of the converter; settings of the run are in `RunSettings`.

    Attributes:
        clip: The frozen CLIP: its folder, or the name of a public one.
        pack: Folder of the catalogue's training pack, for captions.
        captions: Further captions.
        features: Folder where features of pictures are kept for further runs; None for none.
        batch_size: Captions a step.
        rate: Learning rate.
        weight_decay: On matrices alone.
        noise: Largest standard deviation of the noise on a feature, as a share of its length;
            pictures' features lie elsewhere than texts', and noise makes the converter tolerant.
        temperature: Of the InfoNCE.
        weights: Of the terms.
    """

    clip: str | Path
    pack: Path
    captions: tuple[str, ...] = ()
    features: Path | None = None
    batch_size: int = 192
    rate: float = 1.5e-3
    weight_decay: float = 0.02
    noise: float = 0.5
    temperature: float = 0.05
    weights: ConverterWeights = field(default_factory=ConverterWeights)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterScores:
    """Accuracy of converted features among all validation photos.

    Attributes:
        captions: Of the tokens of a caption's feature, among all captions.
        photos: Of the tokens of a photo's feature, among all photos.
    """

    captions: Accuracy
    photos: Accuracy

    @property
    def score(self) -> float:
        """The number a run is selected by: of photos, since photos are converted in use."""
        return self.photos.at_1 + 0.1 * self.photos.at_10

    def summary(self) -> str:
        """Return one line for the log."""
        rows = (("captions", self.captions), ("photos", self.photos))
        return " ".join(f"{name} {r.at_1:.1%}/{r.at_5:.1%}/{r.at_10:.1%}" for name, r in rows)


class ConverterObjective:
    """Objective of the converter: model, data, losses, validation.

    Source: docs/papers.md, equation (25). The InfoNCE in place of its squared error and
    the differences of media are ours.
    """

    name = "converter"

    def __init__(self, recipe: ConverterTraining, accelerator: Accelerator, *, seed: int) -> None:
        """Read captions and encode them once.

        Raises:
            ValueError: Backbone or pack cannot be used.
        """
        self.recipe, self._accelerator, self._seed = recipe, accelerator, seed
        torch.manual_seed(seed)
        self.backbone = Backbone.load(recipe.clip, device=accelerator.device)
        pack = CataloguePack.open(recipe.pack)
        rows = pack.training_photos()
        items = [pack.items[row] for row in pack.rows(split="train")]
        photo_captions = (text for item in items for text in (item.caption, *item.paraphrases))
        self._texts = list(dict.fromkeys((*photo_captions, *recipe.captions)))
        self._words = [self.backbone.word_ids(text) for text in self._texts]
        self._keywords = [_keyword_runs(self.backbone.words(text)) for text in self._texts]
        with accelerator.autocast():
            self._features = self._encode_texts(self._texts)
        row_of = {text: row for row, text in enumerate(self._texts)}
        self._media = [(row_of[a], row_of[b]) for a, b in _media_pairs(items)]
        self.model = TextConverter(self.backbone)
        store = FeatureStore(self.backbone, recipe.features)
        size_px = self.backbone.image_size_px
        sample = rows[:: max(1, len(rows) // 1024)]
        with accelerator.autocast():
            photos = store.features(pack.pixels(sample, size_px))
        photo_captions = [row_of[item.caption] for item in items if item.domain == PHOTO]
        self.model.image_mean.copy_(photos.mean(dim=0))
        self.model.text_mean.copy_(self._features[photo_captions].mean(dim=0))
        validation_rows = pack.validation_photos()
        self._held_photos = store.features(pack.pixels(validation_rows, size_px))
        store.flush()
        self._held_captions = self._encode_texts(
            [pack.items[row].caption for row in validation_rows]
        )
        self._plain = _flat(self.backbone.word_ids(PLAIN_PROMPT))

    def trainable_state(self) -> dict[str, Tensor]:
        """Return the converter's weights and its two means, which training leaves unchanged."""
        return self.model.trainable_state()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return two groups: matrices, which decay, and vectors."""
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        vectors = [p for p in self.model.parameters() if p.ndim != 2]
        recipe = self.recipe
        return [
            ParameterGroup(parameters=matrices, rate=recipe.rate, weight_decay=recipe.weight_decay),
            ParameterGroup(parameters=vectors, rate=recipe.rate),
        ]

    def losses(self, step: int, draw: int) -> Losses:
        """Return all terms of a batch."""
        recipe, device = self.recipe, self.backbone.device
        rng = np.random.default_rng([self._seed, draw])
        rows = rng.choice(
            len(self._texts), size=min(recipe.batch_size, len(self._texts)), replace=False
        )
        features = self._features[torch.from_numpy(rows).to(device)]
        tokens = self.model(self._noisy(features, rng))
        prompts = [self._whole(tokens), self._replaced(rows, tokens, rng)]
        targets = [features, features]
        if self._media and recipe.weights.difference > 0:
            batch, target = self._differences(rng)
            prompts.append(batch)
            targets.append(target)
        with self._accelerator.autocast():
            encoded = [encode_prompt_batch(self.backbone, batch) for batch in prompts]
        terms = {
            "whole": in_batch_nce(encoded[0], features, temperature=recipe.temperature),
            "replaced": distance(encoded[1], features).mean(),
        }
        if len(encoded) > 2:
            terms["difference"] = distance(encoded[2], targets[2]).mean()
        return Losses(terms=terms, total=weighted_sum(terms, recipe.weights))

    @torch.no_grad()
    def validate(self) -> ConverterScores:
        """Score captions and photos of the validation split."""
        right = torch.arange(len(self._held_photos), device=self.backbone.device)
        captions = encode_prompt_batch(self.backbone, self._whole(self.model(self._held_captions)))
        photos = encode_prompt_batch(
            self.backbone, self._whole(self.model.from_images(self._held_photos))
        )
        return ConverterScores(
            captions=accuracy(captions @ self._held_captions.T, right),
            photos=accuracy(photos @ self._held_photos.T, right),
        )

    def export(self, path: Path, scores: ConverterScores, notes: dict[str, str]) -> None:
        """Write `converter.safetensors`."""
        self.model.save(path, half=True, notes=notes)

    def _whole(self, tokens: Float[Tensor, "n k w"]) -> PromptBatch:
        silent: list[list[int]] = [[] for _ in range(len(tokens))]
        return assemble_prompts(self.backbone, prefix=self._plain, pseudo=tokens, word_ids=silent)

    def _replaced(
        self, rows: Int[np.ndarray, " n"], tokens: Float[Tensor, "n k w"], rng: np.random.Generator
    ) -> PromptBatch:
        """Return captions in which the tokens replace one run of keywords, drawn at random."""
        before: list[list[int]] = []
        after: list[list[int]] = []
        for row in rows.tolist():
            runs, words = self._keywords[row], self._words[row]
            first, last = runs[int(rng.integers(0, len(runs)))] if runs else (0, len(words))
            before.append(_flat(words[:first]))
            after.append(_flat(words[last:]))
        return splice_between(self.backbone, before, tokens, after)

    def _differences(self, rng: np.random.Generator) -> tuple[PromptBatch, Float[Tensor, "m d"]]:
        """Return photo captions and the tokens of the difference to another medium."""
        count = max(1, self.recipe.batch_size // 4)
        picked = rng.choice(len(self._media), size=min(count, len(self._media)), replace=False)
        device = self.backbone.device
        plain, other = torch.tensor([self._media[i] for i in picked], device=device).T
        tokens = self.model(self._features[other] - self._features[plain])
        words = [_flat(self._words[row]) for row in plain.tolist()]
        silent: list[list[int]] = [[] for _ in words]
        return splice_between(self.backbone, words, tokens, silent), self._features[other]

    def _noisy(
        self, features: Float[Tensor, "n d"], rng: np.random.Generator
    ) -> Float[Tensor, "n d"]:
        """Return unit features with Gaussian noise, each of a random strength up to `noise`."""
        strength = self.recipe.noise * rng.random((len(features), 1)) / features.shape[1] ** 0.5
        noise = torch.from_numpy(rng.standard_normal(features.shape) * strength)
        return functional.normalize(features + noise.to(features), dim=-1)

    @torch.no_grad()
    def _encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        # Texts of like length together, so that little of the work is padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        features = torch.empty(len(texts), self.backbone.joint_dim, device=self.backbone.device)
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            features[part] = self.backbone.encode_text([texts[i] for i in part]).float()
        return features


def splice_between(
    backbone: Backbone,
    before: Sequence[Sequence[int]],
    tokens: Float[Tensor, "n k w"],
    after: Sequence[Sequence[int]],
) -> PromptBatch:
    """Return prompts with pseudo-words in the middle; words that do not fit are cut."""
    table, num_tokens = backbone.token_table(), tokens.shape[1]
    room = backbone.context_length - 2 - num_tokens
    ids = [
        [backbone.start_id, *first[:room], *[backbone.end_id] * num_tokens, *last]
        for first, last in zip(before, after, strict=True)
    ]
    ids = [row[: backbone.context_length - 1] for row in ids]
    ends = torch.tensor([len(row) for row in ids], device=table.device)
    padded = torch.full((len(ids), int(ends.max()) + 1), backbone.end_id)
    for target, row in zip(padded, ids, strict=True):
        target[: len(row)] = torch.tensor(row)
    starts = torch.tensor([[1 + min(len(first), room)] for first in before], device=table.device)
    positions = starts + torch.arange(num_tokens, device=table.device)
    spliced = splice(table[padded.to(table.device)], positions, tokens)
    return PromptBatch(embeddings=spliced, end_positions=ends)


def encode_prompt_batch(backbone: Backbone, batch: PromptBatch) -> Float[Tensor, "n d"]:
    """Return unit text features of prompts, those of like length together."""
    ends = batch.end_positions

    def encode(group: Int[Tensor, " k"], most: int) -> Float[Tensor, "k d"]:
        return backbone.encode_embeddings(batch.embeddings[group, :most], ends[group]).features

    return encode_by_length(ends + 1, encode).float()


def captions_of(tables: Sequence[PictureTable]) -> tuple[str, ...]:
    """Return the distinct captions of natural pictures."""
    texts = (text for table in tables for captions in table.captions for text in captions)
    return tuple(dict.fromkeys(texts))


def _keyword_runs(words: Sequence[str]) -> list[tuple[int, int]]:
    """Return the runs of content words, as (first, one past the last)."""
    runs: list[tuple[int, int]] = []
    for index, word in enumerate(words):
        if word in _PLAIN_WORDS or not word[:1].isalpha():
            continue
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _media_pairs(items: Sequence[PackItem]) -> list[tuple[str, str]]:
    """Return captions of one design and colourway, as a photo and in another medium."""
    photos = {(i.design, i.colourway): i.caption for i in items if i.domain == PHOTO}
    return [
        (photos[item.design, item.colourway], item.caption)
        for item in items
        if item.domain != PHOTO and (item.design, item.colourway) in photos
    ]


def _flat(words: Sequence[Sequence[int]]) -> list[int]:
    return [i for word in words for i in word]


def converter_trainer(recipe: ConverterTraining, settings: RunSettings) -> Trainer[ConverterScores]:
    """Make a run of the converter, which goes on from its state where there is one.

    Raises:
        ValueError: The backbone, the pack or the state cannot be used.
    """
    accelerator = make_accelerator(settings)
    objective = ConverterObjective(recipe, accelerator, seed=settings.seed)
    return Trainer(objective, settings, accelerator)
