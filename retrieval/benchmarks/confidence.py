"""Benchmark of confidence: separation of answerable from unanswerable queries.

Each query searches the gallery, and the gallery without the query's kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import validation_sketches
from composer.data.wording import attribute_wording
from composer.query import Query
from composer.strategies.protocol import Composer, EncodedReference
from retrieval.benchmarks import catalogue
from retrieval.confidence import Calibrations, QueryMode, Standing, auroc, fit
from retrieval.engines.exact import ExactIndex
from retrieval.files import content_id
from retrieval.filters.tree import Compare, Field, Not, Operator
from retrieval.indexing.embed import encode_with_regions
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledQuery:
    """A query with its mode, and the kind of its target."""

    query: ComposedQuery
    mode: QueryMode
    kind: str
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceRow:
    """Row of the table; fractions in [0, 1].

    Attributes:
        composer: Name of the composer.
        query: Mode of the queries.
        split: "seen" or "unseen" kinds, or "validation".
        num_queries: Number of queries; each is searched twice, with its kind and without.
        auroc: How often an answerable query has more confidence than an unanswerable one.
        false_alarms: Share of answerable queries without a match.
        noticed: Share of unanswerable queries without a match.
    """

    composer: str
    query: str
    split: str
    num_queries: int
    auroc: float
    false_alarms: float
    noticed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Standing of a query in the gallery, and in the gallery without its kind."""

    mode: QueryMode
    split: str
    present: Standing
    absent: Standing


def confidence_rows(
    name: str, queries: Sequence[LabelledQuery], gallery: Gallery, calibrations: Calibrations
) -> list[ConfidenceRow]:
    """Measure a calibration, for each of its query modes and each split."""
    pairs = _pairs(queries, gallery)
    rows: list[ConfidenceRow] = []
    for mode, split in dict.fromkeys((pair.mode, pair.split) for pair in pairs):
        if mode not in calibrations:
            continue
        calibration = calibrations[mode]
        group = [pair for pair in pairs if (pair.mode, pair.split) == (mode, split)]
        present = np.array([calibration.probability(pair.present) for pair in group])
        absent = np.array([calibration.probability(pair.absent) for pair in group])
        rows.append(
            ConfidenceRow(
                composer=name,
                query=mode.value,
                split=split,
                num_queries=len(group),
                auroc=auroc(present.tolist(), absent.tolist()),
                false_alarms=float((present < calibration.threshold).mean()),
                noticed=float((absent < calibration.threshold).mean()),
            )
        )
    return rows


def calibrate(queries: Sequence[LabelledQuery], gallery: Gallery) -> Calibrations:
    """Fit one calibration for each query mode.

    Raises:
        ValueError: There is no query.
    """
    pairs = _pairs(queries, gallery)
    return {
        mode: fit(
            [pair.present for pair in pairs if pair.mode is mode],
            [pair.absent for pair in pairs if pair.mode is mode],
        )
        for mode in dict.fromkeys(pair.mode for pair in pairs)
    }


def _pairs(queries: Sequence[LabelledQuery], gallery: Gallery) -> list[_Pair]:
    pairs: list[_Pair] = []
    for labelled in queries:
        kind = Compare(field=Field.KIND, operator=Operator.EQUAL, value=labelled.kind)
        present, absent = (
            gallery.search(labelled.query, top_k=1, where=where).standing
            for where in (None, Not(part=kind))
        )
        if present is not None and absent is not None:
            pairs.append(
                _Pair(mode=labelled.mode, split=labelled.split, present=present, absent=absent)
            )
    return pairs


def gallery_queries(protocol: catalogue.Protocol, composer: Composer) -> list[LabelledQuery]:
    """Compose the cases of the shipped gallery in every mode; words alone name the kind."""
    encoded = catalogue.encode_sketches(protocol, composer)
    return [
        LabelledQuery(
            query=query,
            mode=mode,
            kind=case.kind,
            split="seen" if case.trained_kind else "unseen",
        )
        for case in protocol.cases
        for mode, query in _queries_by_mode(
            composer, encoded[case.design], case.attributes, case.caption
        )
    ]


def _queries_by_mode(
    composer: Composer, drawn: EncodedReference, attributes: str, caption: str
) -> Iterator[tuple[QueryMode, ComposedQuery]]:
    """Yield queries for a picture: by its drawing, with attributes too, and by its caption."""
    yield QueryMode.REFERENCE, composer.compose(drawn, "")
    yield QueryMode.BOTH, composer.compose(drawn, attributes)
    yield QueryMode.WORDS, composer.compose(EncodedReference(), caption)


@torch.inference_mode()
def pack_gallery(pack: CataloguePack, backbone: Backbone, folder: Path) -> Gallery:
    """Index the validation photos of a training pack in an empty folder.

    Raises:
        GalleryError: The folder cannot be written.
        ValueError: The pack has no validation designs.
    """
    rows = pack.validation_photos()
    manifest = Manifest(
        gallery_hash=backbone.gallery_hash, dim=backbone.joint_dim, kit="validation", root="."
    )
    store = Store.create(folder, manifest)
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        pixels = pack.pixels(part, backbone.image_size_px)
        images = [Image.fromarray(levels) for levels in pixels]
        encoded = encode_with_regions(backbone, images)
        items = [
            Item(
                id=content_id(pack.items[row].id.encode()),
                path=pack.items[row].id,
                kind=pack.items[row].kind,
            )
            for row in part
        ]
        store.add(items, encoded.features.cpu().numpy(), encoded.regions.cpu().numpy())
    return Gallery(store, ExactIndex(store))


@torch.inference_mode()
def pack_queries(pack: CataloguePack, composer: Composer) -> list[LabelledQuery]:
    """Compose a query of each mode for every validation photo; its row fixes the skill."""
    queries: list[LabelledQuery] = []
    rows = pack.validation_photos()
    for row, sketch in zip(rows, validation_sketches(pack, rows), strict=True):
        item = pack.items[row]
        drawn = composer.encode(Query(sketch=sketch.sketch))
        words = attribute_wording(item).text
        queries += [
            LabelledQuery(query=query, mode=mode, kind=item.kind, split="validation")
            for mode, query in _queries_by_mode(composer, drawn, words, item.caption)
        ]
    return queries
