"""The names that a kit learned with pictures, and which of them an unknown one comes closest to."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.weights import WeightsError, read_safetensors, write_safetensors

FILE_NAME = "learned_names.safetensors"
_SHAPES = {"features": (None, None), "rows": (None,)}
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


class LearnedNames:
    """Names of things that were learned with pictures, and other words that came with pictures.

    A name of several words is known as a whole. Regular plurals count as known.
    """

    def __init__(
        self,
        names: Sequence[str],
        features: Float[Tensor, "n d"],
        words: Iterable[str] = (),
        rows: Sequence[int] | None = None,
        min_similarity: float = -math.inf,
    ) -> None:
        """Take names and the mean picture of each.

        Args:
            names: Of things.
            features: Mean pictures; made unit vectors.
            words: Known like the names, but never the closest one.
            rows: Row in `features` of each name, where several names share one.
            min_similarity: What is less similar to a text is not called close to it.

        Raises:
            ValueError: A name has no feature.
        """
        self.names = tuple(name.lower() for name in names)
        self.rows = tuple(range(len(names))) if rows is None else tuple(rows)
        if len(self.names) != len(self.rows) or any(not 0 <= r < len(features) for r in self.rows):
            raise ValueError(
                f"Every name needs one of the {len(features)} features, got {len(self.names)} "
                f"names and {len(self.rows)} rows."
            )
        self.min_similarity = min_similarity
        self.features = functional.normalize(features.float(), dim=-1)
        self.words = tuple(sorted({word.lower() for word in words}))
        self._known = set(self.names) | set(self.words)
        self._longest = max((len(name.split()) for name in self._known), default=1)

    @classmethod
    def load(cls, path: Path) -> "LearnedNames":
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is missing, damaged or no such table.
        """
        weights = read_safetensors(path, _SHAPES)
        try:
            names, words = (_texts(weights.metadata, key) for key in ("names", "words"))
            rows = [int(row) for row in weights.tensors["rows"]]
            least = float(weights.metadata.get("min_similarity", "-inf"))
            return cls(names, weights.tensors["features"], words, rows, least)
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{path.name} must give every name a feature.") from error

    def save(self, path: Path) -> None:
        """Write the table, its features in half precision."""
        tensors = {
            "features": self.features.half(),
            "rows": torch.tensor(self.rows, dtype=torch.int32),
        }
        metadata = {
            "names": json.dumps(self.names),
            "words": json.dumps(self.words),
            "min_similarity": str(self.min_similarity),
        }
        write_safetensors(path, tensors, metadata)

    def knows(self, name: str) -> bool:
        """Return whether a name or word came with pictures, itself or the singular it may be of."""
        head, _, last = name.lower().rpartition(" ")
        forms = [last]
        if last.endswith("s"):
            forms.append(last[:-1])
        if last.endswith("es"):
            forms.append(last[:-2])
        if last.endswith("ies"):
            forms.append(f"{last[:-3]}y")
        return any(f"{head} {form}".strip() in self._known for form in forms)

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that came with no picture, in order, each once.

        Words that a learned name of several words covers are known there.
        """
        words = _WORD.findall(text.lower())
        unknown: list[str] = []
        index = 0
        while index < len(words):
            size = self._covered(words[index:])
            if not size:
                unknown.append(words[index])
            index += max(1, size)
        return tuple(dict.fromkeys(unknown))

    def closest(self, feature: Float[Tensor, " d"], *, count: int = 2) -> tuple[str, ...]:
        """Return the names whose mean pictures are closest to a text feature, the closest first.

        Of names that share a picture, the first stands for all. What is less similar than
        `min_similarity` is left out.
        """
        scores = self.features @ functional.normalize(feature.float().cpu(), dim=-1)
        first: dict[int, str] = {}
        for name, row in zip(self.names, self.rows, strict=True):
            first.setdefault(row, name)
        order = scores.argsort(descending=True).tolist()
        near = [row for row in order if row in first and scores[row] >= self.min_similarity]
        named = dict.fromkeys(first[row] for row in near)
        return tuple(named)[:count]

    def _covered(self, words: Sequence[str]) -> int:
        """Return how many of the first words one known name covers, 0 if none does."""
        for size in range(min(self._longest, len(words)), 0, -1):
            if self.knows(" ".join(words[:size])):
                return size
        return 0


def _texts(metadata: Mapping[str, str], key: str) -> list[str]:
    texts = json.loads(metadata[key])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`{key}` must be a list of texts.")
    return texts
