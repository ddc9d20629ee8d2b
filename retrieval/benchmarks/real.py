"""Held-out benchmarks with drawings by people and natural pictures.

The parts named by `composer.data.heldout`: 60 of ChairV2's photos with all their sketches, 20
classes of Sketchy, a quarter of each PACS domain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from composer.backbone import Backbone
from composer.data import archives
from composer.data.colour_words import colour_words
from composer.data.instances import Drawing, InstanceDataset
from composer.data.pacs import open_pacs, pacs_parts
from composer.data.qmul import chairv2_parts, open_chairv2
from composer.data.sketchy import open_sketchy, split_heldout
from composer.data.tree import DatasetError
from composer.layout import blend
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, encode_all
from retrieval.benchmarks.category import CategoryTask, category_row
from retrieval.benchmarks.composed import ConversionTask, conversion_row
from retrieval.benchmarks.encode_dataset import composed_queries, encode_gallery
from retrieval.benchmarks.fine_grained import FineGrainedTask, fine_grained_row, row_from_ranks
from retrieval.benchmarks.metrics import ranks_of_targets
from retrieval.fusion import similarities
from retrieval.indexing.embed import EncodedImages
from retrieval.regions import query_layout, query_weight, region_scores

# Words for the domains of PACS.
DOMAIN_WORDS = {"photo": "a photo", "art_painting": "a painting", "cartoon": "a cartoon"}
NUM_CONVERTED = 100
ON_PLAIN_GROUND = ("chairv2",)
MODES = {False: "sketch", True: "sketch+text"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealSet:
    """The held-out part of a data set, with its photos encoded by the frozen backbone.

    Attributes:
        dataset: Photos and drawings.
        gallery: The photos, encoded.
        words: What each photo's main colours are, by `composer.data.colour_words`; for photos on a
            plain ground alone.
    """

    dataset: InstanceDataset
    gallery: EncodedImages
    words: tuple[str, ...] = ()
    _sketches: dict[Drawing, Sketch] = field(default_factory=dict, init=False, repr=False)

    def sketch(self, drawing: Drawing) -> Sketch:
        """Return a drawing, read at the first call: a scan takes longer to read than to encode.

        Raises:
            DatasetError: The file is missing, damaged or holds no drawing.
        """
        if drawing not in self._sketches:
            self._sketches[drawing] = self.dataset.sketch(drawing)
        return self._sketches[drawing]


def open_real(folder: Path, backbone: Backbone) -> dict[str, RealSet]:
    """Open the held-out parts of the archives in a folder and encode their photos.

    Raises:
        DatasetError: An archive is missing or has another layout.
    """
    sketchy = open_sketchy(folder / archives.SKETCHY)
    datasets = {
        "chairv2": chairv2_parts(open_chairv2(folder / archives.CHAIRV2)).held_out,
        "sketchy": sketchy.select(classes=split_heldout(sketchy).test),
        "pacs": pacs_parts(open_pacs(folder / archives.PACS)).held_out,
    }
    return {
        name: RealSet(
            dataset=dataset,
            gallery=encode_gallery(backbone, (dataset.image(p) for p in dataset.photos)),
            words=tuple(colour_words(dataset.image(p)) for p in dataset.photos)
            if name in ON_PLAIN_GROUND
            else (),
        )
        for name, dataset in datasets.items()
    }


def chair_row(composer: Composer, real: RealSet, *, has_words: bool = False) -> dict[str, Any]:
    """Measure fine-grained retrieval: the target of a sketch is the photo it was drawn from.

    Args:
        composer: Any composer.
        real: The data set.
        has_words: Whether the colours of the target come along in words.
    """
    dataset = real.dataset
    task = FineGrainedTask(
        query_features=composed_queries(composer, _instance_queries(real, has_words=has_words)),
        gallery_features=real.gallery.features,
        targets=_targets(dataset),
    )
    measures = {"rerank": False, **fine_grained_row(task).as_json()}
    return _row(composer, MODES[has_words], "chairv2", measures)


@torch.inference_mode()
def chair_reranked(
    composer: Composer, real: RealSet, *, has_words: bool = False
) -> dict[str, Any] | None:
    """Measure the same, ranked by feature and layout; None without layouts."""
    dataset, photos = real.dataset, real.gallery
    targets = _targets(dataset)
    scores: list[Tensor] = []
    asked = list(_instance_queries(real, has_words=has_words))
    for encoded, asked_for in zip(encode_all(composer, asked), asked, strict=True):
        query = composer.compose(encoded, asked_for.text)
        layout = query_layout(query)
        if layout is None:
            return None
        regions = region_scores(layout, photos.regions)
        features = similarities([query], photos.features)[0]
        scores.append(blend(features, regions, query_weight(query)))
    ranks = ranks_of_targets(torch.stack(scores).numpy(), targets)
    size = len(photos.features)
    row = row_from_ranks(ranks, num_gallery=size, num_candidates=float(size), within_class=False)
    return _row(composer, MODES[has_words], "chairv2", {"rerank": True, **row.as_json()})


def class_row(composer: Composer, real: RealSet) -> dict[str, Any]:
    """Measure zero-shot category retrieval: photos of the drawn class are relevant."""
    dataset = real.dataset
    task = CategoryTask(
        query_features=composed_queries(composer, _queries(real)),
        query_classes=[drawing.class_name for drawing in dataset.drawings],
        gallery_features=real.gallery.features,
        gallery_classes=[photo.class_name for photo in dataset.photos],
    )
    return _row(composer, "sketch", "sketchy", category_row(task).as_json())


def conversion(
    composer: Composer, real: RealSet, *, seed: int, mode: str = "sketch+text"
) -> dict[str, Any]:
    """Measure domain conversion: a drawing, and a domain in words.

    Args:
        composer: Any composer.
        real: The data set.
        seed: Of the choice of drawings.
        mode: "sketch+text", or "sketch" or "text" for one side alone.
    """
    dataset = real.dataset
    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(dataset.drawings))[:NUM_CONVERTED]
    drawings = [dataset.drawings[i] for i in picked]
    pairs = [(drawing, domain) for drawing in drawings for domain in DOMAIN_WORDS]
    queries = (
        Query(
            sketch=None if mode == "text" else real.sketch(drawing),
            text="" if mode == "sketch" else DOMAIN_WORDS[domain],
        )
        for drawing, domain in pairs
    )
    task = ConversionTask(
        query_features=composed_queries(composer, queries),
        query_classes=[drawing.class_name for drawing, _ in pairs],
        query_domains=[domain for _, domain in pairs],
        gallery_features=real.gallery.features,
        gallery_classes=[photo.class_name for photo in dataset.photos],
        gallery_domains=[photo.domain for photo in dataset.photos],
    )
    return _row(composer, mode, "pacs", conversion_row(task).as_json())


def _instance_queries(real: RealSet, *, has_words: bool) -> Iterator[Query]:
    """Yield the drawings of a data set, with the colours of their photos if asked."""
    dataset = real.dataset
    words = [real.words[row] for row in _targets(dataset)] if has_words else None
    for number, drawing in enumerate(dataset.drawings):
        yield Query(sketch=real.sketch(drawing), text=words[number] if words else "")


def _targets(dataset: InstanceDataset) -> Int[np.ndarray, " q"]:
    rows = {photo.instance: row for row, photo in enumerate(dataset.photos)}
    if lost := [d.path for d in dataset.drawings if d.instance not in rows]:
        raise DatasetError(f"{dataset.name} has no photo of {lost[0]}.")
    return np.array([rows[drawing.instance] for drawing in dataset.drawings])


def _queries(real: RealSet) -> Iterator[Query]:
    return (Query(sketch=real.sketch(drawing)) for drawing in real.dataset.drawings)


def _row(composer: Composer, query: str, split: str, measures: dict[str, Any]) -> dict[str, Any]:
    return {"composer": composer.name, "query": query, "split": split, **measures}
