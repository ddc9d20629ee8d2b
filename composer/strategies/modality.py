"""Modality: learned vectors of photo, sketch and text, exchanged within a feature."""

from enum import StrEnum
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.medium import Medium
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.files import load_with_number, write_composer
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    compose_features,
    learned_layout,
    photo_of,
    reference_medium,
    reference_pixels,
)
from composer.vision import ImageEncoding, encode_with_tower, norm_state

SCHEMA = "modality-composer/1"
_WORDS_SHARE = "words_share"


class Modality(StrEnum):
    """Where a feature comes from; the order is that of the classifier's outputs."""

    PHOTO = "photo"
    SKETCH = "sketch"
    TEXT = "text"


class ModalityModel(nn.Module):
    """The trainable part: norms of the query tower, one vector a modality, a classifier D.

    `semantics` of a unit feature z is `s = z - m`; `convert` gives it another modality:
    `normalise(s + m')`. The paper tunes one tower for sketches and photos alike; here photos keep
    the frozen one, so that one index serves every composer.

    Source: docs/papers.md, equation (10).

    Attributes:
        words_share: b, the share of the words in a composed query; validation chooses it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.words_share = 0.5
        self.tower = backbone.copy_vision_tower()
        # Small, so that they do not dominate unit features.
        self.vectors = nn.Parameter(0.02 * torch.randn(len(Modality), backbone.joint_dim))
        self.classifier = nn.Linear(backbone.joint_dim, len(Modality))
        self.to(backbone.device)

    def encode_image(
        self, pixels: Float[Tensor, "n 3 h w"], medium: Medium = Medium.DRAWING
    ) -> ImageEncoding:
        """Encode preprocessed references with the tuned tower."""
        return encode_with_tower(self.tower, pixels, medium=medium)

    def vector(self, modality: Modality) -> Float[Tensor, " d"]:
        """Return the vector m of a modality."""
        return self.vectors[list(Modality).index(modality)]

    def semantics(
        self, features: Float[Tensor, "*n d"], modality: Modality
    ) -> Float[Tensor, "*n d"]:
        """Return `s = z - m`."""
        return features - self.vector(modality)

    def convert(
        self, features: Float[Tensor, "*n d"], source: Modality, target: Modality
    ) -> Float[Tensor, "*n d"]:
        """Return `normalise(z - m + m')`."""
        moved = self.semantics(features, source) + self.vector(target)
        return functional.normalize(moved, dim=-1)

    def trainable_state(self) -> dict[str, Tensor]:
        """Return normalisation layers, vectors and classifier under the names of the file."""
        classifier = {f"classifier.{n}": p for n, p in self.classifier.named_parameters()}
        return {**norm_state(self.tower), **classifier, "vectors": self.vectors}

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write what was trained to a `.safetensors`; `notes` goes to its metadata."""
        tensors = {**self.trainable_state(), _WORDS_SHARE: torch.tensor([self.words_share])}
        write_composer(path, SCHEMA, tensors, self.backbone, half=half, notes=notes)

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "ModalityModel":
        """Read what `save` wrote.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        model = cls(backbone)
        live = model.trainable_state()
        model.words_share = load_with_number(path, SCHEMA, live, backbone, number=_WORDS_SHARE)
        return model.eval()


def mix(
    reference: Float[Tensor, "*n d"], words: Float[Tensor, "*n d"], share: float
) -> Float[Tensor, "*n d"]:
    """Return `normalise((1 - b) r + b w)` of two features converted to the photo side.

    With `r = s + m_photo` and `w = s_text + m_photo` this is the design's
    `(1 - b) s + b s_text + m_photo`.
    """
    return functional.normalize((1 - share) * reference + share * words, dim=-1)


class ModalityComposer:
    """Composes with a trained `ModalityModel`: everything is converted to the photo side.

    Tokens come from the kit's converter, which reads the reference converted to the text side;
    the method itself has no tokens.

    Source: docs/papers.md, section 2; the composition with words is ours.
    """

    name = "modality"

    def __init__(self, model: ModalityModel, converter: TextConverter | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.backbone = model.backbone
        self._converter = converter

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query and convert it to the photo side."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        modality = Modality.PHOTO if query.sketch is None else Modality.SKETCH
        encoding = self.model.encode_image(pixels, reference_medium(query))
        tokens = None
        if self._converter is not None:
            tokens = self._converter(
                self.model.convert(encoding.features, modality, Modality.TEXT)
            )[0]
        return EncodedReference(
            image_feature=self.model.convert(encoding.features, modality, Modality.PHOTO)[0],
            pseudo_tokens=tokens,
            patch_features=encoding.patch_features[0],
            layout=learned_layout(self.backbone, encoding),
            photo=photo_of(self.backbone, query, pixels),
        )

    def encode_pictures(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return unit features of a gallery's pictures by the tuned tower, as in the paper."""
        return self.model.encode_image(pixels, Medium.PHOTO).features

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Mix an encoded reference with words, both on the photo side.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        model = self.model
        return compose_features(
            self,
            encoded,
            text,
            balance,
            mix=lambda reference, words: mix(reference, words, model.words_share),
            move_words=lambda words: model.convert(words, Modality.TEXT, Modality.PHOTO),
        )
