"""Validation of a duet in training: the reference alone, with words, and words alone.

A delta_w may carry the whole photo while words are ignored, and accuracies of q_delta would not
show it. So a run is selected by these three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.backbone import Backbone
from composer.data.duet_batches import GalleryFeatures, ValidationQueries
from composer.layout import SHORT_LIST, blend
from composer.medium import Medium
from composer.prompt import assemble_prompts
from composer.strategies.duet import DuetModel
from composer.strategies.reference import PLAIN_PROMPT, complete
from composer.training.losses import distance
from composer.training.phrases import NEUTRAL_VALIDATION

_BATCH = 64
TOLERANCE = 0.005  # of a score: about two queries
RESIDUALS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 20.0)
WORDS_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Share of queries whose right photo is among the first 1, 5 and 10, in [0, 1]."""

    at_1: float
    at_5: float
    at_10: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetScores:
    """Accuracies against all validation photos: sketch alone, sketch and words, words alone.

    Attributes:
        reference: Of the sketch alone.
        composed: Of sketch and words.
        reranked: Of sketch and words, the first hundred re-ranked by layout, as a search does.
        words: Of the words alone.
        moved_by_neutral: Mean distance that words without content move the query of a sketch.
        chairs: Of drawn chairs of ChairV2 alone, re-ranked; None without natural archives.
        named_chairs: Of the same with their photos' colours in words.
        category: Share of the 25 nearest photos that show the drawn class, among the validation
            classes of Sketchy; None without natural archives.
        residual: Of `RESIDUALS`, and `words_share` of `WORDS_SHARES`: those of the least sum that
            are within `TOLERANCE` of the best with sketch and words, re-ranked, on the catalogue
            and on chairs where there are any.
        residual_alone: The same of the sketch alone.
        words_share: See `residual`.
    """

    reference: Accuracy
    composed: Accuracy
    reranked: Accuracy
    words: Accuracy
    moved_by_neutral: float
    residual: float
    residual_alone: float
    words_share: float
    category: float | None = None
    chairs: Accuracy | None = None
    named_chairs: Accuracy | None = None

    @property
    def score(self) -> float:
        """The number a run is selected by: Acc@1 of sketch and words re-ranked, then Acc@10.

        The mean of the catalogue's and that of chairs where there are any.
        """
        both = [self.reranked, *([] if self.named_chairs is None else [self.named_chairs])]
        return _mean([_score(one) for one in both])

    def summary(self) -> str:
        """Return one line for the log."""
        rows = (
            ("sketch", self.reference),
            ("both", self.composed),
            ("re-ranked", self.reranked),
            ("words", self.words),
            ("chairs", self.chairs),
            ("chairs in words", self.named_chairs),
        )
        rows = [(name, row) for name, row in rows if row is not None]
        parts = [f"{name} {row.at_1:.1%}/{row.at_5:.1%}/{row.at_10:.1%}" for name, row in rows]
        parts.append(f"neutral {self.moved_by_neutral:.3f}")
        if self.category is not None:
            parts.append(f"class of the nearest 25 {self.category:.1%}")
        shares = (self.residual, self.words_share, self.residual_alone)
        parts.append("residual {:g}, of words {:g}, alone {:g}".format(*shares))
        return " ".join(parts)


# The accuracy of drawn chairs with a share of their own feature; with one of the words' feature, or
# without words where that is None.
Chairs = Callable[[float, float | None], Accuracy]


