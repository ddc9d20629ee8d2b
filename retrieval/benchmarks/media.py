"""Domain conversion in the catalogue: the drawing of a design, and a domain in words.

The gallery holds every design once in each domain, so the drawing alone does not determine the
domain, and the words alone determine neither kind nor design.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.images import ImageError, open_image
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer, encode_all
from retrieval.benchmarks.catalogue import STROKE_EXTENT
from retrieval.benchmarks.composed import ConversionTask, conversion_row
from retrieval.benchmarks.encode_dataset import gallery_features
from retrieval.benchmarks.fine_grained import FineGrainedTask, fine_grained_row
from retrieval.errors import GalleryError

# Words for a domain; they occur neither in captions nor in the training of composers.
DOMAIN_WORDS = {
    "watercolour": "painted with watercolours",
    "pencil": "drawn with a pencil",
    "cartoon": "like something out of a cartoon",
    "clay": "shaped out of clay",
    "low-poly": "built from low-poly triangles",
    "night": "in the dark of night",
    "blueprint": "laid out on a blueprint",
}
DOMAINS = ("photo", *DOMAIN_WORDS)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MediaSet:
    """Features of the pictures by the frozen backbone, their labels, and each design's drawing."""

    features: Float[Tensor, "n d"]
    designs: tuple[str, ...]
    kinds: tuple[str, ...]
    domains: tuple[str, ...]
    sketches: Mapping[str, Sketch]


def open_media(folder: Path, backbone: Backbone) -> MediaSet:
    """Read a folder made by the catalogue's `domains` command and encode its pictures.

    Raises:
        GalleryError: A file is missing or foreign, or a design lacks a domain or a sketch.
    """
    try:
        columns = ["path", "design", "kind", "domain"]
        items = pq.read_table(folder / "domains.parquet", columns=columns).to_pydict()
        drawn = pq.read_table(folder / "sketches.parquet").to_pydict()
        hands = (Sketch.from_json(text, extent=STROKE_EXTENT) for text in drawn["strokes"])
        sketches = dict(zip(drawn["design"], hands, strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise GalleryError(
            f"{folder} must hold domains.parquet and sketches.parquet as "
            "`python -m assets.catalogue domains` writes them; make the folder again."
        ) from error
    pairs = list(zip(items["design"], items["domain"], strict=True))
    expected = sorted((design, domain) for design in sketches for domain in DOMAINS)
    if not pairs or sorted(pairs) != expected:
        raise GalleryError(
            f"{folder} must show each of its {len(sketches)} drawn designs once in each of "
            f"{', '.join(DOMAINS)}, but its {len(pairs)} pictures do not; make it again."
        )
    try:
        features = gallery_features(backbone, (open_image(folder / p) for p in items["path"]))
    except ImageError as error:
        raise GalleryError(f"A picture of {folder} cannot be used. {error}") from error
    return MediaSet(
        features=features,
        designs=tuple(items["design"]),
        kinds=tuple(items["kind"]),
        domains=tuple(items["domain"]),
        sketches=sketches,
    )


def media_rows(composer: Composer, opened: MediaSet) -> list[dict[str, Any]]:
    """Measure queries for every design in every domain but the photo; return two rows.

    With `target` "kind", every picture of the kind in the domain is relevant; with "design", one
    picture, and "domain_right@1" is the share of first hits in the target domain. The intervals
    treat queries as independent, although those of one design share a sketch.
    """
    targets = [row for row, domain in enumerate(opened.domains) if domain in DOMAIN_WORDS]
    queries = _queries(composer, opened, targets)
    kind = ConversionTask(
        query_features=queries,
        query_classes=[opened.kinds[row] for row in targets],
        query_domains=[opened.domains[row] for row in targets],
        gallery_features=opened.features,
        gallery_classes=opened.kinds,
        gallery_domains=opened.domains,
    )
    all_alike = {"query_classes": [""] * len(targets), "gallery_classes": [""] * len(opened.kinds)}
    domain = conversion_row(replace(kind, **all_alike))
    design = FineGrainedTask(
        query_features=queries, gallery_features=opened.features, targets=np.array(targets)
    )
    extra = {"chance@1": 1 / len(opened.kinds), "domain_right@1": domain.hits_1}
    head = {"composer": composer.name, "query": "sketch+text", "split": "domains"}
    return [
        {**head, "target": "kind", **conversion_row(kind).as_json()},
        {**head, "target": "design", **fine_grained_row(design).as_json(), **extra},
    ]


@torch.inference_mode()
def _queries(composer: Composer, opened: MediaSet, targets: Sequence[int]) -> list[ComposedQuery]:
    """Compose for each target the sketch of its design with the words for its domain."""
    drawn = encode_all(composer, (Query(sketch=sketch) for sketch in opened.sketches.values()))
    encoded = dict(zip(opened.sketches, drawn, strict=True))
    return [
        composer.compose(encoded[opened.designs[row]], DOMAIN_WORDS[opened.domains[row]])
        for row in targets
    ]
