"""Sentence features of texts, each computed once and kept in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from composer.files import write_bytes
from composer.weights import read_safetensors, write_safetensors

CHUNK = 4096


@runtime_checkable
class TextEncoder(Protocol):
    """Whatever turns texts into unit vectors of one width."""

    @property
    def width(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n w"]:
        """Encode texts."""
        ...


class TextCache:
    """Looks texts up and encodes the ones it lacks; upper and lower case are one.

    With a folder, what is encoded is written there in half precision every few thousand texts, so
    that a run that is stopped goes on where it was.
    """

    def __init__(self, encoder: TextEncoder, folder: Path | None = None) -> None:
        """Read what the folder holds."""
        self._encoder, self._folder = encoder, folder
        self._row: dict[str, int] = {}
        self._blocks: list[Float[Tensor, "n w"]] = []
        self._joined = torch.zeros(0, encoder.width)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.safetensors")):
                texts = path.with_suffix(".txt").read_text(encoding="utf-8").split("\n")
                self._add(
                    texts, read_safetensors(path, {"features": (None, None)}).tensors["features"]
                )

    def __len__(self) -> int:
        """Return how many texts are known."""
        return len(self._row)

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n w"]:
        """Return the features of the texts, in their order."""
        lower = [text.lower().replace("\n", " ") for text in texts]
        lacking = [text for text in dict.fromkeys(lower) if text not in self._row]
        for first in range(0, len(lacking), CHUNK):
            part = lacking[first : first + CHUNK]
            features = self._encoder.encode(part).half()
            self._write(part, features)
            self._add(part, features)
        if self._blocks:
            self._joined = torch.cat([self._joined, *self._blocks])
            self._blocks.clear()
        return self._joined[[self._row[text] for text in lower]]

    def _add(self, texts: Sequence[str], features: Float[Tensor, "n w"]) -> None:
        for text in texts:
            self._row[text] = len(self._row)
        self._blocks.append(features.float())

    def _write(self, texts: Sequence[str], features: Float[Tensor, "n w"]) -> None:
        if self._folder is None:
            return
        path = self._folder / f"{len(self._row):08d}.safetensors"
        write_bytes(path.with_suffix(".txt"), "\n".join(texts).encode())
        write_safetensors(path, {"features": features})
