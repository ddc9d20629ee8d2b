"""Protocols of composers."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.fusion import Fusion
from composer.layout import LearnedLayout
from composer.query import Query


class ComposerError(ValueError):
    """A composer that cannot be loaded or used so; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedWord:
    """A word for a reference; the weights of all words of one reference sum to one."""

    word: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedPhoto:
    """A photo as galleries hold it: alone, it searches by this, whatever the composer.

    A composer translates what is not a photo, or completes it by words. A photo alone needs neither
    and would only lose detail, so that it would not find itself.

    Attributes:
        feature: Unit vector in the joint space from the backbone's frozen tower.
        patch_features: As in `EncodedReference`, from that tower.
        layout: As in `ComposedQuery`, from that tower.
    """

    feature: Float[Tensor, " d"]
    patch_features: Float[Tensor, "p d"]
    layout: LearnedLayout | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedReference:
    """An encoded reference: the expensive half of a composition, reusable with other words.

    Without a reference every attribute is None or empty.

    Attributes:
        image_feature: Unit vector in the joint space from the composer's vision tower; None where
            that tower makes tokens alone.
        pseudo_tokens: The reference as token embeddings; None where the composer makes none.
        patch_features: Unit vectors in the joint space, one per patch; None where there are none.
        layout: As in `ComposedQuery`.
        fusion: The reference's side of a fusion; None where the composer makes one feature.
        words: The reference in words, the nearest first; empty where the composer has no use for
            them.
        photo: The reference as the gallery's tower encodes it; None for a drawing.
    """

    image_feature: Float[Tensor, " d"] | None = None
    pseudo_tokens: Float[Tensor, "n w"] | None = None
    patch_features: Float[Tensor, "p d"] | None = None
    layout: LearnedLayout | None = None
    fusion: Fusion | None = None
    words: tuple[WeightedWord, ...] = ()
    photo: "EncodedPhoto | None" = None


@runtime_checkable
class Composer(Protocol):
    """A way to turn a reference and words into one composed query."""

    name: str
    backbone: Backbone

    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query; its words are ignored."""
        ...

    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Compose an encoded reference with words.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        ...


@runtime_checkable
class BatchEncoder(Protocol):
    """A composer that encodes several references at once for much less than one by one."""

    def encode_batch(self, queries: Sequence[Query]) -> list[EncodedReference]:
        """Encode the references of several queries, in their order."""
        ...


@runtime_checkable
class PictureEncoder(Protocol):
    """A composer whose tower can also encode galleries: the papers' shared tower.

    Kits never encode galleries so; benchmarks do.
    """

    backbone: Backbone

    def encode_pictures(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return unit features of preprocessed pictures."""
        ...


@runtime_checkable
class LightEncoder(Protocol):
    """A composer with a vision tower that costs less than the backbone's."""

    backbone: Backbone

    @property
    def num_tower_parameters(self) -> int:
        """Number of weights that encode a reference."""
        ...

    def tokens(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l t"]:
        """Return pseudo-words of preprocessed references."""
        ...


def encode_all(
    composer: Composer, queries: Iterable[Query], *, batch_size: int = 64
) -> Iterator[EncodedReference]:
    """Encode queries in their order, in batches where the composer supports them.

    Args:
        composer: Any composer.
        queries: At most one batch of them is held at a time.
        batch_size: Queries side by side.
    """
    if not isinstance(composer, BatchEncoder):
        yield from map(composer.encode, queries)
        return
    waiting = iter(queries)
    while batch := list(islice(waiting, batch_size)):
        yield from composer.encode_batch(batch)


def with_backbone(composer: Composer, backbone: Backbone) -> Composer:
    """Return a composer that composes on a copy of its backbone, such as one with added words."""
    copied = copy(composer)
    copied.backbone = backbone
    return copied
