"""Ablations without training: one setting of a finished composer changed at a time."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.images import open_image
from composer.strategies.inversion import InversionComposer, InversionSettings
from composer.strategies.protocol import Composer, PictureEncoder
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks import catalogue
from retrieval.engines.matrix import ExactMatrix
from retrieval.search import Gallery

BALANCES = (0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
BOTH = "sketch+text"
_BATCH = 64

Row = dict[str, Any]


def balance_rows(
    name: str, composer: Composer, protocol: catalogue.Protocol, gallery: Gallery
) -> Iterator[Row]:
    """Yield rows of sketch and words, from the sketch alone (0) to the words alone (1)."""
    encoded = catalogue.encode_sketches(protocol, composer)
    for balance in BALANCES:
        queries = catalogue.composed_queries(
            protocol, composer, BOTH, balance=balance, encoded=encoded
        )
        ranks = catalogue.query_ranks(protocol, gallery, queries)
        yield from _named("balance", f"{balance:g}", catalogue.table(name, BOTH, protocol, ranks))


def shift_rows(
    backbone: Backbone, protocol: catalogue.Protocol, gallery: Gallery, *, num_tokens: int
) -> Iterator[Row]:
    """Yield rows of the training-free composers, with and without the photo-side shift."""
    for moves in (True, False):
        composers: tuple[Composer, ...] = (
            SlerpComposer(backbone, SlerpSettings(alpha=0.5, moves_sketches=moves)),
            InversionComposer(
                backbone, InversionSettings(num_tokens=num_tokens, moves_sketches=moves)
            ),
        )
        for composer in composers:
            encoded = catalogue.encode_sketches(protocol, composer)
            for mode in ("sketch", BOTH):
                queries = catalogue.composed_queries(protocol, composer, mode, encoded=encoded)
                ranks = catalogue.query_ranks(protocol, gallery, queries)
                rows = catalogue.table(composer.name, mode, protocol, ranks)
                yield from _named("photo-side shift", "on" if moves else "off", rows)


def skill_rows(
    name: str, composer: Composer, protocols: dict[int, catalogue.Protocol], gallery: Gallery
) -> Iterator[Row]:
    """Yield rows of the same queries with sketches of each skill."""
    for skill, protocol in protocols.items():
        encoded = catalogue.encode_sketches(protocol, composer)
        for mode in ("sketch", BOTH):
            queries = catalogue.composed_queries(protocol, composer, mode, encoded=encoded)
            ranks = catalogue.query_ranks(protocol, gallery, queries)
            rows = catalogue.table(name, mode, protocol, ranks)
            yield from _named("skill", str(skill), rows)


def tower_rows(
    name: str, composer: Composer, protocol: catalogue.Protocol, gallery: Gallery
) -> Iterator[Row]:
    """Yield rows with the gallery encoded by the frozen tower, and by the composer's tower.

    A composer without a tower for pictures has no rows.
    """
    if not isinstance(composer, PictureEncoder):
        return
    indices = {
        "frozen": gallery.matrix,
        "tuned": ExactMatrix(tuned_vectors(composer, gallery).cpu().numpy()),
    }
    encoded = catalogue.encode_sketches(protocol, composer)
    for mode in ("sketch", BOTH):
        queries = catalogue.composed_queries(protocol, composer, mode, encoded=encoded)
        features = torch.stack([query.feature for query in queries])
        for tower, index in indices.items():
            rows = catalogue.table(name, mode, protocol, catalogue.ranks(protocol, index, features))
            yield from _named("gallery tower", tower, rows)


@torch.inference_mode()
def tuned_vectors(composer: PictureEncoder, gallery: Gallery) -> Float[Tensor, "m d"]:
    """Return features of a gallery's pictures from a composer's tower, in the gallery's order.

    Raises:
        ImageError: A picture is missing or damaged.
    """
    files = [gallery.root / item.path for item in gallery.items]
    features: list[Tensor] = []
    for start in range(0, len(files), _BATCH):
        images = [open_image(file) for file in files[start : start + _BATCH]]
        features.append(composer.encode_pictures(composer.backbone.preprocess(images)).float())
    return torch.cat(features)


def _named(ablation: str, variant: str, rows: list[catalogue.Row]) -> Iterator[Row]:
    for row in rows:
        yield {"ablation": ablation, "variant": variant, **row.as_json()}
