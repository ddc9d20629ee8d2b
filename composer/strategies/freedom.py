"""FREEDOM: the reference in words of a vocabulary, each combined with the user's words."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.medium import Medium
from composer.names import FREEDOM
from composer.prompt import text_parts
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.protocol import EncodedReference, WeightedWord
from composer.strategies.reference import PLAIN_PROMPT, compose_features
from composer.strategies.untrained import (
    Centres,
    as_reference,
    measured,
    see,
    text_features,
)
from composer.vision import ImageEncoding
from composer.word_lists import SUBJECTS

_PROMPT_TOKENS = 10  # of the prompt and the longest subject


@dataclass(frozen=True, kw_only=True, slots=True)
class FreedomSettings:
    """Settings of FREEDOM.

    Attributes:
        num_words: Words of the vocabulary that stand for a reference.
        temperature: Of the softmax that weighs them by their cosines; towards 0 the nearest one
            alone counts.
    """

    num_words: int = 7
    temperature: float = 0.1


class FreedomComposer:
    """Composes without training: text features of words for the reference with the user's words.

    Their weighted mean is one feature, so that a search costs what any other does.

    Source: docs/papers.md, equations (34) and (35). We differ: the words are those nearest to the
    reference itself, as in the paper's variant without a visual memory, for a kit has no pictures;
    their cosines weigh them where the paper counts how often they occur among neighbours; drawing
    and vocabulary are centred first; the vocabulary is our word list. The feature of a reference
    alone is its image feature. Tokens come from the kit's converter: the method has none.
    """

    name = FREEDOM

    def __init__(
        self,
        backbone: Backbone,
        settings: FreedomSettings | None = None,
        *,
        converter: TextConverter | None = None,
    ) -> None:
        """Take the kit's backbone and, where it has one, its converter.

        The vocabulary is encoded when it is first needed, about five hundred short texts.

        Raises:
            ValueError: A setting is out of range.
        """
        self.settings = settings or FreedomSettings()
        if not 1 <= self.settings.num_words <= len(SUBJECTS):
            raise ValueError(
                f"`num_words` must lie between 1 and {len(SUBJECTS)}, got "
                f"{self.settings.num_words}."
            )
        if not self.settings.temperature > 0:
            raise ValueError(f"`temperature` must be above 0, got {self.settings.temperature}.")
        self.backbone, self._converter = backbone, converter
        self._centres = Centres(backbone)

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query and find words for it."""
        seen = see(self.backbone, query)
        if seen is None:
            return EncodedReference()
        encoded = as_reference(
            self.backbone, seen, shift=self._centres.shift, converter=self._converter
        )
        return replace(encoded, words=self._words_for(seen))

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Combine the words for the reference with the user's words.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """

        def combine(image: Float[Tensor, " d"], _: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
            parts = text_parts(self.backbone, text, _PROMPT_TOKENS)
            read = [self._read(encoded, part.text) for part in parts]
            features = read[0]
            if len(parts) > 1:
                sizes = torch.tensor([part.num_tokens for part in parts]).to(features)
                features = (torch.stack(read) * sizes[:, None, None]).sum(dim=0) / sizes.sum()
            weights = torch.tensor([named.weight for named in encoded.words]).to(features)
            return functional.normalize(weights @ features, dim=-1).to(image)

        return compose_features(self, encoded, text, balance, mix=combine)

    def _read(self, encoded: EncodedReference, text: str) -> Float[Tensor, "n d"]:
        """Return the text feature of each word of a reference with words of the user."""
        prompts = [f"{PLAIN_PROMPT} a {named.word} {text}" for named in encoded.words]
        prompts += [f"{text} of a {named.word}" for named in encoded.words]
        return text_features(self.backbone, prompts).unflatten(0, (2, -1)).mean(dim=0)

    @cached_property
    def _vocabulary(self) -> Float[Tensor, "n d"]:
        return measured(lambda: _vocabulary(self.backbone))

    def _words_for(self, seen: ImageEncoding) -> tuple[WeightedWord, ...]:
        """Return the nearest words of a reference, weighed."""
        centre = (
            self._centres.drawings
            if seen.medium is Medium.DRAWING
            else self._centres.drawings + self._centres.shift
        )
        direction = functional.normalize(seen.features[0].float() - centre, dim=-1)
        nearest = (self._vocabulary @ direction).topk(self.settings.num_words)
        weights = (nearest.values / self.settings.temperature).softmax(dim=0)
        pairs = zip(nearest.indices.tolist(), weights.tolist(), strict=True)
        return tuple(WeightedWord(word=SUBJECTS[row], weight=weight) for row, weight in pairs)


def _vocabulary(backbone: Backbone) -> Float[Tensor, "n d"]:
    """Return centred unit features of all subjects."""
    features = text_features(backbone, [f"{PLAIN_PROMPT} a {subject}" for subject in SUBJECTS])
    return functional.normalize(features - features.mean(dim=0), dim=-1)
