"""From files to what an index keeps of them: read in threads, embedded in batches."""

import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from PIL import Image
from torch import Tensor

from composer.backbone import Backbone
from composer.images import ImageLimits
from retrieval.indexing.intake import Decoded, Facts, Intake, Recognised
from retrieval.indexing.walk import Candidate, Skipped
from retrieval.regions import to_codes
from retrieval.store.schema import Item

# A JPEG is decoded at no less than so many times the encoder's size, which takes a quarter of the
# time at three million pixels; against whole decoding, the mini kit's features keep a cosine of
# 0.9999 (one of two sizes: 0.99995, and a fifth slower).
DECODED_SIZES = 1.5
AHEAD = 4  # batches that wait for the encoder: a few kilobytes a picture


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedImages:
    """What an index keeps of n pictures.

    Attributes:
        features: Unit vectors in the joint space.
        regions: Region codes, see `retrieval.regions`.
    """

    features: Float[Tensor, "n d"]
    regions: Int8[Tensor, "n c"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedded:
    """A picture as an index keeps it.

    Attributes:
        item: What is known of it.
        feature: Its vector in the joint space.
        codes: Its region codes.
        problem: Why its caption was left out, if it was.
    """

    item: Item
    feature: Float[np.ndarray, " d"]
    codes: Int8[np.ndarray, " c"]
    problem: Skipped | None


Result = Embedded | Recognised | Skipped


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedOptions:
    """How files are read and embedded.

    Attributes:
        batch_size: Pictures embedded at once.
        known: What is known of pictures by their path below the root (kind, domain, caption);
            other pictures are indexed without.
        limits: Caps on one picture.
        num_workers: Threads that decode; None for one per core.
    """

    batch_size: int = 32
    known: Mapping[str, Facts] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    num_workers: int | None = None


DEFAULT_EMBED_OPTIONS = EmbedOptions()


@runtime_checkable
class Embedder(Protocol):
    """Embeds files, on this machine or on many."""

    def embed(self, fresh: Sequence[Candidate], seen: Collection[str]) -> Iterator[Result]:
        """Yield what became of each file, in their order.

        Args:
            fresh: The files.
            seen: Ids of the content that needs no embedding; a file that has one is recognised.
        """
        ...


class LocalEmbedder:
    """Embeds in this process: threads read and decode a bounded number of files ahead."""

    def __init__(self, backbone: Backbone, options: EmbedOptions = DEFAULT_EMBED_OPTIONS) -> None:
        """Prepare what all files share."""
        self._backbone, self._options = backbone, options

    def embed(self, fresh: Sequence[Candidate], seen: Collection[str]) -> Iterator[Result]:
        """Yield what became of each file, in order; a copy of an earlier one is recognised."""
        met: set[str] = set()
        waiting: list[Decoded | Recognised | Skipped] = []
        num_decoded = 0
        for candidate, result in zip(fresh, self._read(fresh, seen), strict=True):
            if isinstance(result, Decoded):
                if result.item.id in met:
                    result = Recognised(id=result.item.id, candidate=candidate)
                else:
                    met.add(result.item.id)
                    num_decoded += 1
            waiting.append(result)
            if num_decoded >= self._options.batch_size:
                yield from self._encoded(waiting)
                waiting, num_decoded = [], 0
        yield from self._encoded(waiting)

    def _encoded(self, waiting: list[Decoded | Recognised | Skipped]) -> Iterator[Result]:
        decoded = [one for one in waiting if isinstance(one, Decoded)]
        features, codes = iter(()), iter(())
        if decoded:
            levels = np.stack([one.levels for one in decoded])
            found = encode_levels(self._backbone, levels)
            features, codes = iter(found.features.cpu().numpy()), iter(found.regions.cpu().numpy())
        for one in waiting:
            if isinstance(one, Decoded):
                yield Embedded(
                    item=one.item, feature=next(features), codes=next(codes), problem=one.problem
                )
            else:
                yield one

    def _read(
        self, fresh: Sequence[Candidate], seen: Collection[str]
    ) -> Iterator[Decoded | Recognised | Skipped]:
        """Read files in threads, a bounded number ahead of the encoder, and yield in their order.

        Pillow gives way to other threads while it decodes and resizes.
        """
        options = self._options
        intake = Intake(
            crop=self._backbone.crop,
            least_px=int(DECODED_SIZES * self._backbone.image_size_px),
            limits=options.limits,
            seen=seen,
            known=options.known,
        )
        num_workers = options.num_workers or os.cpu_count() or 1
        most = AHEAD * options.batch_size + num_workers
        ahead: deque[Future[Decoded | Recognised | Skipped]] = deque()
        pool = ThreadPoolExecutor(max_workers=num_workers)
        try:
            for candidate in fresh:
                ahead.append(pool.submit(intake.read, candidate))
                if len(ahead) >= most:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@torch.inference_mode()
def encode_images(backbone: Backbone, images: list[Image.Image]) -> Float[Tensor, "n d"]:
    """Return unit features of RGB pictures from the kit's frozen vision tower."""
    return backbone.encode_image(backbone.preprocess(images)).features.float()


@torch.inference_mode()
def encode_with_regions(backbone: Backbone, images: list[Image.Image]) -> EncodedImages:
    """Return unit features and region codes of RGB pictures, from one pass of the frozen tower."""
    levels = np.stack([backbone.crop(image) for image in images])
    return encode_levels(backbone, levels)


@torch.inference_mode()
def encode_levels(backbone: Backbone, levels: UInt8[np.ndarray, "n h w 3"]) -> EncodedImages:
    """Return unit features and region codes of pictures that have the encoder's size already."""
    seen = backbone.encode_image(backbone.normalise_pixels(levels))
    return EncodedImages(features=seen.features.float(), regions=to_codes(backbone.layouts(seen)))
