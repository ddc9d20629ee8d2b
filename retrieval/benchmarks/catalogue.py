"""The shipped gallery's protocol: one query per picture, its own design and colourway the target.

A query is the design's freehand sketch (from another camera, of a fixed skill) and the attribute
phrase, which carries neither kind nor shape. All colourways of a design share its sketch and
several designs wear the same colourway, so that neither side alone can be right often; the ceilings
say how often.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
        target: Row of the gallery that is right.
        design: Whose sketch is shown.
        attributes: The words.
        caption: The full caption, for text-to-image recall.
        kind: What it is.
        part: The part that the words name first.
        colour: Its colour word.
        seen: Whether the kind was trained on.
    """

    target: int
    design: str
    attributes: str
    caption: str
    kind: str
    part: str
    colour: str
    seen: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Protocol:
    """All cases and the sketch of each design."""

    cases: tuple[Case, ...]
    sketches: dict[str, Sketch]

    @property
    def seen(self) -> Bool[np.ndarray, " q"]:
        """Which cases are of kinds that were trained on."""
        return np.array([case.seen for case in self.cases])


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table; fractions in [0, 1], intervals of 95 %.

    `rerank` says whether the short-list was ordered once more by its regions, as `duet search`
    does.
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
        folder: Where the tables are.
        skill: Of all sketches; None for the one that is fixed for each design.

    Raises:
        GalleryError: The files are missing, or do not describe this gallery.
    """
    items, drawn = _read_tables(folder)
    rows = {Path(item.path).name: row for row, item in enumerate(gallery.items)}
    if missing := [item["path"] for item in items if Path(item["path"]).name not in rows]:
        raise GalleryError(f"{len(missing)} pictures of {folder} are not indexed: {missing[0]} ...")
    skills = {item["design"]: item["skill"] for item in items}
    cases = tuple(_case(item, rows[Path(item["path"]).name]) for item in items)
    sketches = {
        row["design"]: Sketch.from_json(row["strokes"], extent=STROKE_EXTENT)
        for row in drawn
        if row["skill"] == (skills.get(row["design"]) if skill is None else skill)
    }
    if missing := sorted({case.design for case in cases} - set(sketches)):
        wanted = "of its skill" if skill is None else f"of skill {skill}"
        raise GalleryError(f"{folder} has no sketch {wanted} of the design {missing[0]}.")
    return Protocol(cases=cases, sketches=sketches)


def read_skills(folder: Path) -> list[int]:
    """Return the skills that the gallery's sketches are drawn with.

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
        seen=item["split"] == "test",
    )


@torch.inference_mode()
def encode_sketches(protocol: Protocol, composer: Composer) -> Encoded:
    """Encode every design's sketch: the costly half, the same in every mode and balance."""
    drawn = encode_all(composer, (Query(sketch=sketch) for sketch in protocol.sketches.values()))
    return dict(zip(protocol.sketches, drawn, strict=True))


@torch.inference_mode()
def query_features(
    protocol: Protocol,
    composer: Composer,
    mode: str,
    *,
    balance: float = 0.5,
    encoded: Encoded | None = None,
) -> Float[Tensor, "q d"]:
    """Return the features of what `composed_queries` composes."""
    queries = composed_queries(protocol, composer, mode, balance=balance, encoded=encoded)
    return torch.stack([query.feature for query in queries])


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
        protocol: Whose cases they are.
        composer: Any composer.
        mode: "sketch", "text" or "sketch+text".
        balance: As in `Composer.compose`.
        encoded: What `encode_sketches` gives, for asking in several modes; None to encode here.
    """
    if encoded is None:
        encoded = {} if mode == "text" else encode_sketches(protocol, composer)
    nothing = EncodedReference()
    asked = [_asked(case, mode) for case in protocol.cases]
    composed = {
        (design, words): composer.compose(encoded.get(design, nothing), words, balance)
        for design, words in dict.fromkeys(asked)
    }
    return [composed[key] for key in asked]


def _asked(case: Case, mode: str) -> tuple[str, str]:
    """Return what a mode shows of a case: the design drawn and the words, or nothing of them."""
    return "" if mode == "text" else case.design, "" if mode == "sketch" else case.attributes


def ranks(
    protocol: Protocol, index: ExactMatrix, features: Float[Tensor, "q d"]
) -> Int[np.ndarray, " q"]:
    """Return the rank of every case's target in the whole gallery."""
    similarities = index.similarities(features).cpu().numpy()
    return ranks_of_targets(similarities, np.array([case.target for case in protocol.cases]))


def ceilings(protocol: Protocol, mode: str) -> Float[np.ndarray, " q"]:
    """Return for each case the best Acc@1 its mode allows: one over the cases that look alike."""
    asked = [_asked(case, mode) for case in protocol.cases]
    counts = Counter(asked)
    return np.array([1 / counts[key] for key in asked])


def table(
    composer: str,
    mode: str,
    protocol: Protocol,
    found: Int[np.ndarray, " q"],
    *,
    rerank: bool = False,
) -> list[Row]:
    """Return the rows of one composer and mode: seen kinds, then unseen ones."""
    rows: list[Row] = []
    for split, mask in (("seen", protocol.seen), ("unseen", ~protocol.seen)):
        if not mask.any():
            continue
        some = found[mask]
        first = bootstrap((some == 1).astype(float))
        rows.append(
            Row(
                composer=composer,
                query=mode,
                rerank=rerank,
                split=split,
                num_queries=len(some),
                acc_1=accuracy_at(some, 1),
                acc_5=accuracy_at(some, 5),
                acc_10=accuracy_at(some, 10),
                acc_1_low=first.low,
                acc_1_high=first.high,
                ceiling_1=float(ceilings(protocol, mode)[mask].mean()),
            )
        )
    return rows


def gain(
    ours: Int[np.ndarray, " q"], theirs: Int[np.ndarray, " q"], mask: Bool[np.ndarray, " q"]
) -> Interval:
    """Return how much Acc@1 of one method exceeds another's on the same queries."""
    return paired_bootstrap((ours[mask] == 1).astype(float), (theirs[mask] == 1).astype(float))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """How well the backbone alone names pictures; fractions in [0, 1]."""

    split: str
    caption_recall_10: float
    kind_accuracy: float


@torch.inference_mode()
def clip_rows(
    protocol: Protocol, gallery: Gallery, backbone: Backbone, kinds: Sequence[str]
) -> list[ClipRow]:
    """Measure full caption to picture recall, and the kind named by "a photo of a ..."."""
    captions = backbone.encode_text([case.caption for case in protocol.cases])
    found = ranks(protocol, gallery.matrix, captions)
    names = backbone.encode_text([f"a photo of {with_article(kind)}" for kind in kinds])
    rows = torch.tensor([case.target for case in protocol.cases])
    named = gallery.matrix.similarities(names).T[rows].argmax(1)
    right = np.array(
        [kinds[n] == c.kind for n, c in zip(named.tolist(), protocol.cases, strict=True)]
    )
    return [
        ClipRow(
            split=split,
            caption_recall_10=accuracy_at(found[mask], 10),
            kind_accuracy=float(right[mask].mean()),
        )
        for split, mask in (("seen", protocol.seen), ("unseen", ~protocol.seen))
        if mask.any()
    ]
