"""Whether confidence tells queries that a gallery can answer from such that it cannot.

Each query is asked of the gallery as it is, and of the gallery without the query's kind.
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
from retrieval.confidence import Asked, Calibrations, Standing, auroc, fit
from retrieval.engines.exact import ExactIndex
from retrieval.files import content_id
from retrieval.filters.tree import Compare, Field, Not, Operator
from retrieval.indexing.embed import encode_with_regions
from retrieval.search import Gallery
from retrieval.store.schema import Item, Manifest
from retrieval.store.table import Store

_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedQuery:
    """A query, what it is made of, and the kind that would answer it."""

    query: ComposedQuery
    asked: Asked
    kind: str
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceRow:
    """How well confidence tells; fractions in [0, 1].

    Attributes:
        composer: Whose queries.
        query: What they are made of.
        split: "seen" or "unseen" kinds, or "validation".
        num_queries: Each is asked twice, with its kind in the gallery and without.
        auroc: How often the answerable one of two queries is the more confident.
        false_alarms: Share of answerable queries that are told "nothing matches".
        noticed: Share of the others that are.
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
    """One query's standing in the gallery, and in the gallery without its kind."""

    asked: Asked
    split: str
    present: Standing
    absent: Standing


def confidence_rows(
    name: str, queries: Sequence[AskedQuery], gallery: Gallery, calibrations: Calibrations
) -> list[ConfidenceRow]:
    """Measure a calibration, for each way of asking that it has and each split."""
    pairs = _pairs(queries, gallery)
    rows: list[ConfidenceRow] = []
    for asked, split in dict.fromkeys((pair.asked, pair.split) for pair in pairs):
        if asked not in calibrations:
            continue
        calibration = calibrations[asked]
        own = [pair for pair in pairs if (pair.asked, pair.split) == (asked, split)]
        present = np.array([calibration.probability(pair.present) for pair in own])
        absent = np.array([calibration.probability(pair.absent) for pair in own])
        rows.append(
            ConfidenceRow(
                composer=name,
                query=asked.value,
                split=split,
                num_queries=len(own),
                auroc=auroc(present.tolist(), absent.tolist()),
                false_alarms=float((present < calibration.threshold).mean()),
                noticed=float((absent < calibration.threshold).mean()),
            )
        )
    return rows


def calibrate(queries: Sequence[AskedQuery], gallery: Gallery) -> Calibrations:
    """Fit one calibration for each way of asking.

    Raises:
        ValueError: There is no query.
    """
    pairs = _pairs(queries, gallery)
    return {
        asked: fit(
            [pair.present for pair in pairs if pair.asked is asked],
            [pair.absent for pair in pairs if pair.asked is asked],
        )
        for asked in dict.fromkeys(pair.asked for pair in pairs)
    }


def _pairs(queries: Sequence[AskedQuery], gallery: Gallery) -> list[_Pair]:
    found: list[_Pair] = []
    for one in queries:
        without = Not(part=Compare(field=Field.KIND, operator=Operator.EQUAL, value=one.kind))
        rankings = [gallery.search(one.query, top_k=1, where=kept) for kept in (None, without)]
        present, absent = (ranking.standing for ranking in rankings)
        if present is not None and absent is not None:
            found.append(_Pair(asked=one.asked, split=one.split, present=present, absent=absent))
    return found


def gallery_queries(protocol: catalogue.Protocol, composer: Composer) -> list[AskedQuery]:
    """Compose the cases of the shipped gallery in every way; words alone name the kind."""
    encoded = catalogue.encode_sketches(protocol, composer)
    return [
        AskedQuery(
            query=query, asked=asked, kind=case.kind, split="seen" if case.seen else "unseen"
        )
        for case in protocol.cases
        for asked, query in _ways(composer, encoded[case.design], case.attributes, case.caption)
    ]


def _ways(
    composer: Composer, drawn: EncodedReference, attributes: str, caption: str
) -> Iterator[tuple[Asked, ComposedQuery]]:
    """The same picture asked for by its drawing, by both, and by a full caption."""
    yield Asked.REFERENCE, composer.compose(drawn, "")
    yield Asked.BOTH, composer.compose(drawn, attributes)
    yield Asked.WORDS, composer.compose(EncodedReference(), caption)


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
        seen = encode_with_regions(backbone, [Image.fromarray(one) for one in pixels])
        items = [
            Item(
                id=content_id(pack.items[row].id.encode()),
                path=pack.items[row].id,
                kind=pack.items[row].kind,
            )
            for row in part
        ]
        store.add(items, seen.features.cpu().numpy(), seen.regions.cpu().numpy())
    return Gallery(store, ExactIndex(store))


@torch.inference_mode()
def pack_queries(pack: CataloguePack, composer: Composer) -> list[AskedQuery]:
    """Compose a query of each kind for every validation photo, its skill fixed by its place."""
    found: list[AskedQuery] = []
    rows = pack.validation_photos()
    for row, sketch in zip(rows, validation_sketches(pack, rows), strict=True):
        item = pack.items[row]
        drawn = composer.encode(Query(sketch=sketch.sketch))
        words = attribute_wording(item).text
        found += [
            AskedQuery(query=query, asked=asked, kind=item.kind, split="validation")
            for asked, query in _ways(composer, drawn, words, item.caption)
        ]
    return found
