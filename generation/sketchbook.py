"""Drawings of a kit's own: words that come without a drawing are drawn on one of them."""

import json
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.sketch import Sketch
from composer.weights import WeightsError, read_safetensors, write_safetensors

FILE_NAME: Final = "sketchbook.safetensors"
LEAST_COSINE: Final = 0.45
"""Words that are no closer to any drawing are about other things."""
NUM_CHOICES: Final = 8
"""Drawings of one kind that the seeds choose among: those that are closest to the words."""
_Row = TypeVar("_Row")
_SCHEMA: Final = "sketchbook/1"
_EXTENT: Final = 255


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sketchbook:
    """Drawings of things that a kit has learned to draw.

    Attributes:
        features: Unit text features of what each drawing shows, in the joint space of the kit's
            CLIP.
        kinds: What each one shows.
        drawings: As strokes.
        gallery_hash: Of the CLIP's picture tower.
        text_hash: Of its text tower.
    """

    features: Float[Tensor, "n d"]
    kinds: tuple[str, ...]
    drawings: tuple[Sketch, ...]
    gallery_hash: str
    text_hash: str

    def choose(self, query: ComposedQuery, seed: int) -> Sketch | None:
        """Return the drawing for a picture of this seed; seeds that follow each other differ.

        All are of the kind that is closest to the words.

        Returns:
            None for a query with a reference, with words of token files, or of another CLIP, and
            where the words are about something that no drawing shows.
        """
        nearest = self._nearest(query)
        return self.drawings[nearest[seed % len(nearest)]] if nearest else None

    def kind(self, query: ComposedQuery) -> str | None:
        """Return what the drawings that `choose` returns for a query show; None without one."""
        nearest = self._nearest(query)
        return self.kinds[nearest[0]] if nearest else None

    def kind_of(self, words: Float[Tensor, " d"]) -> str | None:
        """Return what the drawings show that are chosen for a text feature; None without one."""
        nearest = self._nearest_to(words)
        return self.kinds[nearest[0]] if nearest else None

    def _nearest(self, query: ComposedQuery) -> list[int]:
        words = query.words_feature
        is_ours = (query.gallery_hash, query.text_hash) == (self.gallery_hash, self.text_hash)
        has_shape = query.reference_feature is not None or query.added is not None
        if not is_ours or words is None or has_shape:
            return []
        return self._nearest_to(words)

    def _nearest_to(self, words: Float[Tensor, " d"]) -> list[int]:
        cosines = self.features @ words.float().cpu()
        order = cosines.argsort(descending=True).tolist()
        if cosines[order[0]] < LEAST_COSINE:
            return []
        return [row for row in order if self.kinds[row] == self.kinds[order[0]]][:NUM_CHOICES]

    def save(self, path: Path) -> None:
        """Write a file, atomically; coordinates are rounded to a 255th of the drawing's frame."""
        strokes = [stroke for drawing in self.drawings for stroke in drawing.strokes or ()]
        points = np.concatenate([stroke[:, :2] for stroke in strokes])
        tensors = {
            "features": self.features.half().cpu().contiguous(),
            "points": torch.from_numpy(np.round(points * _EXTENT).astype(np.uint8)),
            "stroke_lengths": _counts(strokes),
            "num_strokes": _counts([one.strokes or () for one in self.drawings]),
        }
        metadata = {
            "schema": _SCHEMA,
            "kinds": json.dumps(self.kinds),
            "gallery_hash": self.gallery_hash,
            "text_hash": self.text_hash,
        }
        write_safetensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> "Sketchbook":
        """Read a file.

        Raises:
            WeightsError: It is missing, damaged or something else.
        """
        expected = {
            "features": (None, None),
            "points": (None, 2),
            "stroke_lengths": (None,),
            "num_strokes": (None,),
        }
        weights = read_safetensors(path, expected)
        tensors, metadata = weights.tensors, weights.metadata
        try:
            points = tensors["points"].numpy().astype(np.float32) / _EXTENT
            strokes = _split(list(points), tensors["stroke_lengths"])
            drawings = _split(strokes, tensors["num_strokes"])
            kinds = json.loads(metadata["kinds"])
            features = tensors["features"].float()
            is_sound = (
                metadata["schema"] == _SCHEMA
                and isinstance(kinds, list)
                and all(isinstance(kind, str) for kind in kinds)
                and len(kinds) == len(drawings) == len(features) > 0
            )
            if not is_sound:
                raise ValueError("its parts contradict each other")
            return cls(
                features=features,
                kinds=tuple(kinds),
                drawings=tuple(Sketch.from_strokes(one) for one in drawings),
                gallery_hash=metadata["gallery_hash"],
                text_hash=metadata["text_hash"],
            )
        except (KeyError, ValueError, RecursionError, InputError) as error:
            raise WeightsError(f"{path.name} is no book of drawings of this program.") from error


def _counts(parts: Sequence[Sized]) -> Int[Tensor, " n"]:
    return torch.tensor([len(part) for part in parts], dtype=torch.int32)


def _split(rows: Sequence[_Row], lengths: Tensor) -> list[Sequence[_Row]]:
    """Cut rows into parts of these lengths, which must add up to all of them."""
    sizes = lengths.tolist()
    if any(size < 1 for size in sizes) or sum(sizes) != len(rows):
        raise ValueError("its drawings are cut wrongly")
    ends = np.cumsum(sizes).tolist()
    return [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]