@torch.inference_mode()
def validate(
    model: DuetModel,
    queries: ValidationQueries,
    gallery: GalleryFeatures,
    chairs: Chairs | None = None,
) -> DuetScores:
    """Rank all validation photos for every query; the right answer of query i is photo i.

    The model's shares are ignored: all of `RESIDUALS` and `WORDS_SHARES` are tried.

    Args:
        model: The duet.
        queries: A drawing and words for each photo.
        gallery: The photos.
        chairs: Tries the same with drawn chairs, with words or without.
    """
    backbone = model.backbone
    word_ids = [[i for word in backbone.word_ids(text) for i in word] for text in queries.words]
    plain = [i for word in backbone.word_ids(PLAIN_PROMPT) for i in word]
    neutral = [[i for word in backbone.word_ids(text) for i in word] for text in NEUTRAL_VALIDATION]
    names = ("image", "reference", "composed", "neutral", "words")
    encoded: dict[str, list[Tensor]] = {name: [] for name in (*names, "layouts")}
    for start in range(0, len(word_ids), _BATCH):
        part = slice(start, start + _BATCH)
        ids = word_ids[part]
        pixels = backbone.normalise_pixels(queries.sketches[part])
        encoding = model.encode_image(pixels)
        image_features = encoding.features
        s_w = model.convert(image_features)
        encoded["layouts"].append(backbone.layouts(encoding))
        silent: list[list[int]] = [[] for _ in ids]
        encoded["image"].append(image_features)
        encoded["reference"].append(model.read(s_w, silent))
        encoded["composed"].append(model.read(s_w, ids))
        phrases = [neutral[i % len(neutral)] for i in range(len(ids))]
        encoded["neutral"].append(model.read(s_w, phrases))
        encoded["words"].append(_encode_words(backbone, plain, ids))
    right = torch.arange(len(word_ids), device=gallery.features.device)
    features = {name: torch.cat(parts) for name, parts in encoded.items()}

    layouts = features["layouts"] @ gallery.layouts.float().T
    weight = backbone.layout_weight(Medium.DRAWING)

    def completed(residual: float, share: float | None) -> Float[Tensor, "n m"]:
        """Return the similarities of sketches, with a share of the words unless it is None."""
        read = features["reference"]
        if share is not None:
            read = features["composed"] + share * features["words"]
        return complete(read, features["image"], residual) @ gallery.features.T

    def choose(shares: Sequence[float | None]) -> _Choice:
        tried = [
            _Choice(
                residual=residual,
                share=share,
                catalogue=accuracy(rerank(completed(residual, share), layouts, weight), right),
                chairs=None if chairs is None else chairs(residual, share),
            )
            for residual in RESIDUALS
            for share in shares
        ]
        enough = max(choice.score for choice in tried) - TOLERANCE
        good = [choice for choice in tried if choice.score >= enough]
        return min(good, key=lambda choice: choice.residual + (choice.share or 0))

    both, alone = choose(WORDS_SHARES), choose([None])
    return DuetScores(
        reference=accuracy(completed(alone.residual, None), right),
        composed=accuracy(completed(both.residual, both.share), right),
        reranked=both.catalogue,
        words=accuracy(features["words"] @ gallery.features.T, right),
        moved_by_neutral=float(distance(features["neutral"], features["reference"]).mean()),
        residual=both.residual,
        residual_alone=alone.residual,
        words_share=both.share or 0.0,
        chairs=alone.chairs,
        named_chairs=both.chairs,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """Shares of the features of reference and words, and what is found with them, re-ranked."""

    residual: float
    share: float | None
    catalogue: Accuracy
    chairs: Accuracy | None

    @property
    def score(self) -> float:
        """The mean of the catalogue's and the chairs' score."""
        return _mean([_score(one) for one in (self.catalogue, self.chairs) if one is not None])


def rerank(
    similarities: Float[Tensor, "n m"], layouts: Float[Tensor, "n m"], weight: float
) -> Float[Tensor, "n m"]:
    """Return similarities; the best hundred of each row are mixed with their layouts' cosines.

    The hundred stay ahead of all others.
    """
    first = similarities.topk(min(SHORT_LIST, similarities.shape[1]), dim=1).indices
    mixed = torch.full_like(similarities, -torch.inf)
    for row, columns in enumerate(first):
        mixed[row, columns] = blend(similarities[row, columns], layouts[row, columns], weight)
    return mixed


def accuracy(similarities: Float[Tensor, "n m"], right: Int[Tensor, " n"]) -> Accuracy:
    """Return Acc@1, @5 and @10; candidates as near as the right one count against it."""
    right_scores = similarities.gather(1, right.unsqueeze(1))
    rank = (similarities >= right_scores).sum(dim=1)  # 1 is the best
    shares = [float((rank <= k).float().mean()) for k in (1, 5, 10)]
    return Accuracy(at_1=shares[0], at_5=shares[1], at_10=shares[2])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _score(result: Accuracy) -> float:
    return result.at_1 + 0.1 * result.at_10


def _encode_words(
    backbone: Backbone, prefix: list[int], word_ids: list[list[int]]
) -> Float[Tensor, "n d"]:
    batch = assemble_prompts(backbone, prefix=prefix, pseudo=None, word_ids=word_ids)
    return backbone.encode_embeddings(batch.embeddings, batch.end_positions).features.float()
