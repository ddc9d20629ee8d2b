"""Drawings and photos of the natural world in the training of duet."""

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.data.colour_words import colour_words
from composer.data.feature_store import FeatureStore
from composer.data.natural_queries import NaturalQueries, NaturalQuery
from composer.data.world import NaturalParts, PairBatches, PairTable, World
from composer.medium import Medium
from composer.strategies.duet import DuetModel
from composer.strategies.reference import PLAIN_PROMPT, complete
from composer.training.duet_validation import Accuracy, Chairs, accuracy, rerank
from composer.training.losses import multi_positive_nce
from composer.training.pairs import HeldClasses, to_device
from composer.vision import in_order, rows_by_medium

NATURAL_SHARES = {"sketchy": 0.4, "chairv2": 0.6}
_PER_CLASS = 4


class NaturalReferences:
    """Training parts of Sketchy and ChairV2; photos encoded once by the frozen tower.

    Attributes:
        held: Sketchy's validation classes.
        chairs: ChairV2's validation chairs; None where there are none.
        world: What is trained on.
    """

    def __init__(
        self,
        parts: NaturalParts,
        store: FeatureStore,
        accelerator: Accelerator,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """Encode the photos."""
        self._accelerator, self.world = accelerator, World(parts.train)
        self._batches = PairBatches(
            self.world,
            num_classes=max(1, batch_size // _PER_CLASS),
            per_class=_PER_CLASS,
            shares=NATURAL_SHARES,
            seed=seed,
        )
        with accelerator.autocast():
            seen = store.see(self.world.photos)
        self.held = HeldClasses(World(parts.validation), store)
        self.chairs = None if parts.chairs is None else HeldChairs(parts.chairs, store)
        self._gallery, self._layouts = seen.features, seen.layouts.float()
        device = store.backbone.device
        self._classes = to_device(self.world.photo_classes, device)
        self._instances = to_device(self.world.photo_instances, device)

    def loss(
        self, model: DuetModel, draw: int, *, temperature: float, layout_temperature: float
    ) -> Float[Tensor, ""]:
        """Return the InfoNCE of drawings against all photos of the natural world.

        The mean of three terms: the prompt `[P_L; s_w]` is near photos of the drawing's class, and
        near those of the same instance, if there are any; the drawing's layout is near theirs.
        Drawings of ChairV2, all of one class, contribute nothing to the first.
        """
        batch = self._batches.draw(draw)
        pixels = model.backbone.normalise_pixels(batch.drawings)
        with self._accelerator.autocast():
            encoding = model.encode_image(pixels)
            q = model.read_alone(encoding.features)
        to_photos = q @ self._gallery.T
        to_layouts = model.backbone.layouts(encoding) @ self._layouts.T
        is_class = to_device(batch.classes, to_photos.device).unsqueeze(1) == self._classes
        is_thing = to_device(batch.instances, to_photos.device).unsqueeze(1) == self._instances
        none_ignored = torch.zeros_like(is_class)
        terms = [
            multi_positive_nce(to_photos, is_class, none_ignored, temperature=temperature),
            multi_positive_nce(to_photos, is_thing, none_ignored, temperature=temperature),
            multi_positive_nce(to_layouts, is_thing, none_ignored, temperature=layout_temperature),
        ]
        return torch.stack(terms).mean()


class HeldChairs:
    """Drawn chairs that no training sees, looked for among all of them, with and without words."""

    def __init__(self, chairs: PairTable, store: FeatureStore) -> None:
        """Encode the photos with the frozen tower."""
        self._backbone = store.backbone
        world = World([chairs])
        self._seen = store.see(world.photos)
        places = {int(instance): row for row, instance in enumerate(world.photo_instances)}
        self._targets = torch.tensor([places[int(i)] for i in world.drawing_instances])
        ink = np.stack([world.ink(row, None) for row in range(len(world.drawings))])
        self._pixels = store.backbone.normalise_pixels(np.repeat(ink[..., None], 3, axis=-1))
        said = [colour_words(Image.fromarray(photo)) for photo in world.photos]
        self._words = [said[row] for row in self._targets.tolist()]

    @torch.no_grad()
    def asked(self, model: DuetModel) -> Chairs:
        """Return what the drawings' accuracy is, given shares of their and the words' feature.

        As a search orders them: all by feature, the best hundred by feature and layout.
        """
        backbone = self._backbone
        encoding = model.encode_image(self._pixels)
        tokens = model.convert(encoding.features)
        by_layout = backbone.layouts(encoding) @ self._seen.layouts.float().T
        weight = backbone.layout_weight(Medium.DRAWING)
        silent: list[list[int]] = [[] for _ in self._words]
        said = [[i for word in backbone.word_ids(text) for i in word] for text in self._words]
        alone, both = (model.read(tokens, ids) for ids in (silent, said))
        words = backbone.encode_text([f"{PLAIN_PROMPT} {text}" for text in self._words]).float()

        def try_one(residual: float, share: float | None) -> Accuracy:
            read = alone if share is None else both + share * words
            queries = complete(read, encoding.features, residual)
            ordered = rerank(queries @ self._seen.features.T, by_layout, weight)
            return accuracy(ordered, self._targets.to(ordered.device))

        return try_one


class CachedNatural:
    """Queries of the natural world whose references were encoded before, for the cheap steps."""

    def __init__(
        self,
        queries: NaturalQueries,
        frozen: FeatureStore,
        tuned: FeatureStore,
        accelerator: Accelerator,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        """Encode references and pictures.

        Args:
            queries: What is asked.
            frozen: Of the tower that encodes pictures.
            tuned: Of the tower that encodes references.
            accelerator: Of the run.
            batch_size: Queries of a step, as many of each source.
            seed: Of every draw.
        """
        self._accelerator, self._seed = accelerator, seed
        self._sources = list(queries.by_source.values())
        self._per_source = max(1, batch_size // len(self._sources))
        with accelerator.autocast():
            self._gallery = frozen.features(queries.pictures)
            self._references = _encode(queries, tuned)
        frozen.flush()
        tuned.flush()

    def loss(self, model: DuetModel, draw: int, *, temperature: float) -> Float[Tensor, ""]:
        """Return the InfoNCE of queries against all pictures of the natural world."""
        rng = np.random.default_rng([self._seed, draw, 2])
        asked = [
            self._choose(source, rng) for source in self._sources for _ in range(self._per_source)
        ]
        features = self._references[[query.reference for query in asked]]
        word_ids = [_ids(model, query, rng) for query in asked]
        with self._accelerator.autocast():
            found = model.read(model.convert(features), word_ids)
        is_right = torch.zeros(len(asked), len(self._gallery), dtype=torch.bool)
        is_ignored = torch.zeros_like(is_right)
        for row, query in enumerate(asked):
            is_right[row, list(query.answers)] = True
            is_ignored[row, list(query.ignored)] = True
        return multi_positive_nce(
            found @ self._gallery.T,
            is_right.to(self._gallery.device),
            is_ignored.to(self._gallery.device),
            temperature=temperature,
        )

    def _choose(self, source: tuple[NaturalQuery, ...], rng: np.random.Generator) -> NaturalQuery:
        return source[int(rng.integers(len(source)))]


def _encode(queries: NaturalQueries, store: FeatureStore) -> Float[Tensor, "k d"]:
    is_photo = torch.tensor([medium is Medium.PHOTO for medium in queries.media])
    rows = rows_by_medium(is_photo)
    seen = [
        store.features(queries.references[chosen.numpy()], medium)
        for medium, chosen in rows.items()
    ]
    return in_order(seen, [chosen.to(seen[0].device) for chosen in rows.values()])


def _ids(model: DuetModel, query: NaturalQuery, rng: np.random.Generator) -> list[int]:
    if not query.words:
        return []
    text = query.words[int(rng.integers(len(query.words)))]
    return [i for word in model.backbone.word_ids(text) for i in word]
