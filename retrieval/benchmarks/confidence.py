"""Benchmark of confidence: separation of answerable from unanswerable queries.

Each query searches the gallery, and the gallery without the query's kind.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import validation_sketches
from composer.data.instances import InstanceDataset
from composer.data.wording import attribute_wording, with_article
from composer.data.world import words_of_class
from composer.query import Query
from composer.strategies.protocol import Composer, EncodedReference, encode_all
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
NATURAL = "natural"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledQuery:
    """A query and the kind of its target.

    Attributes:
        query: The query.
        mode: Its mode, which has a calibration.
        asked: What was given: "drawing", "drawing and words", "caption", "two words" or "name".
        kind: What its target shows.
        split: What the target may be used for.
    """

    query: ComposedQuery
    mode: QueryMode
    asked: str
    kind: str
    split: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceRow:
    """Row of the table; fractions in [0, 1].

    Attributes:
        composer: Name of the composer.
        query: Mode of the queries.
        asked: What was given, as in `LabelledQuery`.
        split: "seen" or "unseen" kinds, "validation", or "natural".
        num_queries: Number of queries; each is searched twice, with its kind and without.
        judged: Share of queries that may be reported as without a match.
        auroc: How often an answerable query has more confidence than an unanswerable one.
        false_alarms: Share of answerable queries that are reported as without a match.
        noticed: Share of unanswerable queries that are reported as without a match.
    """

    composer: str
    query: str
    asked: str
    split: str
    num_queries: int
    judged: float
    auroc: float
    false_alarms: float
    noticed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    """Standing of a query in the gallery, and in the gallery without its kind.

    `is_judged` tells whether the query may be reported as without a match.
    """

    mode: QueryMode
    asked: str
    split: str
    present: Standing
    absent: Standing
    is_judged: bool = True


def _judge_all(_: ComposedQuery) -> bool:
    return True


def confidence_rows(
    name: str,
    queries: Sequence[LabelledQuery],
    gallery: Gallery,
    calibrations: Calibrations,
    is_judged: Callable[[ComposedQuery], bool] = _judge_all,
) -> list[ConfidenceRow]:
    """Measure a calibration, for each of its query modes, what was given, and each split.

    Args:
        name: Name of the composer.
        queries: Its queries.
        gallery: The gallery that is searched.
        calibrations: Of the composer, by query mode.
        is_judged: Whether a query may be reported as without a match.
    """
    pairs = _pairs(queries, gallery, is_judged)
    rows: list[ConfidenceRow] = []
    for key in dict.fromkeys((pair.mode, pair.asked, pair.split) for pair in pairs):
        mode, asked, split = key
        if mode not in calibrations:
            continue
        calibration = calibrations[mode]
        group = [pair for pair in pairs if (pair.mode, pair.asked, pair.split) == key]
        present = np.array([calibration.probability(pair.present) for pair in group])
        absent = np.array([calibration.probability(pair.absent) for pair in group])
        judged = np.array([pair.is_judged for pair in group])
        rows.append(
            ConfidenceRow(
                composer=name,
                query=mode.value,
                asked=asked,
                split=split,
                num_queries=len(group),
                judged=float(judged.mean()),
                auroc=auroc(present.tolist(), absent.tolist()),
                false_alarms=float((judged & (present < calibration.threshold)).mean()),
                noticed=float((judged & (absent < calibration.threshold)).mean()),
            )
        )
    return rows


def calibrate(asked: Sequence[tuple[Sequence[LabelledQuery], Gallery]]) -> Calibrations:
    """Fit one calibration for each query mode, on queries of one or several galleries.

    Raises:
        ValueError: There is no query.
    """
    pairs = [pair for queries, gallery in asked for pair in _pairs(queries, gallery)]
    return {
        mode: fit(
            [pair.present for pair in pairs if pair.mode is mode],
            [pair.absent for pair in pairs if pair.mode is mode],
        )
        for mode in dict.fromkeys(pair.mode for pair in pairs)
    }


def _pairs(
    queries: Sequence[LabelledQuery],
    gallery: Gallery,
    is_judged: Callable[[ComposedQuery], bool] = _judge_all,
) -> list[_Pair]:
    pairs: list[_Pair] = []
    for labelled in queries:
        kind = Compare(field=Field.KIND, operator=Operator.EQUAL, value=labelled.kind)
        present, absent = (
            gallery.search(labelled.query, top_k=1, where=where).standing
            for where in (None, Not(part=kind))
        )
        if present is not None and absent is not None:
            pairs.append(
                _Pair(
                    mode=labelled.mode,
                    asked=labelled.asked,
                    split=labelled.split,
                    present=present,
                    absent=absent,
                    is_judged=is_judged(labelled.query),
                )
            )
    return pairs


def gallery_queries(protocol: catalogue.Protocol, composer: Composer) -> list[LabelledQuery]:
    """Compose the cases of the shipped gallery in every mode; words alone name the kind."""
    encoded = catalogue.encode_sketches(protocol, composer)
    return [
        query
        for case in protocol.cases
        for query in _labelled(
            composer,
            encoded[case.design],
            words=(case.attributes, case.caption, f"{case.colour} {case.kind}"),
            kind=case.kind,
            split="seen" if case.trained_kind else "unseen",
        )
    ]


def _labelled(
    composer: Composer,
    drawn: EncodedReference,
    *,
    words: tuple[str, str, str],
    kind: str,
    split: str,
) -> Iterator[LabelledQuery]:
    """Yield queries for a picture: by its drawing, with attributes too, by caption and two words.

    Args:
        composer: Any composer.
        drawn: The drawing.
        words: Attributes, caption, two words.
        kind: What the picture shows.
        split: What it may be used for.
    """
    attributes, caption, two_words = words
    nothing = EncodedReference()
    for asked, mode, query in (
        ("drawing", QueryMode.REFERENCE, composer.compose(drawn, "")),
        ("drawing and words", QueryMode.BOTH, composer.compose(drawn, attributes)),
        ("caption", QueryMode.WORDS, composer.compose(nothing, caption)),
        ("two words", QueryMode.WORDS, composer.compose(nothing, two_words)),
    ):
        yield LabelledQuery(query=query, mode=mode, asked=asked, kind=kind, split=split)


def pack_gallery(
    pack: CataloguePack, rows: Int[np.ndarray, " n"], backbone: Backbone, folder: Path
) -> Gallery:
    """Index photos of a training pack in an empty folder.

    Raises:
        GalleryError: The folder cannot be written.
    """
    pictures = (
        (pack.items[row].id, pack.items[row].kind, Image.fromarray(levels))
        for at in range(0, len(rows), _BATCH)
        for row, levels in zip(
            rows[at : at + _BATCH],
            pack.pixels(rows[at : at + _BATCH], backbone.image_size_px),
            strict=True,
        )
    )
    return _index(pictures, backbone, folder)


@torch.inference_mode()
def pack_queries(pack: CataloguePack, composer: Composer) -> dict[int, list[LabelledQuery]]:
    """Compose the queries of every validation photo, by its row, which fixes the skill.

    Raises:
        PackError: The pack has no validation designs.
    """
    queries: dict[int, list[LabelledQuery]] = {}
    rows = pack.validation_photos()
    for row, sketch in zip(rows, validation_sketches(pack, rows), strict=True):
        item = pack.items[row]
        drawn = composer.encode(Query(sketch=sketch.sketch))
        words = attribute_wording(item).text
        two_words = f"{item.part_colours[0]} {item.kind}" if item.part_colours else item.kind
        of_photo = _labelled(
            composer,
            drawn,
            words=(words, item.caption, two_words),
            kind=item.kind,
            split="validation",
        )
        queries[int(row)] = list(of_photo)
    return queries


def natural_gallery(dataset: InstanceDataset, backbone: Backbone, folder: Path) -> Gallery:
    """Index the photos of a data set of classes in an empty folder.

    Raises:
        GalleryError: The folder cannot be written.
    """
    pictures = ((str(p.path), p.class_name, dataset.image(p)) for p in dataset.photos)
    return _index(pictures, backbone, folder)


@torch.inference_mode()
def natural_queries(
    dataset: InstanceDataset, composer: Composer, split: str = NATURAL
) -> list[LabelledQuery]:
    """Compose a query for every drawing, and for the name of every class in three wordings."""
    asked = [Query(sketch=dataset.sketch(drawing)) for drawing in dataset.drawings]
    queries = [
        LabelledQuery(
            query=composer.compose(drawn, ""),
            mode=QueryMode.REFERENCE,
            asked="drawing",
            kind=drawing.class_name,
            split=split,
        )
        for drawing, drawn in zip(dataset.drawings, encode_all(composer, asked), strict=True)
    ]
    for name in sorted(dataset.classes):
        noun = words_of_class(name)
        queries += [
            LabelledQuery(
                query=composer.compose(EncodedReference(), words),
                mode=QueryMode.WORDS,
                asked="name",
                kind=name,
                split=split,
            )
            for words in (noun, with_article(noun), f"a photo of {with_article(noun)}")
        ]
    return queries


@torch.inference_mode()
def _index(
    pictures: Iterable[tuple[str, str, Image.Image]], backbone: Backbone, folder: Path
) -> Gallery:
    """Index pictures, each with a name and its kind."""
    manifest = Manifest(
        gallery_hash=backbone.gallery_hash, dim=backbone.joint_dim, kit="validation", root="."
    )
    store = Store.create(folder, manifest)
    waiting = iter(pictures)
    while part := list(islice(waiting, _BATCH)):
        encoded = encode_with_regions(backbone, [image for _, _, image in part])
        items = [Item(id=content_id(name.encode()), path=name, kind=kind) for name, kind, _ in part]
        store.add(items, encoded.features.cpu().numpy(), encoded.regions.cpu().numpy())
    return Gallery(store, ExactIndex(store))
