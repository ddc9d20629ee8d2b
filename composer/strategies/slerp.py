"""Slerp: spherical mixture of an image and a text feature, the common baseline."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery, slerp
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.duet import DuetModel
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    compose_features,
    learned_layout,
    photo_as_seen,
    photo_of,
    reference_medium,
    reference_pixels,
)

DEFAULT_ALPHA = 0.8
SKETCH_TEMPLATES = (
    "a freehand drawing of a {}",
    "a pencil sketch of a {}",
    "a line drawing of a {}",
)
PHOTO_TEMPLATES = ("a photo of a {}", "a photograph of a {}", "a studio photo of a {}")
NOUNS = ("chair", "table", "lamp", "bottle", "car", "bag", "clock", "bowl", "sofa", "thing")


@dataclass(frozen=True, kw_only=True, slots=True)
class SlerpSettings:
    """Settings of slerp.

    Attributes:
        alpha: Share of the way from the reference to the words; 0.8 to 0.9 in the literature.
        uses_tuned_tower: Encode references with the duet's tower instead of the frozen one.
        moves_sketches: Move a sketch to the photo side before mixing; None leaves it to the kit:
            yes, unless it tells drawings from photos itself (`needs_shift`).
    """

    alpha: float = DEFAULT_ALPHA
    uses_tuned_tower: bool = False
    moves_sketches: bool | None = None


class SlerpComposer:
    """Composes without training: `slerp(image feature, text feature, alpha)`.

    A sketch is first moved to the photo side, `normalise(V(S) - m_sketch + m_photo)`, the vectors
    being means of text features of "a drawing of ..." and "a photo of ..."; otherwise it would
    search for drawings. Where the kit has a head for drawings it stays as it is. Tokens come from
    the kit's converter: the method itself has none.

    Source: docs/papers.md, equation (26).
    """

    name = "slerp"

    def __init__(
        self,
        backbone: Backbone,
        settings: SlerpSettings | None = None,
        *,
        duet: DuetModel | None = None,
        converter: TextConverter | None = None,
    ) -> None:
        """Take the kit's backbone and, where it has them, its duet and its converter.

        Raises:
            ValueError: `alpha` is not in [0, 1], or the tuned tower of a missing duet is asked for.
        """
        self.settings = settings or SlerpSettings()
        if not 0.0 <= self.settings.alpha <= 1.0:
            raise ValueError(f"`alpha` must lie between 0 and 1, got {self.settings.alpha}.")
        if self.settings.uses_tuned_tower and duet is None:
            raise ValueError("The tuned tower belongs to a duet composer; this kit has none.")
        self.backbone = backbone
        self._tuned = duet.eval() if duet is not None and self.settings.uses_tuned_tower else None
        self._converter = converter
        with torch.no_grad():
            moves = needs_shift(backbone, self.settings.moves_sketches)
            self._shift = modality_shift(backbone) if moves else None

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query, moving sketches to the photo side."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        tower = self.backbone if self._tuned is None else self._tuned
        encoding = tower.encode_image(pixels, reference_medium(query))
        feature = encoding.features[0]
        if query.sketch is not None and self._shift is not None:
            feature = functional.normalize(feature + self._shift, dim=-1)
        converter = self._converter
        return EncodedReference(
            image_feature=feature,
            pseudo_tokens=None if converter is None else converter.from_images(feature[None])[0],
            patch_features=encoding.patch_features[0],
            layout=learned_layout(self.backbone, encoding),
            photo=photo_as_seen(self.backbone, encoding)
            if self._tuned is None
            else photo_of(self.backbone, query, pixels),
        )

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Mix an encoded reference with words.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        return compose_features(
            self,
            encoded,
            text,
            balance,
            mix=lambda reference, words: slerp(reference, words, self.settings.alpha),
        )


def needs_shift(backbone: Backbone, setting: bool | None) -> bool:
    """Return whether sketches are moved to the photo side.

    Args:
        backbone: A kit that tells media apart has centred each by its own mean: its drawings lie
            among photos already, and words would move them away.
        setting: As in `SlerpSettings.moves_sketches`.
    """
    return not backbone.tells_media_apart if setting is None else setting


def modality_shift(backbone: Backbone) -> Float[Tensor, " d"]:
    """Return `m_photo - m_sketch`: the direction from drawings to photos, by text prompts."""
    means = [
        backbone.encode_text([t.format(noun) for t in templates for noun in NOUNS]).mean(dim=0)
        for templates in (PHOTO_TEMPLATES, SKETCH_TEMPLATES)
    ]
    return means[0] - means[1]
