"""Protocol of the shipped gallery: one query per picture, whose design and colourway is the target.

A query is the design's freehand sketch (from another camera, of a fixed skill) and the attribute
phrase, which names neither kind nor shape. All colourways of a design share its sketch, and several
designs have the same colourway, so neither part alone determines the target; the ceilings are the
best possible accuracies.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.data.wording import with_article
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, EncodedReference, encode_all
from retrieval.benchmarks.metrics import (
    Interval,
    accuracy_at,
    bootstrap,
    paired_bootstrap,
    ranks_of_targets,
)
from retrieval.engines.matrix import ExactMatrix
from retrieval.errors import GalleryError
from retrieval.search import Gallery

STROKE_EXTENT = 255.0
MODES = ("sketch", "text", "sketch+text")
KS = (1, 5, 10)
Encoded = Mapping[str, EncodedReference]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One query of the protocol.

    Attributes:
        target: Row of the target in the gallery.
        design: Design, which determines the sketch.
        attributes: Attribute phrase, the words of the query.
        caption: Full caption, for text-to-image recall.
        kind: Kind of object.
        part: First part named by the words.
        colour: Colour word of that part.
        trained_kind: Whether the kind is in the training data.
        finishes: Parts named by the words, each with its finish.
    """

    target: int
    design: str
    attributes: str
    caption: str
    kind: str
    part: str
    colour: str
    trained_kind: bool
    finishes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Protocol:
    """All cases and the sketch of each design."""

    cases: tuple[Case, ...]
    sketches: dict[str, Sketch]

    @property
    def trained_kinds(self) -> Bool[np.ndarray, " q"]:
        """Mask of the cases whose kind is in the training data."""
        return np.array([case.trained_kind for case in self.cases])


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Row of the table; fractions in [0, 1], 95 % intervals.

    `rerank` tells whether the short-list was re-ranked by layout, as in `duet search`.
    """

    composer: str
    query: str
    rerank: bool
    split: str
    num_queries: int
    acc_1: float
    acc_5: float
    acc_10: float
    acc_1_low: float
    acc_1_high: float
    ceiling_1: float

    def as_json(self) -> dict[str, object]:
        """Return the flat row of `duet bench retrieval --json`."""
        fields = asdict(self)
        for k in KS:
            fields[f"acc@{k}"] = fields.pop(f"acc_{k}")
        return fields


def read_protocol(gallery: Gallery, folder: Path, *, skill: int | None = None) -> Protocol:
    """Read `items.parquet` and `sketches.parquet` beside the gallery's pictures.

    Args:
        gallery: The indexed pictures.
        folder: Folder of the tables.
        skill: Skill of all sketches; None for the fixed skill of each design.

    Raises:
        GalleryError: The files are missing, or do not describe this gallery.
    """
    rows = {Path(item.path).name: row for row, item in enumerate(gallery.items)}
    files = [Path(item["path"]).name for item in _read_tables(folder)[0]]
    if missing := [file for file in files if file not in rows]:
        raise GalleryError(f"{len(missing)} pictures of {folder} are not indexed: {missing[0]} ...")
    protocol = read_queries(folder, skill=skill)
    cases = zip(protocol.cases, files, strict=True)
    return replace(protocol, cases=tuple(replace(case, target=rows[file]) for case, file in cases))


def read_queries(folder: Path, *, skill: int | None = None) -> Protocol:
    """Read the queries without an index: targets are rows of `items.parquet`.

    Args:
        folder: Folder of the tables.
        skill: As in `read_protocol`.

    Raises:
        GalleryError: The files are missing, or a design has no sketch.
    """
    items, drawn = _read_tables(folder)
    skills = {item["design"]: item["skill"] for item in items}
    cases = tuple(_case(item, row) for row, item in enumerate(items))
    sketches = {
        row["design"]: Sketch.from_json(row["strokes"], extent=STROKE_EXTENT)
        for row in drawn
        if row["skill"] == (skills.get(row["design"]) if skill is None else skill)
    }
    if missing := sorted({case.design for case in cases} - set(sketches)):
        which = "of its skill" if skill is None else f"of skill {skill}"
        raise GalleryError(f"{folder} has no sketch {which} of the design {missing[0]}.")
    return Protocol(cases=cases, sketches=sketches)


def read_skills(folder: Path) -> list[int]:
    """Return the skills of the gallery's sketches.

    Raises:
        GalleryError: The files are missing.
    """
    return sorted({int(row["skill"]) for row in _read_tables(folder)[1]})


def _read_tables(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the items and the sketches."""
    try:
        return (
            pq.read_table(folder / "items.parquet").to_pylist(),
            pq.read_table(folder / "sketches.parquet").to_pylist(),
        )
    except (OSError, ValueError) as error:
        raise GalleryError(f"{folder} must hold items.parquet and sketches.parquet.") from error


def _case(item: dict[str, Any], target: int) -> Case:
    return Case(
        target=target,
        design=str(item["design"]),
        attributes=str(item["attributes"]),
        caption=str(item["caption"]),
        kind=str(item["kind"]),
        part=str(item["part_names"][0]),
        colour=str(item["part_colours"][0]),
        trained_kind=item["split"] == "test",
        finishes=tuple(zip(item["part_names"], item["part_finishes"], strict=True)),
    )


