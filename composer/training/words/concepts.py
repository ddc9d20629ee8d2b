"""Texts that have pictures: a teacher of words is fitted on them, and a text tower trained.

Everything that names a withheld class is left out, by its name, its synonyms or its place in
WordNet, in captions and keywords too.
"""

import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.data import heldout
from composer.data.catalogue import PHOTO, PackItem
from composer.data.tree import DatasetError
from composer.training.words import forms
from composer.training.words.bank import (
    CATALOGUE,
    CLASSIFIER,
    PhotoHead,
    PooledSet,
    class_directions,
)
from composer.training.words.imagenet import ImageNetClass, imagenet_classes
from composer.training.words.withheld import Withheld, class_word
from composer.training.words.wordnet import WordNet

MAX_CHILDREN = 150
NAMES_OF_AN_EMOJI = 4
PHOTOS = ("sketchy", "flickr", "tiny")
PROTOTYPE_POWER = 0.5


class ConceptKind(StrEnum):
    """Where a concept's pictures come from."""

    PROTOTYPE = "prototype"  # a class of the trunk's classifier
    PARENT = "parent"  # what several of these are kinds of
    CLASS = "class"  # labelled photos
    MEDIUM = "medium"  # labelled pictures in a medium
    CAPTION = "caption"  # one photo
    EMOJI = "emoji"  # one drawing
    CATALOGUE = "catalogue"  # a rendering


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """Texts that are all true of the same pictures.

    Attributes:
        kind: Where they come from.
        texts: Names in several forms, or captions; lower case.
        glosses: Definitions; none for most.
        rows: The pictures, as rows of the bank.
        names: What the pictures show, in bare words; none where they are one of a kind.
        group: What is hard to tell from it shares this; empty for most.
    """

    kind: ConceptKind
    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    glosses: tuple[str, ...] = ()
    group: str = ""
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSources:
    """Where the texts of pictures come from.

    Attributes:
        archives: Folder of the data archives, for captions and keywords.
        wordnet: For what ImageNet's classes are kinds of.
        withheld: What must not be paired with pictures.
        catalogue: Pictures of the catalogue by identifier.
    """

    archives: Path
    wordnet: WordNet
    withheld: Withheld
    catalogue: Mapping[str, PackItem] = field(default_factory=dict[str, PackItem])


@dataclass(frozen=True, kw_only=True, slots=True)
class Concepts:
    """All concepts and the features of all pictures.

    The first rows of `features` are the prototypes; `has_prototype` tells which of them may be
    used.
    """

    items: tuple[Concept, ...]
    features: Float[Tensor, "n d"]
    has_prototype: tuple[bool, ...]

    def target(self, concept: Concept) -> Float[Tensor, " d"]:
        """Return the mean direction of a concept's pictures."""
        return functional.normalize(self.features[list(concept.rows)].mean(0), dim=-1)


def read_concepts(bank: Mapping[str, PooledSet], head: PhotoHead, sources: TextSources) -> Concepts:
    """Read the texts of every set of the bank.

    Args:
        bank: Sets named "classifier", "sketchy", "tiny", "pacs", "flickr", "noto", "catalogue"; any
            may lack except the first.
        head: Puts them into the joint space.
        sources: Where the texts come from, and what must not be paired with pictures.

    Raises:
        DatasetError: A picture of the catalogue has no words.
    """
    withheld = sources.withheld
    classes = imagenet_classes()
    kept = tuple(
        c.wnid[1:] not in withheld.offsets and not withheld.mentions(", ".join(c.names))
        for c in classes
    )
    first: dict[str, int] = {}
    ordered = [CLASSIFIER, *sorted(set(bank) & _READERS.keys())]
    total = 0
    for name in ordered:
        first[name], total = total, total + len(bank[name].names)
    found = [*_prototypes(classes, kept), *_parents(classes, kept, sources.wordnet)]
    names = {c.wnid: c.names for c, is_kept in zip(classes, kept, strict=True) if is_kept}
    texts = _Texts(archives=sources.archives, names=names, catalogue=sources.catalogue)
    for source in ordered[1:]:
        for concept in _READERS[source](bank[source].names, texts):
            found.append(replace(concept, rows=tuple(first[source] + r for r in concept.rows)))
    items = tuple(
        c for c in found if not any(withheld.mentions(text) for text in (*c.texts, *c.glosses))
    )
    features = torch.cat([_prototype_features(bank, head), *_features(bank, head, ordered[1:])])
    return Concepts(items=items, features=features, has_prototype=kept)


