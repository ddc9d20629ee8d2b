"""A world of four classes whose pictures lie on the axes of a space of four dimensions."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from composer.training.words.concepts import Concept, ConceptKind, Concepts

WIDTH = 24


def tiny_concepts() -> Concepts:
    """Two classes of the classifier, their parent, one class of photos, one captioned photo.

    Rows: prototypes of cat, dog and (barred) owl on three axes; photos of a boat and of a sea.
    """
    features = torch.eye(5)
    items = (
        Concept(
            kind=ConceptKind.PROTOTYPE,
            texts=("a photo of a cat", "cat"),
            names=("cat", "tomcat"),
            glosses=("a feline",),
            rows=(0,),
        ),
        Concept(
            kind=ConceptKind.PROTOTYPE, texts=("a photo of a dog", "dog"), names=("dog",), rows=(1,)
        ),
        Concept(kind=ConceptKind.PARENT, texts=("a pet",), names=("pet",), rows=(0, 1)),
        Concept(kind=ConceptKind.CLASS, texts=("a boat", "boat"), names=("boat",), rows=(3,)),
        Concept(kind=ConceptKind.CAPTION, texts=("a sea at night", "the dark sea"), rows=(4,)),
    )
    return Concepts(items=items, features=features, has_prototype=(True, True, False))


def sentences(texts: Sequence[str]) -> Tensor:
    """Sentence features that are sums of fixed random vectors of the words."""
    rows = [torch.stack([_word(w) for w in text.split()]).sum(0) for text in texts]
    return functional.normalize(torch.stack(rows), dim=-1)


def _word(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
