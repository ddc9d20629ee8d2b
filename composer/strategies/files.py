"""Files of trained composers: tensors, and the backbone that they belong to."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from composer.backbone import Backbone
from composer.strategies.protocol import ComposerError
from composer.weights import (
    Weights,
    WeightsError,
    read_metadata,
    read_safetensors,
    write_safetensors,
)

_HASHES = ("gallery_hash", "text_hash")


def write_composer(
    path: Path,
    schema: str,
    tensors: Mapping[str, Tensor],
    backbone: Backbone,
    *,
    half: bool = False,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write what was trained and nothing of the frozen weights, atomically.

    Args:
        path: A `.safetensors` file.
        schema: Name and version of the format.
        tensors: What was trained, by name.
        backbone: What it was trained on.
        half: Store matrices and kernels in fp16. Vectors stay fp32: running variances could be
            rounded to nothing.
        notes: Further text for the metadata, such as training figures.
    """
    stored = {
        name: t.detach().half() if half and t.ndim > 1 else t.detach()
        for name, t in tensors.items()
    }
    metadata = {
        "schema": schema,
        "token_width": str(backbone.token_width),
        "joint_dim": str(backbone.joint_dim),
        "gallery_hash": backbone.gallery_hash,
        "text_hash": backbone.text_hash,
    }
    write_safetensors(path, stored, {**(notes or {}), **metadata})


def read_composer(
    path: Path, schema: str, like: Mapping[str, Tensor], backbone: Backbone
) -> Weights:
    """Read what `write_composer` wrote, for the backbone it was trained on.

    Args:
        path: The file.
        schema: What it must be.
        like: Tensors of the names and shapes that it must have.
        backbone: The kit's CLIP.

    Raises:
        ComposerError: It is of another kind, belongs to another backbone, or is damaged.
    """
    read_origin(path, schema, backbone)
    try:
        return read_safetensors(path, {name: tuple(t.shape) for name, t in like.items()})
    except WeightsError as error:
        raise ComposerError(str(error)) from error


def load_with_number(
    path: Path, schema: str, live: Mapping[str, Tensor], backbone: Backbone, *, number: str
) -> float:
    """Read a file into a model's tensors and return the number it holds beside them.

    Raises:
        ComposerError: As in `read_composer`.
    """
    saved = read_composer(path, schema, {**live, number: torch.zeros(1)}, backbone)
    load_tensors(live, saved.tensors)
    return round(float(saved.tensors[number]), 4)


def read_origin(path: Path, schema: str, backbone: Backbone) -> dict[str, str]:
    """Read a file's metadata and check its kind and the backbone it was trained on.

    Raises:
        ComposerError: It is of another kind, belongs to another backbone, or is damaged.
    """
    try:
        metadata = read_metadata(path)
    except WeightsError as error:
        raise ComposerError(str(error)) from error
    if metadata.get("schema") != schema:
        kind = schema.partition("/")[0].replace("-", " ")
        raise ComposerError(f"{path.name} is not a {kind} of this program.")
    for name, meaning in (("token_width", "token table"), ("joint_dim", "joint space")):
        expected = str(getattr(backbone, name))
        if metadata.get(name) != expected:
            raise ComposerError(
                f"`{name}` must equal the width of the backbone's {meaning} ({expected}), "
                f"got {metadata.get(name)}. Choose a composer trained for this backbone."
            )
    if any(metadata.get(name) != getattr(backbone, name) for name in _HASHES):
        raise ComposerError(
            f"{path.name} was trained on another backbone than this one; "
            "choose the composer of this kit, or train it again."
        )
    return metadata


def load_tensors(live: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy saved values into a model's tensors; every name must be present."""
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])