def _prototype_features(bank: Mapping[str, PooledSet], head: PhotoHead) -> Float[Tensor, "k d"]:
    photos = torch.cat([bank[name].pooled for name in PHOTOS if name in bank])
    directions = class_directions(bank[CLASSIFIER].pooled, photos, power=PROTOTYPE_POWER)
    return functional.normalize(directions @ head.weight.T, dim=-1)


def _features(
    bank: Mapping[str, PooledSet], head: PhotoHead, names: Sequence[str]
) -> Iterator[Float[Tensor, "n d"]]:
    """Yield the features of each set; drawn signs are moved to where photos lie."""
    for name in names:
        pooled = bank[name].pooled
        if name == "noto":
            photos = torch.cat([bank[n].pooled for n in PHOTOS if n in bank])
            pooled = pooled - pooled.mean(0) + photos.mean(0)
        yield head.project(pooled)


def _prototypes(classes: tuple[ImageNetClass, ...], kept: tuple[bool, ...]) -> Iterator[Concept]:
    for row, (item, is_kept) in enumerate(zip(classes, kept, strict=True)):
        if is_kept:
            yield Concept(
                kind=ConceptKind.PROTOTYPE,
                texts=tuple(forms.say(form, n) for n in item.names for form in forms.PLAIN),
                glosses=(item.gloss, f"{item.names[0]}: {item.gloss}"),
                rows=(row,),
                names=item.names,
            )


