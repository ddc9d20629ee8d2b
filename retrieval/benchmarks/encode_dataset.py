"""Features of a data set: queries by a composer, galleries by the frozen backbone.

Pictures are read one batch at a time, so the data set is never in memory as a whole.
"""

from collections.abc import Callable, Iterable
from itertools import islice, tee

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.query import Query
from composer.strategies.protocol import Composer, encode_all
from retrieval.indexing.embed import EncodedImages, encode_with_regions

NumDone = Callable[[int], None]


@torch.inference_mode()
def composed_queries(
    composer: Composer, sketches: Iterable[Query], *, progress: NumDone | None = None
) -> list[ComposedQuery]:
    """Compose every query at the middle balance.

    Args:
        composer: Any composer.
        sketches: The queries, in the order of the rows.
        progress: Called after each query with the number done.

    Raises:
        ValueError: There is no query.
    """
    composed: list[ComposedQuery] = []
    references, queries = tee(sketches)
    for query, encoded in zip(queries, encode_all(composer, references), strict=True):
        composed.append(composer.compose(encoded, query.text))
        if progress:
            progress(len(composed))
    if not composed:
        raise ValueError("There must be at least one query to encode; check the data set.")
    return composed


def gallery_features(
    backbone: Backbone,
    images: Iterable[Image.Image],
    batch_size: int = 64,
    *,
    progress: NumDone | None = None,
) -> Float[Tensor, "n d"]:
    """Return the features of `encode_gallery`."""
    return encode_gallery(backbone, images, batch_size, progress=progress).features


@torch.inference_mode()
def encode_gallery(
    backbone: Backbone,
    images: Iterable[Image.Image],
    batch_size: int = 64,
    *,
    progress: NumDone | None = None,
) -> EncodedImages:
    """Encode pictures with the kit's frozen vision tower, as an index does.

    Args:
        backbone: The kit's backbone.
        images: RGB pictures, in the order of the rows; at most one batch is held at a time.
        batch_size: Pictures per batch.
        progress: Called after each batch with the number of pictures done.

    Returns:
        Unit vectors in float32 and region codes, on the CPU.

    Raises:
        ValueError: There is no picture, or `batch_size` is below one.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    remaining = iter(images)
    batches: list[EncodedImages] = []
    num_done = 0
    while batch := list(islice(remaining, batch_size)):
        batches.append(encode_with_regions(backbone, batch))
        num_done += len(batch)
        if progress:
            progress(num_done)
    if not batches:
        raise ValueError("There must be at least one picture to encode; check the data set.")
    return EncodedImages(
        features=torch.cat([encoded.features.cpu() for encoded in batches]),
        regions=torch.cat([encoded.regions.cpu() for encoded in batches]),
    )