@torch.inference_mode()
def encode_sketches(protocol: Protocol, composer: Composer) -> Encoded:
    """Encode every design's sketch: expensive, but the same for all modes and balances."""
    drawn = encode_all(composer, (Query(sketch=sketch) for sketch in protocol.sketches.values()))
    return dict(zip(protocol.sketches, drawn, strict=True))


@torch.inference_mode()
def composed_queries(
    protocol: Protocol,
    composer: Composer,
    mode: str,
    *,
    balance: float = 0.5,
    encoded: Encoded | None = None,
) -> list[ComposedQuery]:
    """Compose every case in one mode.

    Args:
        protocol: Protocol with the cases.
        composer: Any composer.
        mode: "sketch", "text" or "sketch+text".
        balance: As in `Composer.compose`.
        encoded: Result of `encode_sketches`, to share between modes; None to encode here.
    """
    if encoded is None:
        encoded = {} if mode == "text" else encode_sketches(protocol, composer)
    nothing = EncodedReference()
    keys = [_visible_parts(case, mode) for case in protocol.cases]
    composed = {
        (design, words): composer.compose(encoded.get(design, nothing), words, balance)
        for design, words in dict.fromkeys(keys)
    }
    return [composed[key] for key in keys]


def _visible_parts(case: Case, mode: str) -> tuple[str, str]:
    """Return the design and the words of a case that a mode uses; empty where unused."""
    return "" if mode == "text" else case.design, "" if mode == "sketch" else case.attributes


def ranks(
    protocol: Protocol, index: ExactMatrix, features: Float[Tensor, "q d"]
) -> Int[np.ndarray, " q"]:
    """Return the rank of every case's target in the whole gallery."""
    similarities = index.similarities(features).cpu().numpy()
    return ranks_of_targets(similarities, np.array([case.target for case in protocol.cases]))


@torch.inference_mode()
def query_ranks(
    protocol: Protocol, gallery: Gallery, queries: Sequence[ComposedQuery]
) -> Int[np.ndarray, " q"]:
    """Return the rank of every case's target in the whole gallery, by `Gallery.similarities`."""
    similarities = gallery.similarities(queries).numpy()
    return ranks_of_targets(similarities, np.array([case.target for case in protocol.cases]))


def ceilings(protocol: Protocol, mode: str) -> Float[np.ndarray, " q"]:
    """Return the best possible Acc@1 of each case: one over the number of equal queries."""
    keys = [_visible_parts(case, mode) for case in protocol.cases]
    counts = Counter(keys)
    return np.array([1 / counts[key] for key in keys])


def table(
    composer: str,
    mode: str,
    protocol: Protocol,
    target_ranks: Int[np.ndarray, " q"],
    *,
    rerank: bool = False,
) -> list[Row]:
    """Return the rows of one composer and mode: seen kinds, then unseen ones."""
    rows: list[Row] = []
    for split, mask in (("seen", protocol.trained_kinds), ("unseen", ~protocol.trained_kinds)):
        if not mask.any():
            continue
        of_split = target_ranks[mask]
        first = bootstrap((of_split == 1).astype(float))
        rows.append(
            Row(
                composer=composer,
                query=mode,
                rerank=rerank,
                split=split,
                num_queries=len(of_split),
                acc_1=accuracy_at(of_split, 1),
                acc_5=accuracy_at(of_split, 5),
                acc_10=accuracy_at(of_split, 10),
                acc_1_low=first.low,
                acc_1_high=first.high,
                ceiling_1=float(ceilings(protocol, mode)[mask].mean()),
            )
        )
    return rows


def gain(
    ours: Int[np.ndarray, " q"], theirs: Int[np.ndarray, " q"], mask: Bool[np.ndarray, " q"]
) -> Interval:
    """Return the difference in Acc@1 between two methods on the same queries."""
    return paired_bootstrap((ours[mask] == 1).astype(float), (theirs[mask] == 1).astype(float))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """Accuracy of the backbone alone; fractions in [0, 1]."""

    split: str
    caption_recall_10: float
    kind_accuracy: float


@torch.inference_mode()
def clip_rows(
    protocol: Protocol, gallery: Gallery, backbone: Backbone, kinds: Sequence[str]
) -> list[ClipRow]:
    """Measure caption-to-picture recall, and zero-shot classification of kinds."""
    captions = backbone.encode_text([case.caption for case in protocol.cases])
    caption_ranks = ranks(protocol, gallery.matrix, captions)
    names = backbone.encode_text([f"a photo of {with_article(kind)}" for kind in kinds])
    rows = torch.tensor([case.target for case in protocol.cases])
    named = gallery.matrix.similarities(names).T[rows].argmax(1)
    right = np.array(
        [kinds[n] == c.kind for n, c in zip(named.tolist(), protocol.cases, strict=True)]
    )
    return [
        ClipRow(
            split=split,
            caption_recall_10=accuracy_at(caption_ranks[mask], 10),
            kind_accuracy=float(right[mask].mean()),
        )
        for split, mask in (("seen", protocol.trained_kinds), ("unseen", ~protocol.trained_kinds))
        if mask.any()
    ]
