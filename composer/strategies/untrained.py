"""Functions shared by composers without training: references, word lists, centres.

Everything follows from the backbone, the word lists and a few figures drawn by code, so that these
composers serve any kit at once.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import slerp
from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch, Stroke
from composer.strategies.converter import TextConverter
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    learned_layout,
    photo_as_seen,
    reference_medium,
    reference_pixels,
)
from composer.strategies.slerp import modality_shift
from composer.vision import ImageEncoding

NUM_FIGURES = 24
_BATCH = 256


class Centres:
    """Where drawings and photos lie in a joint space, measured when it is first needed."""

    def __init__(self, backbone: Backbone) -> None:
        """Take the kit's backbone."""
        self._backbone = backbone

    @cached_property
    def shift(self) -> Float[Tensor, " d"]:
        """From the drawings' side to the photos'."""
        return measured(lambda: modality_shift(self._backbone))

    @cached_property
    def drawings(self) -> Float[Tensor, " d"]:
        """Mean feature of drawings."""
        return measured(lambda: drawing_mean(self._backbone))


@torch.no_grad()
def see(backbone: Backbone, query: Query) -> ImageEncoding | None:
    """Encode the reference of a query with the frozen tower; None without one."""
    pixels = reference_pixels(backbone, query)
    return None if pixels is None else backbone.encode_image(pixels, reference_medium(query))


@torch.no_grad()
def as_reference(
    backbone: Backbone,
    seen: ImageEncoding,
    *,
    shift: Float[Tensor, " d"] | None,
    converter: TextConverter | None,
) -> EncodedReference:
    """Return a reference with what every composer gives: feature, tokens, patches, layout.

    Args:
        backbone: The kit's CLIP.
        seen: The reference as its tower encodes it.
        shift: Moves drawings to the photo side; None for leaving them where they are.
        converter: Gives tokens; None for none.
    """
    feature = seen.features[0]
    if seen.medium is Medium.DRAWING and shift is not None:
        feature = functional.normalize(feature + shift, dim=-1)
    return EncodedReference(
        image_feature=feature,
        pseudo_tokens=None if converter is None else converter.from_images(feature[None])[0],
        patch_features=seen.patch_features[0],
        layout=learned_layout(backbone, seen),
        photo=photo_as_seen(backbone, seen),
    )


def middle(image: Float[Tensor, " d"], words: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Return the spherical middle of reference and words, which stands for a fused query."""
    return slerp(image, words, 0.5)


def measured(measure: Callable[[], Tensor]) -> Tensor:
    """Return what follows from the towers alone, without a graph, usable in every mode of torch."""
    with torch.inference_mode(mode=False), torch.no_grad():
        return measure()


def text_features(backbone: Backbone, texts: Sequence[str]) -> Float[Tensor, "n d"]:
    """Return unit text features in float32, of any number of texts."""
    starts = range(0, len(texts), _BATCH)
    return torch.cat([backbone.encode_text(texts[at : at + _BATCH]).float() for at in starts])


def drawing_mean(backbone: Backbone) -> Float[Tensor, " d"]:
    """Return the mean feature of drawings: of figures drawn by code, always the same.

    The figures stand in for drawings by people, whose mean lies near.
    """
    rng = np.random.default_rng(0)
    queries = [Query(sketch=figure(rng)) for _ in range(NUM_FIGURES)]
    pixels = [reference_pixels(backbone, query) for query in queries]
    batch = torch.cat([image for image in pixels if image is not None])
    return backbone.encode_image(batch, Medium.DRAWING).features.float().mean(dim=0)


def figure(rng: np.random.Generator) -> Sketch:
    """Draw two to six ellipses, boxes and bent lines."""
    strokes = [_STROKES[int(rng.integers(len(_STROKES)))](rng) for _ in range(rng.integers(2, 7))]
    return Sketch.from_strokes([np.clip(stroke, 0, 1) for stroke in strokes])


def _ellipse(rng: np.random.Generator) -> Stroke:
    turn = np.linspace(0, 2 * np.pi, 40)
    return _placed(rng, np.stack([np.cos(turn), np.sin(turn)], axis=1))


def _box(rng: np.random.Generator) -> Stroke:
    return _placed(rng, np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]))


def _bent_line(rng: np.random.Generator) -> Stroke:
    return rng.uniform(0.15, 0.85, (int(rng.integers(2, 5)), 2))


def _placed(rng: np.random.Generator, path: np.ndarray) -> Stroke:
    return rng.uniform(0.25, 0.75, 2) + rng.uniform(0.08, 0.3, 2) * path


_STROKES: Sequence[Callable[[np.random.Generator], Stroke]] = (_ellipse, _box, _bent_line)
