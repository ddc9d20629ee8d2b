"""ImageNet-R in Pic2Word's protocol: a real photo and a medium in words ask for its class in it.

The gallery holds the renditions in four media, and all real photos as distractors, among them the
queries themselves, as published. We differ: queries are random photos, since every composer answers
four for each; and the words ("a cartoon") do not stand around a token ("a cartoon of *"), as each
composer has a prompt of its own.

Source: docs/papers.md, "ImageNet-R protocol".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.data.imagenet_r import ImageNetR, open_imagenet_r
from composer.data.instances import Photo
from composer.query import Query
from composer.strategies.protocol import Composer, encode_all
from retrieval.benchmarks.composed import ConversionTask, conversion_row
from retrieval.benchmarks.encode_dataset import gallery_features

NUM_PHOTOS: Final = 400
MODES: Final = ("image", "text", "image+text")
# Words for the renditions of the protocol.
DOMAIN_WORDS: Final = {
    "cartoon": "a cartoon",
    "origami": "an origami",
    "toy": "a toy",
    "sculpture": "a sculpture",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RenditionSet:
    """ImageNet-R with the pictures of its gallery encoded by the frozen backbone.

    Attributes:
        dataset: Renditions, real photos and names.
        features: Of the renditions, then of the real photos.
    """

    dataset: ImageNetR
    features: Float[Tensor, "n d"]

    @property
    def gallery(self) -> tuple[Photo, ...]:
        """The pictures of the gallery, in the order of the features."""
        return (*self.dataset.renditions.photos, *self.dataset.real.photos)


def open_renditions(path: Path, real: Path, backbone: Backbone) -> RenditionSet:
    """Open ImageNet-R and real photos of its classes, and encode them.

    Args:
        path: Folder or archive of ImageNet-R.
        real: Folder or archive of ImageNet's validation photos, sorted by class.
        backbone: Of the kit.

    Raises:
        DatasetError: A layout is another one, or a picture cannot be read.
    """
    dataset = open_imagenet_r(path, real, domains=tuple(DOMAIN_WORDS))
    images = chain.from_iterable(
        (part.image(photo) for photo in part.photos) for part in (dataset.renditions, dataset.real)
    )
    return RenditionSet(dataset=dataset, features=gallery_features(backbone, images))


@torch.inference_mode()
def rendition_rows(
    composer: Composer, renditions: RenditionSet, *, seed: int, num_photos: int = NUM_PHOTOS
) -> list[dict[str, Any]]:
    """Measure domain conversion by photo and words, and by one side alone.

    Args:
        composer: Any composer.
        renditions: The data set.
        seed: Of the choice of photos.
        num_photos: How many of them ask, once for each medium that their class has.
    """
    gallery = renditions.gallery
    pairs = _pairs(renditions.dataset, seed, num_photos)
    rows: list[dict[str, Any]] = []
    for mode in MODES:
        task = ConversionTask(
            query_features=_composed(composer, renditions.dataset, pairs, mode),
            query_classes=[photo.class_name for photo, _ in pairs],
            query_domains=[domain for _, domain in pairs],
            gallery_features=renditions.features,
            gallery_classes=[photo.class_name for photo in gallery],
            gallery_domains=[photo.domain for photo in gallery],
        )
        row = conversion_row(task).as_json()
        rows.append({"composer": composer.name, "query": mode, "split": "imagenet-r", **row})
    return rows


def _pairs(dataset: ImageNetR, seed: int, num_photos: int) -> list[tuple[Photo, str]]:
    """Choose photos, each with every medium that the gallery has of its class."""
    there = {(photo.class_name, photo.domain) for photo in dataset.renditions.photos}
    photos = dataset.real.photos
    picked = np.random.default_rng(seed).permutation(len(photos))[:num_photos]
    return [
        (photos[number], domain)
        for number in picked
        for domain in DOMAIN_WORDS
        if (photos[number].class_name, domain) in there
    ]


def _composed(
    composer: Composer, dataset: ImageNetR, pairs: Sequence[tuple[Photo, str]], mode: str
) -> list[ComposedQuery]:
    """Compose a query for each pair; equal ones are composed once."""
    words = {domain: "" if mode == "image" else said for domain, said in DOMAIN_WORDS.items()}
    if mode == "text":
        alone = {domain: composer.encode(Query(text=said)) for domain, said in words.items()}
        composed = {domain: composer.compose(alone[domain], words[domain]) for domain in words}
        return [composed[domain] for _, domain in pairs]
    photos = tuple(dict.fromkeys(photo for photo, _ in pairs))
    images = (Query(image=dataset.real.image(photo)) for photo in photos)
    encoded = dict(zip(photos, encode_all(composer, images), strict=True))
    asked = dict.fromkeys((photo, words[domain]) for photo, domain in pairs)
    queries = {(photo, said): composer.compose(encoded[photo], said) for photo, said in asked}
    return [queries[photo, words[domain]] for photo, domain in pairs]