def _parents(
    classes: tuple[ImageNetClass, ...], kept: tuple[bool, ...], wordnet: WordNet
) -> Iterator[Concept]:
    """Yield what classes are kinds of, unless too many are."""
    offsets = {item.wnid[1:] for item in classes}
    below: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(classes):
        offset = item.wnid[1:]
        if kept[row] and offset in wordnet.synsets:
            for parent in wordnet.above(offset) - {offset}:
                below[parent].append(row)
    for offset, rows in sorted(below.items()):
        if offset in offsets or len(rows) > MAX_CHILDREN:
            continue
        synset = wordnet.synsets[offset]
        words = [word.lower() for word in synset.words[:3]]
        yield Concept(
            kind=ConceptKind.PARENT,
            texts=tuple(forms.say(form, word) for word in words for form in forms.PLAIN[:2]),
            glosses=(synset.gloss.lower(),),
            rows=tuple(rows),
            names=tuple(words),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Texts:
    """What readers look up: the archives, and the names of the classes that may be used."""

    archives: Path
    names: Mapping[str, tuple[str, ...]]
    catalogue: Mapping[str, PackItem]


def _sketchy(names: tuple[str, ...], _: _Texts) -> Iterator[Concept]:
    for folder, rows in group_rows(names).items():
        if not heldout.sketchy_is_held_out(folder):
            word = class_word(folder)
            texts = tuple(forms.say(f, word) for f in (*forms.PLAIN, *forms.PARAPHRASES[:4]))
            yield Concept(kind=ConceptKind.CLASS, texts=texts, rows=rows, names=(word,))


def _tiny(names: tuple[str, ...], texts: _Texts) -> Iterator[Concept]:
    words = texts.names
    for wnid, rows in group_rows(names).items():
        if wnid in words:
            said = tuple(forms.say(form, word) for word in words[wnid] for form in forms.PLAIN)
            yield Concept(kind=ConceptKind.CLASS, texts=said, rows=rows, names=words[wnid])


def _pacs(names: tuple[str, ...], _: _Texts) -> Iterator[Concept]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        inside = "/".join(PurePosixPath(name).parts[1:])
        if not heldout.pacs_is_held_out(inside):
            medium, class_name = PurePosixPath(inside).parts[:2]
            groups[medium, class_name].append(row)
    for (medium, class_name), rows in sorted(groups.items()):
        yield Concept(
            kind=ConceptKind.CLASS if medium == "photo" else ConceptKind.MEDIUM,
            texts=tuple(forms.say(form, class_name) for form in forms.MEDIA[medium]),
            rows=tuple(rows),
        )


def _flickr(names: tuple[str, ...], texts: _Texts) -> Iterator[Concept]:
    captions = read_captions(texts.archives)
    for row, name in enumerate(names):
        file = PurePosixPath(name).name
        said = captions.get(file, ())
        if said and not heldout.flickr_is_held_out(file):
            yield Concept(kind=ConceptKind.CAPTION, texts=said, rows=(row,))


def _noto(names: tuple[str, ...], texts: _Texts) -> Iterator[Concept]:
    keywords = read_keywords(texts.archives)
    for row, name in enumerate(names):
        words = keywords.get(PurePosixPath(name).stem, ())
        if words:
            said = tuple(forms.say(f, word) for word in words for f in ("{}", "a picture of {a}"))
            yield Concept(kind=ConceptKind.EMOJI, texts=said, rows=(row,))


def _catalogue(names: tuple[str, ...], texts: _Texts) -> Iterator[Concept]:
    """Yield each picture by its captions, each finish by its phrase, each kind by its name."""
    kinds: dict[str, list[int]] = defaultdict(list)
    finishes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        item = _pack_item(name.rpartition("/")[2], texts.catalogue)
        said = tuple(dict.fromkeys((item.caption, *item.paraphrases)))
        yield Concept(kind=ConceptKind.CATALOGUE, texts=said, rows=(row,), group=item.kind)
        if item.domain == PHOTO:
            kinds[item.kind].append(row)
            finishes[item.kind, item.attributes].append(row)
    for (kind, phrase), rows in sorted(finishes.items()):
        yield Concept(kind=ConceptKind.CATALOGUE, texts=(phrase,), rows=tuple(rows), group=kind)
    for kind, rows in sorted(kinds.items()):
        said = tuple(forms.say(form, kind) for form in forms.PLAIN)
        yield Concept(kind=ConceptKind.CLASS, texts=said, rows=tuple(rows), names=(kind,))


def _pack_item(id: str, catalogue: Mapping[str, PackItem]) -> PackItem:
    if id not in catalogue:
        raise DatasetError(
            f"The bank has {id} of a training pack, whose words are missing; name its folder."
        )
    return catalogue[id]


_READERS: Final[dict[str, Callable[[tuple[str, ...], _Texts], Iterator[Concept]]]] = {
    CATALOGUE: _catalogue,
    "flickr": _flickr,
    "noto": _noto,
    "pacs": _pacs,
    "sketchy": _sketchy,
    "tiny": _tiny,
}


def group_rows(names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Group rows by the folder their picture lies in, in alphabetical order."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        groups[PurePosixPath(name).parent.name].append(row)
    return {folder: tuple(rows) for folder, rows in sorted(groups.items())}


def read_captions(archives: Path) -> dict[str, tuple[str, ...]]:
    """Read the captions of Flickr8k by file name, lower case, without the full stop."""
    captions: dict[str, list[str]] = _read_json(
        archives / "flickr_captions.tar", "flickr/captions.json"
    )
    return {name: tuple(map(_tidy, said)) for name, said in captions.items()}


def _tidy(caption: str) -> str:
    return " ".join(caption.lower().split()).rstrip(" .")


def read_keywords(archives: Path) -> dict[str, tuple[str, ...]]:
    """Read the first keywords of the emoji by the stem of their file; no flags, no skin tones."""
    keywords: dict[str, list[str]] = _read_json(archives / "noto_emoji.tar", "noto/keywords.json")
    found: dict[str, tuple[str, ...]] = {}
    for emoji, words in keywords.items():
        points = [ord(char) for char in emoji if ord(char) != 0xFE0F]
        is_skin = any(0x1F3FB <= point <= 0x1F3FF for point in points)
        is_flag = len(points) > 1 and 0x1F1E6 <= points[0] <= 0x1F1FF
        said = [word.replace("_", " ").lower() for word in words if word[:1].isalpha()]
        if said and not is_skin and not is_flag:
            stem = "emoji_u" + "_".join(f"{point:04x}" for point in points)
            found[stem] = tuple(said[:NAMES_OF_AN_EMOJI])
    return found


def _read_json(archive: Path, name: str) -> dict[str, list[str]]:
    with tarfile.open(archive) as files:
        handle = files.extractfile(name)
        assert handle is not None
        return json.loads(handle.read())
