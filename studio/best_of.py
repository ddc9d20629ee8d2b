"""Several pictures of one query, put in order by the query's own two sides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.composed import ComposedQuery
from composer.urgent import urgent
from generation.best_of import MAX_BEST_OF, Selection, agreements, best_first
from generation.provenance import Provenance, describe
from generation.request import DEFAULT_CAPS, GenerateRequest, Request, TransferRequest
from generation.sample import DEFAULT_OPTIONS, Result, RunOptions
from generation.transfer import visible_part
from studio.engine import Engine
from studio.errors import UsageError

MAX_KEPT_PX: Final = 1 << 29
"""Pixels of all pictures of a query together, which wait in memory to be put in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedPicture:
    """A picture with its place among those of its query.

    Attributes:
        result: Result that it belongs to.
        index: Its place in the result's batch.
        selection: Its place among all pictures.
    """

    result: Result
    index: int
    selection: Selection

    @property
    def image(self) -> Image.Image:
        """The picture, RGB."""
        return self.result.images[self.index].image

    @property
    def seed(self) -> int:
        """The seed that it was drawn from."""
        return self.result.request.settings.seed + self.index

    def describe(self, kit: str) -> Provenance:
        """Return what the picture depends on, with its place."""
        return describe(self.result, self.index, kit=kit, selection=self.selection)


def check_number(num: int, option: str) -> None:
    """Check how many pictures of a query are drawn.

    Args:
        num: The number.
        option: Option that it is the value of.

    Raises:
        UsageError: They are none or too many.
    """
    if not 1 <= num <= MAX_BEST_OF:
        raise UsageError(f"{option} must be a whole number from 1 to {MAX_BEST_OF}, got {num:,}.")


def draw_best(
    engine: Engine, request: Request, num: int, options: RunOptions = DEFAULT_OPTIONS
) -> tuple[RankedPicture, ...]:
    """Draw pictures from consecutive seeds; return all of them, the best first.

    Args:
        engine: The kit that draws, and whose encoder of galleries compares.
        request: The request; its number of images is not used.
        num: Number of pictures; more than a batch are drawn in several.
        options: How to run each batch.

    Raises:
        UsageError: The number is out of range, or another encoder composed the query.
    """
    check_number(num, "--best-of")
    _check_room(request, num)
    return rank(engine, draw_several(engine, request, num, options))


def _check_room(request: Request, num: int) -> None:
    """Check that so many pictures of the source's size fit in memory.

    Raises:
        UsageError: They do not.
    """
    if not isinstance(request, TransferRequest):
        return
    if request.mask is None and not request.keeps_size:
        return
    width, height = request.source.size
    most = max(1, MAX_KEPT_PX // (width * height))
    if num > most:
        raise UsageError(
            f"{num} pictures of {width} x {height} px are too much for the memory at once: give "
            f"--best-of at most {most}, or a smaller picture."
        )


def draw_several(
    engine: Engine, request: Request, num: int, options: RunOptions = DEFAULT_OPTIONS
) -> tuple[Result, ...]:
    """Draw pictures whose features are compared with the query's, from consecutive seeds.

    Args:
        engine: The kit that draws.
        request: The request; its number of images is not used.
        num: Number of pictures; more than a batch are drawn in several.
        options: How to run each batch.

    Raises:
        UsageError: Another encoder composed the query.
    """
    check_encoder(engine, request.query)
    most, settings = DEFAULT_CAPS.num_images, request.settings
    batches = (
        replace(settings, seed=settings.seed + first, num_images=min(most, num - first))
        for first in range(0, num, most)
    )
    return tuple(_draw(engine, replace(request, settings=batch), options) for batch in batches)


def _draw(engine: Engine, request: Request, options: RunOptions) -> Result:
    match request:
        case GenerateRequest():
            return engine.generate(request, options)
        case TransferRequest():
            return engine.transfer(request, options)


def rank(engine: Engine, results: Sequence[Result]) -> tuple[RankedPicture, ...]:
    """Put the pictures of results of one query in order, the best first.

    Where one part of a picture was drawn anew, that part and its surroundings are compared, as the
    query was composed with them.
    """
    drawn = [(result, picture.index) for result in results for picture in result.images]
    features = picture_features(engine, [_compared(result, index) for result, index in drawn])
    scored = agreements(results[0].request.query, features)
    return tuple(
        RankedPicture(
            result=drawn[number][0],
            index=drawn[number][1],
            selection=Selection(rank=place, num_drawn=len(drawn), agreement=scored[number]),
        )
        for place, number in enumerate(best_first(scored), start=1)
    )


def _compared(result: Result, index: int) -> Image.Image:
    image, request = result.images[index].image, result.request
    return visible_part(image, request.mask) if isinstance(request, TransferRequest) else image


@torch.inference_mode()
def picture_features(engine: Engine, images: Sequence[Image.Image]) -> Float[Tensor, "n d"]:
    """Return unit vectors of pictures, as a gallery of the kit would store them."""
    backbone, size = engine.search_backbone, DEFAULT_CAPS.num_images
    with urgent(engine.device):
        parts = [
            backbone.encode_image(backbone.preprocess(images[start : start + size])).features
            for start in range(0, len(images), size)
        ]
    return torch.cat(parts).float()


def check_encoder(engine: Engine, query: ComposedQuery) -> None:
    """Check that a query's features can be compared with those of pictures.

    Raises:
        UsageError: Another encoder composed it.
    """
    known = engine.search_backbone.gallery_hash
    if query.gallery_hash != known:
        raise UsageError(
            f"The query was composed with the encoder {query.gallery_hash}, and the kit "
            f"{engine.kit.name!r} compares pictures with {known}; compose it with this kit."
        )
