"""Product: the similarities to reference and words, multiplied for every picture."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.fusion import Fusion
from composer.names import PRODUCT
from composer.prompt import mean_of_parts, text_parts
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import compose_features
from composer.strategies.slerp import modality_shift
from composer.strategies.untrained import as_reference, middle, see, text_features


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductSettings:
    """Settings of the product.

    Attributes:
        floor: Standard deviations below the gallery's mean at which a similarity counts as zero.
        moves_sketches: Move a sketch to the photo side first.
    """

    floor: float = 3.0
    moves_sketches: bool = True


class ProductComposer:
    """Composes without training: the product of two shifted cosines, a baseline.

    The words are encoded as they are, since a medium that they name would not be "a photo of".

    Source: docs/papers.md, equation (33); the shift of the cosines is ours.
    """

    name = PRODUCT

    def __init__(
        self,
        backbone: Backbone,
        settings: ProductSettings | None = None,
        *,
        converter: TextConverter | None = None,
    ) -> None:
        """Take the kit's backbone and, where it has one, its converter.

        Raises:
            ValueError: `floor` is not above 0.
        """
        self.settings = settings or ProductSettings()
        Fusion(reference=None, words=torch.zeros(1), floor=self.settings.floor)
        self.backbone, self._converter = backbone, converter
        with torch.no_grad():
            self._shift = modality_shift(backbone) if self.settings.moves_sketches else None

    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query, moving sketches to the photo side."""
        seen = see(self.backbone, query)
        if seen is None:
            return EncodedReference()
        return as_reference(self.backbone, seen, shift=self._shift, converter=self._converter)

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Set the words beside the reference.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        query = compose_features(self, encoded, text, balance, mix=middle)
        has_words = query.words_feature is not None
        fusion = Fusion(
            reference=query.reference_feature,
            words=self._words(text) if has_words else None,
            floor=self.settings.floor,
        )
        return replace(query, fusion=fusion)

    def _words(self, text: str) -> Float[Tensor, " d"]:
        parts = text_parts(self.backbone, text, 0)
        return mean_of_parts(
            parts, list(text_features(self.backbone, [part.text for part in parts]))
        )
