"""The imagined picture as query: pictures are generated, and their features searched with."""

from dataclasses import dataclass, replace

from PIL import Image

from composer.composed import ComposedQuery
from composer.sketch import Sketch
from generation.request import GenerateRequest, settings_of
from generation.sample import DEFAULT_OPTIONS, RunOptions
from retrieval.refine import averaged_with_pictures
from studio.best_of import check_encoder, draw_several, picture_features
from studio.engine import Engine
from studio.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Imagination:
    """How many pictures are imagined, and from which seed on."""

    num: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Imagined:
    """A query averaged with pictures of it, and the pictures."""

    query: ComposedQuery
    images: tuple[Image.Image, ...]


def imagine(
    engine: Engine,
    query: ComposedQuery,
    sketch: Sketch | None,
    how: Imagination,
    options: RunOptions = DEFAULT_OPTIONS,
) -> Imagined:
    """Draw pictures of a query with the kit's own settings; return it averaged with their features.

    Args:
        engine: The kit, which draws.
        query: The query; only its feature changes.
        sketch: Its drawing, which steers the pictures' structure; None where there is none.
        how: Number and seed of the pictures.
        options: How to draw.

    Raises:
        PipelineError: The kit does not draw.
        UsageError: Another encoder composed the query, or its composer compares two features.
    """
    check_single_feature(query)
    check_encoder(engine, query)
    settings = settings_of(engine.kit.drawing, seed=how.seed)
    request = GenerateRequest(query=query, control_sketch=sketch, settings=settings)
    results = draw_several(engine, request, how.num, options)
    images = tuple(picture.image for result in results for picture in result.images)
    feature = averaged_with_pictures(query.feature, picture_features(engine, images))
    return Imagined(query=replace(query, feature=feature), images=images)


def check_single_feature(query: ComposedQuery) -> None:
    """Check that a query searches by one feature, which can be averaged with others.

    Raises:
        UsageError: Its composer compares reference and words one by one.
    """
    if query.fusion is not None:
        raise UsageError(
            f"The composer {query.composer!r} compares reference and words one by one, so there is "
            "no feature to average with imagined pictures; choose another one, such as --composer "
            "slerp."
        )
