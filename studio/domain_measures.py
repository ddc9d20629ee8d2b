"""Measures of transferred pictures: the domain reached, the kind kept, the source recognised."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from composer.data.domain_pictures import DomainPicture
from composer.images import open_image
from generation.domain_judge import DomainJudge
from generation.fidelity import changed_share, colour_distance, edge_agreement
from retrieval.benchmarks.metrics import bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What was measured of one picture; shares are 0 or 1.

    Attributes:
        reached: Whether the judge takes it for the domain that was asked for.
        kind_kept: Whether it takes it for the kind of the source.
        leaked: Whether it takes it for a kind of the examples that is not the source's.
        edges: Agreement of its edges with the source's.
        edges_shuffled: The same with another source's.
        colour_distance: Of its colours from the source's, in CIELAB.
        changed: Share of its pixels that visibly differ from the source's.
    """

    reached: float
    kind_kept: float
    leaked: float
    edges: float
    edges_shuffled: float
    colour_distance: float
    changed: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moved:
    """A photograph and what became of it."""

    source: DomainPicture
    image: Image.Image


def measure(
    judge: DomainJudge, moved: Sequence[Moved], domain: str, shown: frozenset[str]
) -> list[Figures]:
    """Measure pictures, each also against the source of the next.

    Args:
        judge: Names kind and domain.
        moved: The pictures.
        domain: The domain that was asked for.
        shown: Kinds of the examples.
    """
    named = judge.assess([one.image for one in moved])
    sources = [open_image(one.source.file) for one in moved]
    return [
        Figures(
            reached=float(named[i].domain == domain),
            kind_kept=float(named[i].kind == one.source.kind),
            leaked=float(named[i].kind in shown - {one.source.kind}),
            edges=edge_agreement(one.image, sources[i]),
            edges_shuffled=edge_agreement(one.image, sources[(i + 1) % len(sources)]),
            colour_distance=colour_distance(one.image, sources[i]),
            changed=changed_share(one.image, sources[i]),
        )
        for i, one in enumerate(moved)
    ]


def figures_row(domain: str, asked_by: str, figures: Sequence[Figures]) -> dict[str, Any]:
    """Return the means of measures with their bootstrap intervals, as a flat row."""
    row: dict[str, Any] = {"domain": domain, "asked_by": asked_by, "num_pictures": len(figures)}
    for name in (field.name for field in fields(Figures)):
        interval = bootstrap(np.array([getattr(one, name) for one in figures]))
        row[name] = interval.mean
        row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | {"edge_ratio": row["edges"] / max(row["edges_shuffled"], 1e-9)}


def judge_rows(judge: DomainJudge, pictures: Sequence[DomainPicture]) -> list[dict[str, Any]]:
    """Return how often the judge is right on real pictures, for each domain and for all."""
    named = judge.assess([open_image(one.file) for one in pictures])
    domains = dict.fromkeys(one.domain for one in pictures)
    rows: list[dict[str, Any]] = []
    for domain in (*domains, "all"):
        pairs = [
            (n, p) for n, p in zip(named, pictures, strict=True) if domain in (p.domain, "all")
        ]
        right = bootstrap(np.array([float(n.domain == p.domain) for n, p in pairs]))
        kind = bootstrap(np.array([float(n.kind == p.kind) for n, p in pairs]))
        rows.append(
            {
                **{"domain": domain, "asked_by": "real pictures", "num_pictures": len(pairs)},
                **{"reached": right.mean, "reached_low": right.low, "reached_high": right.high},
                **{"kind_kept": kind.mean, "kind_kept_low": kind.low, "kind_kept_high": kind.high},
            }
        )
    return rows
