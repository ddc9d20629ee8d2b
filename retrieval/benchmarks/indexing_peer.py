"""Encoding of a folder as in the examples of open_clip and torch, for comparison."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from composer.clip_files import UNTRAINED


class ImageFiles(Dataset[Tensor]):
    """Pictures, decoded and preprocessed on access."""

    def __init__(self, files: Sequence[Path], preprocess: Any) -> None:  # noqa: ANN401
        """Set the files, and open_clip's transform."""
        self._files, self._preprocess = files, preprocess

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        """Return the pixels of one file."""
        return self._preprocess(Image.open(self._files[index]).convert("RGB"))


def plain_features(
    files: Sequence[Path], output: Path, source: str | Path, device: str
) -> tuple[int, float]:
    """Encode files and save their features; return their number and the seconds."""
    if isinstance(source, Path) or Path(source).exists():
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{source}")
    else:
        name, _, tag = source.partition("/")
        weights = None if tag == UNTRAINED else tag
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=weights)
    encoder: Any = model.to(device).eval()
    began = time.perf_counter()
    loader = DataLoader(
        ImageFiles(files, preprocess), batch_size=32, num_workers=os.cpu_count() or 1
    )
    features: list[Tensor] = []
    with torch.no_grad():
        for pixels in loader:
            batch = encoder.encode_image(pixels.to(device))
            features.append((batch / batch.norm(dim=-1, keepdim=True)).cpu())
    np.save(output, torch.cat(features).numpy())
    return len(files), time.perf_counter() - began
