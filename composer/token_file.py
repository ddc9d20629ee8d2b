"""Textual inversion files: pseudo-word tokens that travel between programs."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from jaxtyping import Float
from torch import Tensor

from composer.added_words import MAX_NAME_LENGTH, AddedWord
from composer.weights import (
    WeightsError,
    check_safetensors_header,
    read_safetensors,
    write_safetensors,
)

SCHEMA: Final = "duet-token/1"
FIRST, SECOND, ONLY = "clip_l", "clip_g", "emb_params"
MAX_VECTORS: Final = 128
MAX_WIDTH: Final = 8192
MAX_FILE_BYTES: Final = 16 << 20
_PICKLES = (".pt", ".bin", ".pth", ".ckpt", ".pkl", ".pickle")
_FLOATS = ("F16", "BF16", "F32")
_CONVERT = (
    "import sys,torch;from safetensors.torch import save_file;"
    "d=torch.load(sys.argv[1],'cpu',weights_only=True);d=d.get('string_to_param',d);"
    "save_file({'emb_params':next(iter(d.values())).detach().contiguous()},sys.argv[2])"
)


class TokenFormat(StrEnum):
    """Programs that a file is written for."""

    A1111 = "a1111"
    COMFYUI = "comfyui"
    INVOKEAI = "invokeai"
    DIFFUSERS = "diffusers"


def write_token(
    path: Path,
    word: AddedWord,
    layout: TokenFormat,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a word in the layout that a program reads; the file appears whole or not at all.

    The vectors of two encoders are `clip_l` and `clip_g`. Those of one are `emb_params`; for
    diffusers they are named as the word, since its loader takes the key for the word. There is no
    other tensor, as some loaders refuse a file that has one.

    Args:
        path: A `.safetensors` file.
        word: The word.
        layout: The program.
        facts: Further text for the metadata, which no loader reads.

    Raises:
        OSError: The folder is missing or full.
    """
    if word.second_vectors is not None:
        tensors = {FIRST: word.vectors, SECOND: word.second_vectors}
    else:
        match layout:
            case TokenFormat.A1111 | TokenFormat.COMFYUI | TokenFormat.INVOKEAI:
                tensors = {ONLY: word.vectors}
            case TokenFormat.DIFFUSERS:
                tensors = {word.mark: word.vectors}
    metadata = {
        **(facts or {}),
        "schema": SCHEMA,
        "name": word.name,
        "kit": word.kit,
        "text_hash": word.text_hash,
        "opens_prompt": "yes" if word.opens_prompt else "no",
    }
    write_safetensors(path, {name: one.float() for name, one in tensors.items()}, metadata)


def read_token(path: Path, name: str | None = None) -> AddedWord:
    """Read a textual inversion file of this program or another.

    Args:
        path: A `.safetensors` file with one tensor of any name, or with `clip_l` and `clip_g`.
        name: What a text calls it; None for the name of the file.

    Raises:
        WeightsError: The file is a pickle, damaged, too large, or holds something else.
        InputError: The name has characters that a text cannot hold.
    """
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(
            f"{path.name} is a pickle, which can run code when it is read; convert it to "
            f'safetensors with: python -c "{_CONVERT}" {path.name} {path.stem}.safetensors'
        )
    header = check_safetensors_header(path)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise WeightsError(
            f"{path.name} is no textual inversion: it is larger than {MAX_FILE_BYTES >> 20} MiB."
        )
    keys = _check_layout(path, {key: one for key, one in header.items() if key != "__metadata__"})
    weights = read_safetensors(path)
    rows = [_as_rows(weights.tensors[key]) for key in keys]
    if len(rows) == 2 and len(rows[0]) != len(rows[1]):
        raise WeightsError(
            f"{path.name} must have as many vectors in {SECOND} as in {FIRST}, got "
            f"{len(rows[1])} and {len(rows[0])}."
        )
    notes = weights.metadata if weights.metadata.get("schema") == SCHEMA else {}
    return AddedWord(
        name=path.stem if name is None else name,
        vectors=rows[0],
        second_vectors=rows[1] if len(rows) == 2 else None,
        opens_prompt=notes.get("opens_prompt") == "yes",
        kit=notes.get("kit", "")[:MAX_NAME_LENGTH],
        text_hash=notes.get("text_hash", "")[:MAX_NAME_LENGTH],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _check_layout(path: Path, entries: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the tensors to read, the first encoder's first."""
    if set(entries) != {FIRST, SECOND} and len(entries) != 1:
        raise WeightsError(
            f"{path.name} holds {len(entries)} tensors; a textual inversion has one, or {FIRST} "
            f"and {SECOND}."
        )
    for entry in entries.values():
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        if dtype not in _FLOATS or len(shape) not in (1, 2) or not 0 < shape[-1] <= MAX_WIDTH:
            raise WeightsError(
                f"{path.name} is no textual inversion: its tensor must be floating point of shape "
                f"(vectors, width), got {dtype} of shape {shape}."
            )
        if len(shape) == 2 and not 0 < shape[0] <= MAX_VECTORS:
            raise WeightsError(f"{path.name} must have 1 to {MAX_VECTORS} vectors, got {shape[0]}.")
    return (FIRST, SECOND) if len(entries) == 2 else tuple(entries)


def _as_rows(tensor: Tensor) -> Float[Tensor, "n w"]:
    return tensor.float().reshape(-1, tensor.shape[-1])
