"""Data of trainings on drawings and photos: frozen features and validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import ValidationQueries, validation_queries
from composer.data.feature_store import FeatureStore
from composer.data.wording import with_article
from composer.data.world import (
    SHARES,
    PairBatches,
    World,
    catalogue_table,
    natural_tables,
)
from composer.strategies.reference import PLAIN_PROMPT
from composer.training.duet_validation import Accuracy, accuracy
from composer.vision import ImageEncoding

_BATCH = 64
WORDS_SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSources:
    """Sources of a training on pairs.

    Attributes:
        clip: The frozen CLIP: its folder, or the name of a public one.
        pack: Folder of the catalogue's training pack.
        natural: Folder of the natural archives; None for the catalogue alone.
        num_classes: P, classes in a batch.
        per_class: K, drawings of each.
        shares: Share of the classes of a batch that each data set gives.
        features: Folder where features of pictures are kept for further runs; None for none.
    """

    clip: str | Path
    pack: Path
    natural: Path | None = None
    num_classes: int = 12
    per_class: int = 4
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    features: Path | None = None


class PairData:
    """The world, its photos and words encoded once by the frozen towers, and the validation."""

    def __init__(self, sources: PairSources, accelerator: Accelerator, *, seed: int) -> None:
        """Load and encode everything.

        Raises:
            ValueError: The backbone, the pack or an archive cannot be used.
        """
        torch.manual_seed(seed)
        self.backbone = backbone = Backbone.load(sources.clip, device=accelerator.device)
        self.store = FeatureStore(backbone, sources.features)
        pack = CataloguePack.open(sources.pack)
        _ = pack.training_photos()  # an error, where there is none
        size_px = backbone.image_size_px
        tables = [catalogue_table(pack, "train", size_px)]
        held: HeldClasses | None = None
        if sources.natural is not None:
            parts = natural_tables(sources.natural, size_px)
            tables += parts.train
            held = HeldClasses(World(parts.validation), self.store)
        self.world = World(tables)
        self.batches = PairBatches(
            self.world,
            num_classes=sources.num_classes,
            per_class=sources.per_class,
            shares=sources.shares,
            seed=seed,
        )
        with accelerator.autocast():
            self.gallery = self.store.features(self.world.photos)
        names = [f"{PLAIN_PROMPT} {with_article(name)}" for name in self.world.classes]
        with torch.no_grad():
            self.class_features = backbone.encode_text(names).float()
        device = backbone.device
        self.gallery_classes = to_device(self.world.photo_classes, device)
        self.gallery_instances = to_device(self.world.photo_instances, device)
        self._validation = _Validation(pack, held, self.store)
        self.store.flush()

    def validate(
        self,
        encode: Callable[[Float[Tensor, "n 3 h w"]], ImageEncoding],
        mix: Callable[[Float[Tensor, "n d"], Float[Tensor, "n d"], float], Float[Tensor, "n d"]],
        *,
        move: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]] | None = None,
        move_words: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]] | None = None,
    ) -> "PairScores":
        """Score an encoder of drawings and a mixture with words; every share is tried.

        Args:
            encode: Preprocessed drawings to features.
            mix: Features of drawings, of words, and the words' share, to queries.
            move: Applied to a drawing's feature first; None for nothing.
            move_words: Applied to that of words first; None for nothing.
        """
        return self._validation.scores(encode, mix, move or _as_is, move_words or _as_is)

    def validate_tokens(
        self,
        tokens: Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n k w"]],
        read: Callable[[Float[Tensor, "n k w"], Sequence[Sequence[int]]], Float[Tensor, "n d"]],
    ) -> "PairScores":
        """Score an encoder of drawings to tokens, which precede the words.

        Args:
            tokens: Preprocessed drawings to pseudo-words.
            read: Pseudo-words and vocabulary ids of words to queries.
        """
        return self._validation.token_scores(tokens, read)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairScores:
    """Accuracies on the catalogue's validation photos, and on validation classes of Sketchy.

    Attributes:
        reference: Of the sketch alone.
        composed: Of sketch and words, with the best share of the words.
        words: Of the words alone.
        share: The best share of the words.
        category: Share of the 25 nearest photos that show the drawn class, among the validation
            classes; None without natural archives.
        by_category: Whether a run is selected by `category`.
    """

    reference: Accuracy
    composed: Accuracy
    words: Accuracy
    share: float
    category: float | None
    by_category: bool = False

    @property
    def score(self) -> float:
        """The number a run is selected by."""
        if self.by_category and self.category is not None:
            return self.category
        return self.composed.at_1 + 0.1 * self.composed.at_10

    def summary(self) -> str:
        """Return one line for the log."""
        rows = (("sketch", self.reference), ("both", self.composed), ("words", self.words))
        parts = [f"{name} {row.at_1:.1%}/{row.at_5:.1%}/{row.at_10:.1%}" for name, row in rows]
        if self.category is not None:
            parts.append(f"class of the nearest 25 {self.category:.1%}")
        return " ".join([*parts, f"share of words {self.share:g}"])


class HeldClasses:
    """Photos and drawings of held-out classes; photos encoded once."""

    def __init__(self, held: World, store: FeatureStore) -> None:
        """Encode the photos with the frozen tower."""
        self._held, self._backbone = held, store.backbone
        self._gallery = store.features(held.photos)

    @torch.no_grad()
    def precision(
        self, encode: Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n d"]]
    ) -> float:
        """Return the share of the 25 photos nearest to each drawing that show its class."""
        held = self._held
        ink = np.stack([held.ink(row, None) for row in range(len(held.drawings))])
        drawn = encode_drawings(self._backbone, encode, np.repeat(ink[..., None], 3, axis=-1))
        nearest = (drawn @ self._gallery.T).topk(25, dim=1).indices.cpu().numpy()
        return float((held.photo_classes[nearest] == held.drawing_classes[:, None]).mean())


class _Validation:
    """Queries and galleries of the validation split, encoded once."""

    def __init__(self, pack: CataloguePack, held: HeldClasses | None, store: FeatureStore) -> None:
        rows, backbone = pack.validation_photos(), store.backbone
        self._backbone, self._held = backbone, held
        self._queries: ValidationQueries = validation_queries(pack, rows, backbone.image_size_px)
        self._gallery = store.features(pack.pixels(rows, backbone.image_size_px))
        with torch.no_grad():
            texts = [f"{PLAIN_PROMPT} {words}" for words in self._queries.words]
            self._words = torch.cat(
                [
                    backbone.encode_text(texts[at : at + _BATCH])
                    for at in range(0, len(texts), _BATCH)
                ]
            ).float()

    @torch.no_grad()
    def scores(
        self,
        encode: Callable[[Tensor], ImageEncoding],
        mix: Callable[[Tensor, Tensor, float], Tensor],
        move: Callable[[Tensor], Tensor],
        move_words: Callable[[Tensor], Tensor],
    ) -> PairScores:
        def encode_moved(pixels: Tensor) -> Tensor:
            return move(encode(pixels).features.float())

        drawn = encode_drawings(self._backbone, encode_moved, self._queries.sketches)
        words = move_words(self._words)
        tried = {share: self._accuracy(mix(drawn, words, share)) for share in WORDS_SHARES}
        best = max(tried, key=lambda share: tried[share].at_1 + 0.1 * tried[share].at_10)
        return PairScores(
            reference=self._accuracy(drawn),
            composed=tried[best],
            words=self._accuracy(words),
            share=best,
            category=self._held and self._held.precision(encode_moved),
        )

    @torch.no_grad()
    def token_scores(
        self,
        tokens: Callable[[Tensor], Tensor],
        read: Callable[[Tensor, Sequence[Sequence[int]]], Tensor],
    ) -> PairScores:
        words = [
            [i for word in self._backbone.word_ids(text) for i in word]
            for text in self._queries.words
        ]
        silent: list[list[int]] = [[] for _ in words]
        pseudo = encode_drawings(self._backbone, tokens, self._queries.sketches)
        starts = range(0, len(pseudo), _BATCH)

        def composed(word_ids: list[list[int]]) -> Tensor:
            parts = (read(pseudo[at : at + _BATCH], word_ids[at : at + _BATCH]) for at in starts)
            return torch.cat(list(parts))

        return PairScores(
            reference=self._accuracy(composed(silent)),
            composed=self._accuracy(composed(words)),
            words=self._accuracy(self._words),
            share=0.5,
            category=self._held
            and self._held.precision(lambda pixels: read(tokens(pixels), [[] for _ in pixels])),
        )

    def _accuracy(self, queries: Float[Tensor, "n d"]) -> Accuracy:
        right = torch.arange(len(queries), device=queries.device)
        return accuracy(queries @ self._gallery.T, right)


def encode_drawings(
    backbone: Backbone,
    encode: Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n *d"]],
    drawings: UInt8[np.ndarray, "n s s 3"],
) -> Float[Tensor, "n *d"]:
    """Encode all drawings in batches."""
    starts = range(0, len(drawings), _BATCH)
    parts = (backbone.normalise_pixels(drawings[at : at + _BATCH]) for at in starts)
    return torch.cat([encode(pixels) for pixels in parts])


def to_device(values: Int[np.ndarray, " n"], device: torch.device) -> Int[Tensor, " n"]:
    """Return class or instance numbers on a device."""
    return torch.from_numpy(values).to(device)


def _as_is(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return features
