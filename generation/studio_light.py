"""Backdrop and lights as a further state behind the words', of kits whose UNet has learned them."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.data.views import NUM_STUDIO
from composer.weights import read_safetensors, write_safetensors

FILE_NAME = "studio_light.safetensors"
_SCHEMA = "studio-light/1"
_TENSORS = ("weight", "bias", "mean", "std", "examples")
_SAID = re.compile(
    r"\b(light|dark|warm|cool) (?:background|backdrop)\b|\blit from the (left|right)\b"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudioLight:
    """A linear map from the studio's numbers to a state, and studios to choose from.

    Attributes:
        weight: Of the map, for centred numbers of unit variance.
        bias: Of the map.
        mean: Of the numbers.
        std: Of the numbers.
        examples: Studios of training pictures, as numbers in the catalogue's order: the backdrop's
            sRGB, azimuth and elevation of key and fill light in degrees, their strengths.
    """

    weight: Float[Tensor, "w 9"]
    bias: Float[Tensor, " w"]
    mean: Float[Tensor, " 9"]
    std: Float[Tensor, " 9"]
    examples: Float[Tensor, "k 9"]

    @classmethod
    def load(cls, path: Path, width: int | None = None) -> "StudioLight":
        """Read a file.

        Args:
            path: Of the file.
            width: Of the UNet's states; None for any.

        Raises:
            WeightsError: It is missing, damaged or of another shape.
        """
        numbers = (NUM_STUDIO,)
        expected = {
            "weight": (width, NUM_STUDIO),
            "bias": (width,),
            "mean": numbers,
            "std": numbers,
            "examples": (None, NUM_STUDIO),
        }
        return cls(**read_safetensors(path, expected).tensors)

    def save(self, path: Path) -> None:
        """Write a file, atomically."""
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in _TENSORS}
        write_safetensors(path, tensors, {"schema": _SCHEMA})

    def to_bytes(self) -> bytes:
        """Return all numbers, for hashes."""
        return b"".join(getattr(self, name).numpy().tobytes() for name in _TENSORS)

    def of_seed(self, seed: int, words: str = "") -> Float[Tensor, " 9"]:
        """Return the studio that belongs to a picture's seed, among those that the words allow.

        Words that choose: "dark background" or "backdrop", likewise light, warm and cool; "lit
        from the left", likewise the right.
        """
        rng = np.random.default_rng((seed, 0x11647))
        allowed = self._allowed(words)
        return self.examples[int(allowed[rng.integers(len(allowed))])]

    def _allowed(self, words: str) -> Int[np.ndarray, " k"]:
        """Return which examples words allow: for each thing that they say, a quarter is nearest."""
        examples = self.examples.cpu().numpy()
        red, green, blue, key_azimuth = examples[:, :4].T
        brightness, warmth = red + green + blue, red - blue
        scores = {
            "light": brightness, "dark": -brightness, "warm": warmth, "cool": -warmth,
            "left": -key_azimuth, "right": key_azimuth,
        }  # fmt: skip
        said = [found for match in _SAID.finditer(words.lower()) for found in match.groups()]
        wanted = {word for word in said if word}
        if not wanted:
            return np.arange(len(examples))
        order = np.argsort(-sum(_ranks(scores[word]) for word in wanted), kind="stable")
        return order[: max(1, len(order) // 4)]

    def states(self, numbers: Float[Tensor, "n 9"]) -> Float[Tensor, "n w"]:
        """Return a state for each studio."""
        return torch.nn.functional.linear((numbers - self.mean) / self.std, self.weight, self.bias)


def _ranks(scores: Float[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Return the place of each number among them, the least first."""
    return np.argsort(np.argsort(scores, kind="stable"), kind="stable")
