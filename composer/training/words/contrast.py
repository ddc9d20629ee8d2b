"""The loss that ties texts to the pictures they are true of, and the batches it is drawn on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from composer.training.words.concepts import Concept, ConceptKind, Concepts
from composer.training.words.heads import KIND_WEIGHTS

GLOSS_SHARE = 0.25
# Texts of a batch, by where their pictures come from.
SHARES: Mapping[ConceptKind, int] = {
    ConceptKind.PROTOTYPE: 28,
    ConceptKind.PARENT: 8,
    ConceptKind.CLASS: 28,
    ConceptKind.MEDIUM: 4,
    ConceptKind.CAPTION: 24,
    ConceptKind.EMOJI: 10,
    ConceptKind.CATALOGUE: 32,
}
GROUP_SIZE = 8
_BY_CLASSIFIER = frozenset({ConceptKind.PROTOTYPE, ConceptKind.PARENT})


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """A text, a picture it is true of, and the concept both belong to."""

    text: str
    row: int
    concept: int


class Drawer:
    """Draws batches of texts with pictures."""

    def __init__(self, concepts: Concepts, *, times: int = 1) -> None:
        """Take `times` as many texts of each kind as `SHARES` says."""
        self._items = concepts.items
        self._by_kind: dict[ConceptKind, list[int]] = defaultdict(list)
        for index, concept in enumerate(concepts.items):
            self._by_kind[concept.kind].append(index)
        self._counts = {kind: times * SHARES[kind] for kind in ConceptKind if self._by_kind[kind]}
        groups: dict[str, list[int]] = defaultdict(list)
        for index, concept in enumerate(concepts.items):
            if concept.group:
                groups[concept.group].append(index)
        self._groups = list(groups.values())

    def draw(self, rng: np.random.Generator) -> list[Draw]:
        """Draw a batch."""
        chosen = [
            int(index)
            for kind, count in self._counts.items()
            for index in self._choose(kind, count, rng)
        ]
        return [self._draw_one(index, rng) for index in chosen]

    def _choose(self, kind: ConceptKind, count: int, rng: np.random.Generator) -> np.ndarray:
        """Choose concepts of a kind; those with groups come some at a time from one group."""
        if kind is not ConceptKind.CATALOGUE or not self._groups:
            return rng.choice(self._by_kind[kind], count)
        numbers = rng.integers(len(self._groups), size=-(-count // GROUP_SIZE))
        chosen = [rng.choice(self._groups[n], GROUP_SIZE) for n in numbers]
        return np.concatenate(chosen)[:count]

    def _draw_one(self, index: int, rng: np.random.Generator) -> Draw:
        concept = self._items[index]
        has_gloss = bool(concept.glosses) and rng.random() < GLOSS_SHARE
        texts = concept.glosses if has_gloss else concept.texts
        text = texts[int(rng.integers(len(texts)))]
        return Draw(text=text, row=int(rng.choice(concept.rows)), concept=index)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the two parts: telling pictures apart, and pointing at their mean."""

    contrast: float = 1.0
    regression: float = 30.0


class ContrastLoss:
    """Names against all prototypes; other texts against the pictures of their batch.

    Texts of one concept are all right for its pictures, as in SupCon (Khosla et al. 2020).
    """

    def __init__(self, concepts: Concepts) -> None:
        """Prepare the targets of all concepts."""
        self._concepts = concepts
        num_prototypes = len(concepts.has_prototype)
        self._prototypes = concepts.features[:num_prototypes]
        self._barred = ~torch.tensor(concepts.has_prototype)
        self._means = torch.stack([concepts.target(item) for item in concepts.items])
        self._weights = torch.tensor([KIND_WEIGHTS[item.kind] for item in concepts.items])

    def __call__(
        self,
        features: Float[Tensor, "n d"],
        draws: Sequence[Draw],
        scale: Float[Tensor, ""],
        weights: LossWeights,
    ) -> Float[Tensor, ""]:
        """Return the loss of the text features of a batch."""
        index = torch.tensor([draw.concept for draw in draws])
        items = [self._concepts.items[i] for i in index.tolist()]
        named = torch.tensor([item.kind in _BY_CLASSIFIER for item in items])
        parts = features.new_zeros(())
        if bool(named.any()):
            chosen = [item for item, is_named in zip(items, named, strict=True) if is_named]
            parts = parts + self._naming_loss(features[named], chosen, scale)
        if not bool(named.all()):
            rows = torch.tensor([draw.row for draw in draws])[~named]
            same = index[~named][:, None] == index[~named]
            parts = parts + self._matching_loss(features[~named], rows, same, scale)
        cosine = (features * self._means[index]).sum(1)
        share = self._weights[index]
        regression = (share * (1 - cosine)).sum() / share.sum()
        return weights.contrast * parts + weights.regression * regression

    def _naming_loss(
        self, features: Float[Tensor, "n d"], items: Sequence[Concept], scale: Float[Tensor, ""]
    ) -> Float[Tensor, ""]:
        logits = (scale * features @ self._prototypes.T).masked_fill(self._barred, -1e4)
        targets = torch.zeros_like(logits)
        for line, item in zip(targets, items, strict=True):
            line[list(item.rows)] = 1 / len(item.rows)
        losses = -(targets * logits.log_softmax(1)).sum(1)
        share = torch.tensor([KIND_WEIGHTS[item.kind] for item in items])
        return (share * losses).sum() / share.sum()

    def _matching_loss(
        self,
        features: Float[Tensor, "n d"],
        rows: Tensor,
        same: Bool[Tensor, "n n"],
        scale: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        logits = scale * features @ self._concepts.features[rows].T
        return _multi_positive(logits, same) + _multi_positive(logits.T, same)


def _multi_positive(logits: Float[Tensor, "n n"], same: Bool[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Return how far the right ones together fall behind all."""
    right = logits.masked_fill(~same, -1e9).logsumexp(1)
    return (logits.logsumexp(1) - right).mean()
