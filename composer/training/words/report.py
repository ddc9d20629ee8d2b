"""The figures of a text tower on what no training saw, with the teacher beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from composer.data import heldout
from composer.training.words import forms
from composer.training.words.bank import PhotoHead, PooledSet
from composer.training.words.lessons import Lessons
from composer.training.words.measure import (
    ClassScore,
    bootstrap,
    caption_ranks,
    mean_average_precision,
    recall,
    score_classes,
)
from composer.training.words.withheld import class_word
from composer.training.words.wordings import WORDINGS

GALLERY_SIZE = 200
FREQUENCY_BINS = (100, 1000, 5000, 20_000)
TEMPLATES = (
    "a picture showing {a}",
    "{a} can be seen in this picture",
    "an image with {a}",
    "show me {a}, please",
    "what does {a} look like",
)

Encode = Callable[[Sequence[str]], Float[Tensor, "n d"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsRow:
    """One figure, in percent, with its 95 % interval.

    Attributes:
        what: What was measured.
        encoder: Whose texts.
        queries: How many there were.
    """

    what: str
    encoder: str
    value: float
    low: float
    high: float
    queries: int

    def __str__(self) -> str:
        """Return the row as a line of a report."""
        interval = f"[{self.low:.1f}, {self.high:.1f}]"
        return f"{self.encoder:8} {self.what:44} {self.value:5.1f} {interval} n={self.queries}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutPhotos:
    """Photos that no training paired with words.

    Attributes:
        features: Of Sketchy's held-out classes.
        labels: Their classes.
        captioned: Of Flickr: first the held-out photos, then others that fill the gallery.
        captions: Of the held-out ones, in their order.
    """

    features: Float[Tensor, "n d"]
    labels: tuple[str, ...]
    captioned: Float[Tensor, "m d"]
    captions: tuple[tuple[str, ...], ...]

    @classmethod
    def read(
        cls,
        bank: Mapping[str, PooledSet],
        head: PhotoHead,
        captions: Mapping[str, tuple[str, ...]],
    ) -> "HeldOutPhotos":
        """Take the held-out part of the sets "sketchy" and "flickr"."""
        photos = bank["sketchy"]
        labels = [PurePosixPath(name).parent.name for name in photos.names]
        rows = [i for i, label in enumerate(labels) if heldout.sketchy_is_held_out(label)]
        files = [PurePosixPath(name).name for name in bank["flickr"].names]
        kept = [i for i, name in enumerate(files) if heldout.flickr_is_held_out(name)]
        others = [i for i in range(len(files)) if i not in set(kept)]
        gallery = [*kept, *others[: GALLERY_SIZE - len(kept)]]
        return cls(
            features=head.project(photos.pooled[rows]),
            labels=tuple(labels[i] for i in rows),
            captioned=head.project(bank["flickr"].pooled[gallery]),
            captions=tuple(captions[files[i]] for i in kept),
        )


def class_rows(name: str, encode: Encode, photos: HeldOutPhotos) -> list[WordsRow]:
    """Return rows of class names, of other words for them, and of paraphrases."""
    classes = sorted(set(photos.labels))
    asked = {
        "class names": {c: forms.say(forms.PHOTO, class_word(c)) for c in classes},
        "bare names": {c: class_word(c) for c in classes},
        "synonyms": {
            c: forms.say(forms.PHOTO, w.synonym) for c, w in WORDINGS.items() if w.synonym
        },
        "descriptions": {c: w.description for c, w in WORDINGS.items()},
    }
    for index, template in enumerate(TEMPLATES, start=1):
        asked[f"paraphrase {index}"] = {c: forms.say(template, class_word(c)) for c in classes}
    return [
        _row(f"{what} to photos, mAP@200", name, score_words(encode, words, photos))
        for what, words in asked.items()
        if set(words) & set(classes)
    ]


def score_words(
    encode: Encode, words: Mapping[str, str], photos: HeldOutPhotos
) -> list[ClassScore]:
    """Score a query in words for each class."""
    known = {c: text for c, text in words.items() if c in set(photos.labels)}
    queries = encode(list(known.values()))
    return score_classes(queries, list(known.items()), photos.features, photos.labels)


def _row(what: str, encoder: str, scores: Sequence[ClassScore]) -> WordsRow:
    low, high = bootstrap([score.average_precision for score in scores])
    return WordsRow(
        what=what,
        encoder=encoder,
        value=100 * mean_average_precision(scores),
        low=100 * low,
        high=100 * high,
        queries=len(scores),
    )


def caption_rows(name: str, encode: Encode, photos: HeldOutPhotos) -> list[WordsRow]:
    """Return rows of captions, the interval drawn over photos."""
    texts = [text for said in photos.captions for text in said]
    photo_rows = [i for i, said in enumerate(photos.captions) for _ in said]
    ranks = caption_ranks(encode(texts), photo_rows, photos.captioned)
    rows: list[WordsRow] = []
    for at in (1, 10):
        hits = (ranks <= at).astype(float)
        each = [
            float(hits[np.asarray(photo_rows) == i].mean()) for i in range(len(photos.captions))
        ]
        low, high = bootstrap(each)
        rows.append(
            WordsRow(
                what=f"captions, R@{at} of {len(photos.captioned)} photos",
                encoder=name,
                value=100 * recall(ranks, at),
                low=100 * low,
                high=100 * high,
                queries=len(ranks),
            )
        )
    return rows


def frequency_rows(
    encode: Encode, lessons: Lessons, ranked: Sequence[str], *, most: int = 200
) -> list[WordsRow]:
    """Return the agreement with the teacher by how common a noun is, the commonest first.

    Args:
        encode: The text tower.
        lessons: The teacher's answers.
        ranked: Nouns, the commonest first.
        most: Nouns of each range that are looked at, evenly spread.
    """
    targets = dict(zip(lessons.texts, lessons.targets, strict=True))
    rows: list[WordsRow] = []
    bounds = (0, *FREQUENCY_BINS, len(ranked))
    for first, last in pairwise(bounds):
        words = [word for word in ranked[first:last] if word in targets]
        words = words[:: max(1, len(words) // most)]
        if words:
            wanted = torch.stack([targets[word] for word in words])
            cosines = (encode(words) * wanted).sum(1).tolist()
            low, high = bootstrap(cosines)
            rows.append(
                WordsRow(
                    what=f"cosine to the teacher, nouns {first} to {last}",
                    encoder="student",
                    value=100 * float(np.mean(cosines)),
                    low=100 * low,
                    high=100 * high,
                    queries=len(words),
                )
            )
    return rows
