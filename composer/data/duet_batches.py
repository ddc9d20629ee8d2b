"""Batches for duet training: references, words, and the photos that answer them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from composer.backbone import Backbone
from composer.data.augment import draw_augmented
from composer.data.catalogue import CataloguePack, PackSketch
from composer.data.feature_store import FeatureStore
from composer.data.wording import (
    Wording,
    attribute_wording,
    is_photo,
    item_facts,
    sample_domain_wording,
    sample_wording,
)
from composer.medium import Medium
from composer.sketch import rasterise
from composer.training.phrases import MEDIUM_PHRASES

_ENCODE_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GalleryFeatures:
    """Features of a pack's pictures by the frozen tower; row i belongs to `rows[i]` of the pack.

    Attributes:
        rows: Rows of the pack.
        features: Unit vectors in the joint space.
        regions: Unit vectors in the joint space, patch features averaged over a coarser grid.
        layouts: What `composer.layout.region_maps` makes of the patch features.
    """

    rows: Int[np.ndarray, " m"]
    features: Float[Tensor, "m d"]
    regions: Float[Tensor, "m r d"]
    layouts: Float[Tensor, "m c"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DuetBatch:
    """n references with words. Columns of the masks are rows of the gallery.

    Attributes:
        references: Drawn or photographed, RGB at the backbone's size; or, where they were encoded
            before, unit features of the frozen tower.
        is_photo: Which of them are photographed.
        anchors: Gallery row of a photo of each reference's design, P+.
        targets: Gallery row of the picture that the words describe.
        word_ids: Vocabulary ids of the words; empty where they were dropped.
        shows_design: Photos of the design in any colourway: right for the reference alone.
        design_ignored: Other media of the design: neither right nor wrong for it.
        answers: Pictures of the design of which the words are true.
        answer_ignored: Pictures neither right nor wrong for reference and words.
        same_look: Photos of the anchor's design and colourway.
    """

    references: UInt8[np.ndarray, "n h w 3"] | Float[Tensor, "n d"]
    is_photo: Bool[Tensor, " n"]
    anchors: Int[Tensor, " n"]
    targets: Int[Tensor, " n"]
    word_ids: list[list[int]]
    shows_design: Bool[Tensor, "n m"]
    design_ignored: Bool[Tensor, "n m"]
    answers: Bool[Tensor, "n m"]
    answer_ignored: Bool[Tensor, "n m"]
    same_look: Bool[Tensor, "n m"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Shares of a batch, each in [0, 1].

    Attributes:
        photo_references: References that are a photo of the design in another colourway.
        domain_targets: Words that name a medium and describe a picture in it.
        dropped_words: References without words.
    """

    photo_references: float = 0.12
    domain_targets: float = 0.12
    dropped_words: float = 0.05


