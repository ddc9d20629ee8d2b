"""Embedding of files: read in threads, encoded in batches."""

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

# A JPEG is decoded at no less than this multiple of the encoder's size, in a quarter of the time at
# three million pixels; the mini kit's features have a cosine of 0.9999 with those of full decoding
# (0.99995 at a multiple of two, which is a fifth slower).
DECODED_SIZES = 1.5
AHEAD = 4  # batches that wait for the encoder, a few kilobytes per picture


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedImages:
    """Features and region codes of n pictures.

    Attributes:
        features: Unit vectors in the joint space.
        regions: Region codes, see `retrieval.regions`.
    """

    features: Float[Tensor, "n d"]
    regions: Int8[Tensor, "n c"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedded:
    """An embedded picture.

    Attributes:
        item: Its item.
        feature: Its vector in the joint space.
        codes: Its region codes.
        problem: Why its caption was skipped; None if it was not.
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
        batch_size: Pictures per batch of the encoder.
        facts_by_path: Facts on pictures (kind, domain, caption), by path relative to the root;
            may be incomplete.
        limits: Limits on a picture.
        num_workers: Number of decoding threads; None for one per core.
    """

    batch_size: int = 32
    facts_by_path: Mapping[str, Facts] = field(default_factory=dict)
    limits: ImageLimits = field(default_factory=ImageLimits)
    num_workers: int | None = None


DEFAULT_EMBED_OPTIONS = EmbedOptions()


@runtime_checkable
class Embedder(Protocol):
    """Embedder of files, on one or many machines."""

    def embed(self, files: Sequence[Candidate], known_ids: Collection[str]) -> Iterator[Result]:
        """Yield the result of each file, in order.

        Args:
            files: Files to embed.
            known_ids: Ids of content that is not to be embedded; such files are recognised.
        """
        ...


class LocalEmbedder:
    """Embedder in this process: threads read and decode a bounded number of files ahead."""

    def __init__(self, backbone: Backbone, options: EmbedOptions = DEFAULT_EMBED_OPTIONS) -> None:
        """Set backbone and options."""
        self._backbone, self._options = backbone, options

    def embed(self, files: Sequence[Candidate], known_ids: Collection[str]) -> Iterator[Result]:
        """Yield the result of each file, in order; copies of an earlier file are recognised."""
        decoded_ids: set[str] = set()
        waiting: list[Decoded | Recognised | Skipped] = []
        num_decoded = 0
        for candidate, result in zip(files, self._read(files, known_ids), strict=True):
            if isinstance(result, Decoded):
                if result.item.id in decoded_ids:
                    result = Recognised(id=result.item.id, candidate=candidate)
                else:
                    decoded_ids.add(result.item.id)
                    num_decoded += 1
            waiting.append(result)
            if num_decoded >= self._options.batch_size:
                yield from self._encoded(waiting)
                waiting, num_decoded = [], 0
        yield from self._encoded(waiting)

    def _encoded(self, waiting: list[Decoded | Recognised | Skipped]) -> Iterator[Result]:
        decoded = [result for result in waiting if isinstance(result, Decoded)]
        features, codes = iter(()), iter(())
        if decoded:
            levels = np.stack([result.levels for result in decoded])
            encoded = encode_levels(self._backbone, levels)
            features = iter(encoded.features.cpu().numpy())
            codes = iter(encoded.regions.cpu().numpy())
        for result in waiting:
            if isinstance(result, Decoded):
                yield Embedded(
                    item=result.item,
                    feature=next(features),
                    codes=next(codes),
                    problem=result.problem,
                )
            else:
                yield result

    def _read(
        self, files: Sequence[Candidate], known_ids: Collection[str]
    ) -> Iterator[Decoded | Recognised | Skipped]:
        """Read files in threads, a bounded number ahead of the encoder, and yield them in order.

        Pillow releases the interpreter lock while it decodes and resizes.
        """
        options = self._options
        intake = Intake(
            crop=self._backbone.crop,
            least_px=int(DECODED_SIZES * self._backbone.image_size_px),
            limits=options.limits,
            known_ids=known_ids,
            facts_by_path=options.facts_by_path,
        )
        num_workers = options.num_workers or os.cpu_count() or 1
        most = AHEAD * options.batch_size + num_workers
        ahead: deque[Future[Decoded | Recognised | Skipped]] = deque()
        pool = ThreadPoolExecutor(max_workers=num_workers)
        try:
            for candidate in files:
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
    """Return unit features and region codes of pictures of the encoder's size."""
    encoded = backbone.encode_image(backbone.normalise_pixels(levels))
    codes = to_codes(backbone.layouts(encoded))
    return EncodedImages(features=encoded.features.float(), regions=codes)
