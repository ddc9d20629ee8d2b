"""Queries of the natural world, with words and without, and the pictures that answer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from composer.data import archives
from composer.data.colour_words import colour_words
from composer.data.instances import InstanceDataset
from composer.data.pacs import open_pacs, pacs_parts
from composer.data.pictures import fit_square
from composer.data.world import World
from composer.medium import Medium
from composer.sketch import rasterise

# How words may ask for a domain of PACS.
PACS_WORDS = {
    "photo": ("a photo", "as a photo", "a photograph of it", "photo"),
    "art_painting": ("a painting", "as a painting", "painted", "in the style of a painting"),
    "cartoon": ("a cartoon", "as a cartoon", "in cartoon style", "cartoon"),
}
_CHAIRS = "chairv2"


@dataclass(frozen=True, kw_only=True, slots=True)
class NaturalQuery:
    """A reference, what may be said with it, and what answers both.

    Attributes:
        reference: Row of the references.
        words: Wordings to choose from; empty for the reference alone.
        answers: Rows of the pictures that are right.
        ignored: Rows that are neither right nor wrong.
    """

    reference: int
    words: tuple[str, ...]
    answers: tuple[int, ...]
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NaturalQueries:
    """Queries by source, their references and the pictures they search.

    Attributes:
        pictures: RGB pictures.
        references: RGB pictures of drawings, then of photos and paintings.
        media: What each reference is taken for.
        by_source: Queries of each source.
    """

    pictures: UInt8[np.ndarray, "m s s 3"]
    references: UInt8[np.ndarray, "k s s 3"]
    media: tuple[Medium, ...]
    by_source: dict[str, tuple[NaturalQuery, ...]]


def read_natural_queries(
    folder: Path, world: World, *, num_drawings: int, seed: int
) -> NaturalQueries:
    """Make the queries of the training parts of Sketchy, ChairV2 and PACS.

    A drawing of Sketchy asks for all photos of its class, a drawn chair, alone or with its colours
    in words, for that chair. A picture of PACS with words for a domain asks for its class there.

    Args:
        folder: Of the archives.
        world: Sketchy's and ChairV2's training parts.
        num_drawings: Augmentations of each drawing.
        seed: Of the augmentation.

    Raises:
        DatasetError: PACS is missing or has another layout.
    """
    drawn, queries = _drawn(world, num_drawings, seed)
    size_px = world.photos.shape[1]
    pacs = pacs_parts(open_pacs(folder / archives.PACS)).train
    pictures = np.stack([fit_square(pacs.image(photo), size_px) for photo in pacs.photos])
    shown, is_drawn = _pacs_references(pacs, pictures)
    queries["pacs"] = _pacs_queries(pacs, first=len(world.photos), first_reference=len(drawn))
    media = [Medium.DRAWING if flag else Medium.PHOTO for flag in is_drawn]
    return NaturalQueries(
        pictures=np.concatenate([world.photos, pictures]),
        references=np.concatenate([drawn, shown]),
        media=(*[Medium.DRAWING] * len(drawn), *media),
        by_source={name: tuple(found) for name, found in queries.items() if found},
    )


def _drawn(
    world: World, num_drawings: int, seed: int
) -> tuple[UInt8[np.ndarray, "k s s 3"], dict[str, list[NaturalQuery]]]:
    """Draw every drawing a few times; return the pictures and the queries of each table."""
    said = [colour_words(Image.fromarray(photo)) for photo in world.photos]
    rng = np.random.default_rng(seed)
    ink: list[np.ndarray] = []
    queries: dict[str, list[NaturalQuery]] = {}
    for row, table in enumerate(world.tables):
        of_class = np.flatnonzero(world.photo_classes == world.drawing_classes[row])
        own = np.flatnonzero(world.photo_instances == world.drawing_instances[row])
        for _ in range(num_drawings):
            number = len(ink)
            ink.append(world.ink(row, rng))
            answers = _rows(own if table == _CHAIRS else of_class)
            alone = NaturalQuery(reference=number, words=(), answers=answers)
            queries.setdefault(table, []).append(alone)
            words = _chair_words(said[own[0]]) if table == _CHAIRS and len(own) else ()
            if words:
                named = queries.setdefault(f"{table} in words", [])
                named.append(NaturalQuery(reference=number, words=words, answers=answers))
    return np.repeat(np.stack(ink)[..., None], 3, axis=-1), queries


def _chair_words(said: str) -> tuple[str, ...]:
    colours = said.removeprefix("in ")
    return (said, colours, f"{colours} chair", f"a {colours} one") if colours else ()


def _pacs_references(
    pacs: InstanceDataset, pictures: UInt8[np.ndarray, "k s s 3"]
) -> tuple[UInt8[np.ndarray, "k s s 3"], list[bool]]:
    """Return the pictures as references, sketches framed as drawings, and which these are."""
    drawings = {drawing.path: drawing for drawing in pacs.drawings}
    references = pictures.copy()
    for row, photo in enumerate(pacs.photos):
        if photo.path in drawings:
            ink = rasterise(pacs.sketch(drawings[photo.path]), pictures.shape[1])
            references[row] = ink[..., None]
    return references, [photo.path in drawings for photo in pacs.photos]


def _pacs_queries(pacs: InstanceDataset, *, first: int, first_reference: int) -> list[NaturalQuery]:
    """Return a query for each picture and each domain.

    Args:
        pacs: Pictures to ask with and to find.
        first: Row of its first picture.
        first_reference: Row of its first reference.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for row, photo in enumerate(pacs.photos):
        members.setdefault((photo.class_name, photo.domain), []).append(first + row)
    return [
        NaturalQuery(
            reference=first_reference + row,
            words=words,
            answers=tuple(members.get((photo.class_name, domain), ())),
            ignored=(first + row,),
        )
        for row, photo in enumerate(pacs.photos)
        for domain, words in PACS_WORDS.items()
        if photo.domain != domain
    ]


def _rows(found: Sequence[int] | np.ndarray) -> tuple[int, ...]:
    return tuple(int(row) for row in found)
