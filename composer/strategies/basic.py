"""BASIC: centred, projected similarities to reference and words, fused for every picture."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.fusion import Fusion
from composer.medium import Medium
from composer.names import BASIC
from composer.prompt import text_parts
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import PLAIN_PROMPT, compose_features
from composer.strategies.untrained import (
    Centres,
    as_reference,
    measured,
    middle,
    see,
    text_features,
)
from composer.word_lists import STYLES, SUBJECTS

MOST_COMPONENTS = 250
_CONTEXT_TOKENS = 6  # of the longest subject
_STYLES_IN_MEAN = STYLES[::4]


@dataclass(frozen=True, kw_only=True, slots=True)
class BasicSettings:
    """Settings of BASIC.

    Attributes:
        alpha: Weight of the directions of styles, which are taken from those of subjects.
        num_components: Directions that a reference is compared by; None for half of the joint
            space, 250 at most; 0 for all directions.
        num_contexts: Subjects that the words are put before and behind; 0 for the bare words.
        penalty: Weight of the squared sum of both similarities.
        floor: Standard deviations below the gallery's mean at which a similarity counts as zero.
        num_neighbours: Pictures of the gallery that expand the reference.
    """

    alpha: float = 0.2
    num_components: int | None = None
    num_contexts: int = 8
    penalty: float = 0.1
    floor: float = 2.0
    num_neighbours: int = 0


class BasicComposer:
    """Composes without training, by two similarities in place of one feature.

    Source: docs/papers.md, equations (27) to (32). We differ: photos are centred by the gallery's
    mean, drawings by the middle of two estimates of theirs, the mean of figures drawn by code and
    the gallery's mean moved to the drawings' side; the gallery's spread stands in for constants
    measured elsewhere; the word lists are ours; a photo without words is compared by its feature,
    as in every composer. Where one vector is needed, as for evidence, the spherical middle of
    reference and words stands for the query. Tokens come from the kit's converter: the method has
    none.
    """

    name = BASIC

    def __init__(
        self,
        backbone: Backbone,
        settings: BasicSettings | None = None,
        *,
        converter: TextConverter | None = None,
    ) -> None:
        """Take the kit's backbone and, where it has one, its converter.

        The word lists and figures are encoded when they are first needed, about a thousand short
        texts.

        Raises:
            ValueError: A setting is out of range.
        """
        self.settings = settings or BasicSettings()
        _check(self.settings, backbone.joint_dim)
        self.backbone, self._converter = backbone, converter
        self._centres = Centres(backbone)
        self._contexts = contexts(self.settings.num_contexts)

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query; the gallery completes its centring."""
        seen = see(self.backbone, query)
        if seen is None:
            return EncodedReference()
        feature, is_drawing = seen.features[0].float(), seen.medium is Medium.DRAWING
        fusion = Fusion(
            reference=feature + 0.5 * (self._centres.shift - self._centres.drawings)
            if is_drawing
            else feature,
            words=None,
            projection=self._projection,
            gallery_share=0.5 if is_drawing else 1.0,
            floor=self.settings.floor,
            penalty=self.settings.penalty,
            num_neighbours=self.settings.num_neighbours,
        )
        encoded = as_reference(
            self.backbone, seen, shift=self._centres.shift, converter=self._converter
        )
        return replace(encoded, fusion=fusion)

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Put the words in context and set them beside the reference.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        query = compose_features(self, encoded, text, balance, mix=middle)
        if query.words_feature is None:
            # A photo alone is compared as a whole, so that its copies come first.
            return replace(query, fusion=None if encoded.photo else encoded.fusion)
        words = self._in_context(text) - self._words_mean
        if encoded.fusion is None:
            alone = Fusion(reference=None, words=words, floor=self.settings.floor)
            return replace(query, fusion=alone)
        return replace(query, fusion=replace(encoded.fusion, words=words))

    @cached_property
    def _projection(self) -> Float[Tensor, "k d"] | None:
        count = self.settings.num_components
        if count is None:
            count = min(MOST_COMPONENTS, self.backbone.joint_dim // 2)
        if count == 0:
            return None
        alpha = self.settings.alpha
        return measured(lambda: _components(self.backbone, alpha=alpha, count=count))

    @cached_property
    def _words_mean(self) -> Float[Tensor, " d"]:
        return measured(
            lambda: torch.stack([self._in_context(style) for style in _STYLES_IN_MEAN]).mean(dim=0)
        )

    def _in_context(self, text: str) -> Float[Tensor, " d"]:
        """Return the mean text feature of words before and behind each context."""
        parts = text_parts(self.backbone, text, _CONTEXT_TOKENS)
        sums = [part.num_tokens * self._mean_around(part.text) for part in parts]
        if len(sums) == 1:
            return self._mean_around(text)
        return torch.stack(sums).sum(dim=0) / sum(part.num_tokens for part in parts)

    def _mean_around(self, text: str) -> Float[Tensor, " d"]:
        around = [f"{subject} {text}" for subject in self._contexts]
        around += [f"{text} {subject}" for subject in self._contexts]
        return text_features(self.backbone, around or [text]).mean(dim=0)


def contexts(count: int) -> tuple[str, ...]:
    """Return that many subjects, spread over the whole list."""
    return tuple(SUBJECTS[index * len(SUBJECTS) // count] for index in range(count))


def contrastive_components(
    subjects: Float[Tensor, "n d"], styles: Float[Tensor, "m d"], *, alpha: float, count: int
) -> Float[Tensor, "k d"]:
    """Return the directions in which subjects vary most and styles least; orthonormal rows.

    Source: docs/papers.md, equation (28).
    """
    contrast = _covariance(subjects) - alpha * _covariance(styles)
    return torch.linalg.eigh(contrast).eigenvectors.T.flip(0)[:count].contiguous()


def _covariance(features: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    centred = (features - features.mean(dim=0)).double()
    return centred.T @ centred / len(features)


def _components(backbone: Backbone, *, alpha: float, count: int) -> Float[Tensor, "k d"]:
    subjects = text_features(backbone, [f"{PLAIN_PROMPT} a {subject}" for subject in SUBJECTS])
    styles = text_features(backbone, STYLES)
    return contrastive_components(subjects, styles, alpha=alpha, count=count).float()


def _check(settings: BasicSettings, joint_dim: int) -> None:
    if not 0 <= (settings.num_components or 0) <= joint_dim:
        raise ValueError(
            f"`num_components` must lie between 0 and the joint dimension ({joint_dim}), got "
            f"{settings.num_components}."
        )
    if not 0 <= settings.num_contexts <= len(SUBJECTS):
        raise ValueError(
            f"`num_contexts` must lie between 0 and {len(SUBJECTS)}, got {settings.num_contexts}."
        )
    if not settings.alpha >= 0:
        raise ValueError(f"`alpha` must be at least 0, got {settings.alpha}.")
    # The rest is checked by the value itself.
    Fusion(
        reference=None,
        words=torch.zeros(1),
        floor=settings.floor,
        penalty=settings.penalty,
        num_neighbours=settings.num_neighbours,
    )
