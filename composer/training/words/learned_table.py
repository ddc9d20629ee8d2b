"""The table of learned names, from the texts that came with pictures."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from composer.learned import LearnedNames
from composer.training.words import everyday, forms
from composer.training.words.concepts import ConceptKind, Concepts
from composer.training.words.nouns import split_words

# Photographed things; the signs of emoji show a thing too little to have learned it.
SHOWN = (ConceptKind.CLASS, ConceptKind.PROTOTYPE)
MIN_PHOTOS = 3
UNLIKE_SHARE = 0.02


def learned_names(
    concepts: Concepts, encode: Callable[[Sequence[str]], Float[Tensor, "n d"]]
) -> LearnedNames:
    """Collect the names with their mean pictures, and the words that several captions share.

    A name of several concepts takes labelled photos before the classifier. What these are kinds of
    is known too, but nobody would name it as the closest thing: "saurian" for a dragon. Close is
    what is at least as similar to a text as 49 of 50 names are to their own pictures.

    Args:
        concepts: Texts and their pictures.
        encode: The text tower that goes with the table.
    """
    ordered = sorted(
        (item for item in concepts.items if item.kind in SHOWN),
        key=lambda item: SHOWN.index(item.kind),
    )
    row_of: dict[str, int] = {}
    features: list[torch.Tensor] = []
    for item in ordered:
        fresh = [name for name in item.names if name not in row_of]
        if fresh:
            row_of |= dict.fromkeys(fresh, len(features))
            features.append(concepts.target(item))
    parents = [n for item in concepts.items if item.kind is ConceptKind.PARENT for n in item.names]
    words = [*caption_words(concepts), *parents, *everyday.FUNCTION_WORDS.split()]
    names, rows = list(row_of), list(row_of.values())
    pictures = torch.stack(features)
    texts = encode([forms.say(forms.PHOTO, name) for name in names])
    similarities = (texts * pictures[rows]).sum(1)
    least = float(similarities.quantile(UNLIKE_SHARE))
    return LearnedNames(names, pictures, words, rows, least)


def caption_words(concepts: Concepts) -> list[str]:
    """Return the words that the captions of several photos hold."""
    photos = Counter(
        word
        for item in concepts.items
        if item.kind in (ConceptKind.CAPTION, ConceptKind.CATALOGUE, ConceptKind.MEDIUM)
        for word in {word for text in item.texts for word in split_words(text)}
    )
    return [word for word, count in photos.items() if count >= MIN_PHOTOS]