def encode_gallery(
    pack: CataloguePack, rows: Int[np.ndarray, " m"], store: FeatureStore
) -> GalleryFeatures:
    """Return the features of some of a pack's pictures; callers choose autocast.

    Raises:
        ValueError: There is none.
    """
    if len(rows) == 0:
        raise ValueError(
            "The pack has no pictures of a split that the training needs; a small pack may hold "
            "validation designs alone. Build a larger one with python -m assets.catalogue."
        )
    size_px = store.backbone.image_size_px
    starts = range(0, len(rows), _ENCODE_BATCH)
    parts = [store.see(pack.pixels(rows[at : at + _ENCODE_BATCH], size_px)) for at in starts]
    with torch.autocast(store.backbone.device.type, enabled=False):  # it joins no halves
        return GalleryFeatures(
            rows=rows,
            features=torch.cat([part.features for part in parts]),
            regions=torch.cat([part.regions for part in parts if part.regions is not None]),
            layouts=torch.cat([part.layouts for part in parts]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedReferences:
    """Features of references, encoded before a training starts.

    Attributes:
        drawings: Unit features by design, k being `count` times the sketches of the design.
        photos: Unit features of the gallery's photos, by their row in it.
    """

    drawings: Mapping[str, Float[Tensor, "k d"]]
    photos: Mapping[int, Float[Tensor, " d"]]


def encode_references(
    pack: CataloguePack,
    designs: Sequence[str],
    rows: Int[np.ndarray, " m"],
    store: FeatureStore,
    *,
    count: int,
    seed: int = 0,
) -> EncodedReferences:
    """Encode each sketch of the designs, augmented `count` times, and the gallery's photos.

    Args:
        pack: The training pack.
        designs: The designs whose sketches are encoded.
        rows: The gallery's rows of the pack.
        store: Of the tower that encodes references.
        count: Augmentations of each sketch.
        seed: Of the augmentation.
    """
    chosen = set(designs)
    sketches = [sketch for sketch in pack.sketches if sketch.design in chosen]
    rng = np.random.default_rng(seed)
    size_px = store.backbone.image_size_px
    features: dict[str, list[Tensor]] = defaultdict(list)
    for start in range(0, len(sketches), _ENCODE_BATCH):
        part = sketches[start : start + _ENCODE_BATCH]
        for _ in range(count):
            ink = np.stack([draw_augmented(s.sketch, size_px, rng) for s in part])
            encoded = store.features(_as_rgb(ink), Medium.DRAWING)
            for sketch, feature in zip(part, encoded, strict=True):
                features[sketch.design].append(feature)
    photos: dict[int, Tensor] = {}
    indices = [index for index, row in enumerate(rows) if is_photo(pack.items[row])]
    for start in range(0, len(indices), _ENCODE_BATCH):
        part = indices[start : start + _ENCODE_BATCH]
        photos.update(zip(part, store.features(pack.pixels(rows[part], size_px)), strict=True))
    return EncodedReferences(
        drawings={design: torch.stack(parts) for design, parts in features.items()}, photos=photos
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Drawn:
    """One reference of a batch: pixels or a feature, and what belongs to it."""

    levels: np.ndarray | Tensor
    is_photo: bool
    anchor: int
    target: int
    wording: Wording


class DuetBatches:
    """Draws batches; every draw is a function of the seed and the step alone.

    All references of a batch are of different designs. They are augmented sketches and, as our
    addition, some photos in another colourway; words are attribute phrases, parts of them, colours,
    paraphrases, or the name of a medium.
    """

    def __init__(
        self,
        pack: CataloguePack,
        gallery: GalleryFeatures,
        backbone: Backbone,
        *,
        seed: int = 0,
        mixture: Mixture | None = None,
    ) -> None:
        """Take the pack and the encoded pictures of the designs to train on."""
        self._pack, self._backbone, self._seed = pack, backbone, seed
        self._mixture = mixture or Mixture()
        self._items = [pack.items[row] for row in gallery.rows]
        self._rows = gallery.rows
        self._facts = [item_facts(item) for item in self._items]
        members: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(self._items):
            members[item.design].append(index)
        sketches: dict[str, list[PackSketch]] = defaultdict(list)
        for sketch in pack.sketches:
            sketches[sketch.design].append(sketch)
        self._sketches = dict(sketches)
        self._members = {
            design: np.array(rows)
            for design, rows in members.items()
            if design in sketches and any(is_photo(self._items[row]) for row in rows)
        }
        self.designs = sorted(self._members)
        if not self.designs:
            raise ValueError("The pack has no design with both a photo and a sketch.")
        self._word_ids = lru_cache(maxsize=200_000)(self._tokenise)

    def draw(
        self,
        step: int,
        batch_size: int,
        encoded: EncodedReferences | None = None,
    ) -> DuetBatch:
        """Draw the batch of a step; smaller where there are fewer designs.

        With `encoded`, references are its features instead of pixels.
        """
        rng = np.random.default_rng([self._seed, step])
        count = min(batch_size, len(self.designs))
        chosen = rng.choice(len(self.designs), size=count, replace=False)
        drawn = [self._draw_reference(self.designs[int(index)], rng, encoded) for index in chosen]
        masks = np.zeros((5, count, len(self._items)), dtype=bool)
        for row, one in enumerate(drawn):
            self._mark(masks[:, row], one.anchor, one.target, one.wording)
        flags = [torch.from_numpy(mask).to(self._backbone.device) for mask in masks]
        features = [one.levels for one in drawn if isinstance(one.levels, Tensor)]
        pixels = [one.levels for one in drawn if isinstance(one.levels, np.ndarray)]
        return DuetBatch(
            references=torch.stack(features) if features else np.stack(pixels),
            is_photo=torch.tensor([one.is_photo for one in drawn]),
            anchors=torch.tensor([one.anchor for one in drawn]),
            targets=torch.tensor([one.target for one in drawn]),
            word_ids=[list(self._word_ids(one.wording.text)) for one in drawn],
            shows_design=flags[0],
            design_ignored=flags[1],
            answers=flags[2],
            answer_ignored=flags[3],
            same_look=flags[4],
        )

    def _draw_reference(
        self,
        design: str,
        rng: np.random.Generator,
        encoded: EncodedReferences | None,
    ) -> "_Drawn":
        """Draw a reference of a design, its anchor, its target and the target's wording."""
        members = self._members[design]
        photos = [int(row) for row in members if is_photo(self._items[row])]
        media = [int(row) for row in members if self._items[row].domain in MEDIUM_PHRASES]
        anchor = target = int(rng.choice(photos))
        wording = sample_wording(self._items[target], rng)
        if media and rng.random() < self._mixture.domain_targets:
            target = int(rng.choice(media))
            wording = sample_domain_wording(self._items[target], rng)
        elif rng.random() < self._mixture.dropped_words:
            wording = Wording(text="", facts=frozenset())
        levels, is_photographed = self._reference(design, photos, anchor, rng, encoded)
        return _Drawn(
            levels=levels, is_photo=is_photographed, anchor=anchor, target=target, wording=wording
        )

    def _reference(
        self,
        design: str,
        photos: list[int],
        anchor: int,
        rng: np.random.Generator,
        encoded: EncodedReferences | None,
    ) -> tuple[np.ndarray | Tensor, bool]:
        """Return a drawing or another photo of a design, and whether it is a photo.

        Its features if there are any, else its pixels.
        """
        colourway = self._items[anchor].colourway
        others = [row for row in photos if self._items[row].colourway != colourway]
        if others and rng.random() < self._mixture.photo_references:
            row = int(rng.choice(others))
            if encoded is not None:
                return encoded.photos[row], True
            return self._pack.pixels(self._rows[[row]], self._backbone.image_size_px)[0], True
        if encoded is not None:
            drawings = encoded.drawings[design]
            return drawings[int(rng.integers(0, len(drawings)))], False
        sketches = self._sketches[design]
        sketch = sketches[int(rng.integers(0, len(sketches)))].sketch
        ink = draw_augmented(sketch, self._backbone.image_size_px, rng)
        return _as_rgb(ink), False

    def _mark(self, masks: np.ndarray, anchor: int, target: int, wording: Wording) -> None:
        """Fill the five masks of one reference, in the order of `DuetBatch`."""
        domain, look = self._items[target].domain, self._items[anchor].colourway
        for row in self._members[self._items[target].design]:
            item = self._items[row]
            is_true = wording.facts <= self._facts[row]
            masks[0, row] = is_photo(item)
            masks[1, row] = not is_photo(item)
            masks[2, row] = is_true and item.domain == domain
            # Words that name no medium exclude none.
            masks[3, row] = is_true and is_photo(self._items[target]) and not is_photo(item)
            masks[4, row] = is_photo(item) and item.colourway == look

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(i for word in self._backbone.word_ids(text) for i in word)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValidationQueries:
    """One query per validation photo; its right answer is that photo.

    Attributes:
        sketches: Ink on white, RGB at the backbone's size; one per query.
        words: The attribute phrases.
    """

    sketches: UInt8[np.ndarray, "n h w 3"]
    words: tuple[str, ...]


def validation_sketches(pack: CataloguePack, rows: Int[np.ndarray, " n"]) -> list[PackSketch]:
    """Choose a sketch of each picture's design, its skill fixed by the picture's index.

    Raises:
        ValueError: A design has no sketch.
    """
    sketches: dict[str, list[PackSketch]] = defaultdict(list)
    for sketch in pack.sketches:
        sketches[sketch.design].append(sketch)
    chosen: list[PackSketch] = []
    for index, row in enumerate(rows):
        design = pack.items[row].design
        if not sketches[design]:
            raise ValueError(f"The validation design {design} has no sketch.")
        options = sorted(sketches[design], key=lambda sketch: (sketch.skill, sketch.seed))
        chosen.append(options[index % len(options)])
    return chosen


def validation_queries(
    pack: CataloguePack, rows: Int[np.ndarray, " n"], size_px: int
) -> ValidationQueries:
    """Draw each photo's sketch, its skill fixed by the photo's index.

    Raises:
        ValueError: A design has no sketch.
    """
    drawings = [rasterise(sketch.sketch, size_px) for sketch in validation_sketches(pack, rows)]
    return ValidationQueries(
        sketches=_as_rgb(np.stack(drawings)),
        words=tuple(attribute_wording(pack.items[row]).text for row in rows),
    )


def _as_rgb(ink: UInt8[np.ndarray, "*n h w"]) -> UInt8[np.ndarray, "*n h w 3"]:
    return np.repeat(ink[..., None], 3, axis=-1)
