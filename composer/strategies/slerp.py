"""Slerp: spherical mixture of an image and a text feature, the baseline everybody has."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery, slerp
from composer.prompt import Prompt, build_prompt
from composer.query import Query
from composer.strategies.duet import PLAIN_PROMPT, DuetModel
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    Composition,
    composed_query,
    encode_prompts,
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
NO_TOKENS = (
    "The slerp composer makes no tokens in a kit without a converter, so it can search but not "
    "draw; choose the duet composer, or train one."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SlerpSettings:
    """How slerp mixes.

    Attributes:
        alpha: Share of the way from the reference to the words; 0.8 to 0.9 in the literature.
        uses_tuned_tower: See references with the duet's tower instead of the frozen one.
        moves_sketches: Move a sketch to the photo side before mixing.
    """

    alpha: float = DEFAULT_ALPHA
    uses_tuned_tower: bool = False
    moves_sketches: bool = True


class SlerpComposer:
    """Composes without training: `slerp(image feature, text feature, alpha)`.

    A sketch is first moved to the photo side, `normalise(V(S) - m_sketch + m_photo)`, the vectors
    being means of text features of "a drawing of ..." and "a photo of ..."; otherwise it would
    search for drawings. Tokens come from the duet's converter where a kit has one: these are ours,
    the method has none.

    Source: papers.md, "Building blocks"; DESIGN.md, "Composers".
    """

    name = "slerp"

    def __init__(
        self,
        backbone: Backbone,
        duet: DuetModel | None = None,
        settings: SlerpSettings | None = None,
    ) -> None:
        """Takes the kit's backbone and, where it has one, its duet.

        Raises:
            ValueError: `alpha` is not in [0, 1], or the tuned tower of a missing duet is asked for.
        """
        self.settings = settings or SlerpSettings()
        if not 0.0 <= self.settings.alpha <= 1.0:
            raise ValueError(f"`alpha` must lie between 0 and 1, got {self.settings.alpha}.")
        if self.settings.uses_tuned_tower and duet is None:
            raise ValueError("The tuned tower belongs to a duet composer; this kit has none.")
        self.backbone = backbone
        self._duet = None if duet is None else duet.eval().requires_grad_(False)
        with torch.no_grad():
            self._shift = modality_shift(backbone)

    def with_settings(self, settings: SlerpSettings) -> "SlerpComposer":
        """The same composer with other settings."""
        return SlerpComposer(self.backbone, self._duet, settings)

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encodes the reference of a query, moving sketches to the photo side."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        tuned = None if self._duet is None else self._duet.encode_image(pixels)
        use_tuned = self.settings.uses_tuned_tower and tuned is not None
        seen = tuned if use_tuned and tuned is not None else self.backbone.encode_image(pixels)
        feature = seen.features[0]
        if query.sketch is not None and self.settings.moves_sketches:
            feature = functional.normalize(feature + self._shift, dim=-1)
        tokens = None
        if self._duet is not None and tuned is not None:
            tokens = self._duet.convert(tuned.features)[0]
        return EncodedReference(
            image_feature=feature, pseudo_tokens=tokens, patch_features=seen.patch_features[0]
        )

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Mixes an encoded reference with words.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        reference = encoded.image_feature
        has_words = bool(self.backbone.word_ids(text))
        if reference is None and not has_words:
            raise ValueError("The query is empty; draw something or write a few words.")
        words = None
        if has_words:
            words_prompt = build_prompt(self.backbone, PLAIN_PROMPT, None, text)
            words = encode_prompts(self.backbone, [words_prompt])[0]
        prompt = self._prompt(encoded, text)
        found = Composition(
            both=_mix(reference, words, self.settings.alpha),
            reference=reference,
            words=words,
            prompt=prompt,
            missing_tokens=NO_TOKENS if prompt is None else "",
        )
        return composed_query(self, encoded, found, text=text, balance=balance)

    def _prompt(self, encoded: EncodedReference, text: str) -> Prompt | None:
        """The prompt to draw with; None where the reference cannot become a token."""
        if encoded.image_feature is None:
            return build_prompt(self.backbone, PLAIN_PROMPT, None, text)
        if self._duet is None or encoded.pseudo_tokens is None:
            return None
        return build_prompt(self.backbone, self._duet.prompt, encoded.pseudo_tokens, text)


def modality_shift(backbone: Backbone) -> Float[Tensor, " d"]:
    """`m_photo - m_sketch`: what separates photos from drawings, told by text prompts."""
    means = [
        backbone.encode_text([t.format(noun) for t in templates for noun in NOUNS]).mean(dim=0)
        for templates in (PHOTO_TEMPLATES, SKETCH_TEMPLATES)
    ]
    return means[0] - means[1]


def _mix(
    reference: Float[Tensor, " d"] | None, words: Float[Tensor, " d"] | None, alpha: float
) -> Float[Tensor, " d"]:
    if reference is None:
        assert words is not None
        return words
    return reference if words is None else slerp(reference, words, alpha)
