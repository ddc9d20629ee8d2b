"""Weights in safetensors, checked before use; pickles are refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as encode_safetensors
from torch import Tensor

from composer.files import write_bytes

MAX_HEADER_BYTES = 4 << 20
_BYTES_PER_VALUE = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".joblib")

Shape = tuple[int | None, ...]


class WeightsError(ValueError):
    """A weights file that must not be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Contents of a safetensors file: tensors in the stored precision, on the CPU."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def refuse_pickle(path: Path) -> None:
    """Return accept only files that end in `.safetensors`.

    Raises:
        WeightsError: The file is a pickle, which can run code, or of an unknown kind.
    """
    if path.suffix.lower() in _PICKLES:
        raise WeightsError(
            f"{path.name} is a pickle, which can run code when it is read; "
            "convert it to .safetensors or ask its author for one."
        )
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(f"{path.name} must be a .safetensors file.")


def check_safetensors_header(path: Path) -> dict[str, Any]:
    """Read and check the header of a safetensors file without reading its tensors.

    Returns:
        Per tensor its `dtype`, `shape` and `data_offsets`, and `__metadata__` where there is one.

    Raises:
        WeightsError: The file is missing, not a safetensors file, or contradicts itself.
    """
    refuse_pickle(path)
    try:
        with path.open("rb") as file:
            num_header = int.from_bytes(file.read(8), "little")
            num_data = path.stat().st_size - 8 - num_header
            if not 2 <= num_header <= MAX_HEADER_BYTES or num_data < 0:
                raise WeightsError(f"{path.name} is damaged: its header has an impossible size.")
            header = json.loads(file.read(num_header).decode("utf-8"))
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read; check the path.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path.name} is damaged: its header is no JSON.") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path.name} is damaged: its header is no table.")
    for name, entry in header.items():
        if name == "__metadata__":
            _check_metadata(path, entry)
        else:
            _check_entry(path, name, entry, num_data)
    _check_coverage(path, header, num_data)
    return header


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a weights file, without its tensors.

    Raises:
        WeightsError: The file is missing, damaged, or no weights file.
    """
    return dict(check_safetensors_header(path).get("__metadata__", {}))


def read_safetensors(path: Path, expected: Mapping[str, Shape] | None = None) -> Weights:
    """Read a weights file after checking its header.

    Args:
        path: A `.safetensors` file.
        expected: Shape of every tensor that must be there; `None` in a shape allows any size. A
            name ending in "*" allows any number of names with that beginning. Without it, names
            and shapes are left to the caller.

    Raises:
        WeightsError: The file is damaged, holds other tensors or shapes, or values that are not
            finite.
    """
    header = check_safetensors_header(path)
    if expected is not None:
        _check_shapes(path, header, expected)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise WeightsError(f"{path.name} is damaged: its tensors cannot be read.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path.name}: {name} has values that are not finite.")
    return Weights(tensors=tensors, metadata=metadata)


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a weights file so that a reader sees the old one or the whole new one.

    Raises:
        OSError: The folder is missing or full; nothing is left behind then.
    """
    # Cloned, because the format refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, encode_safetensors(copies, dict(metadata or {})), is_durable=True)


def _check_metadata(path: Path, entry: object) -> None:
    is_text = isinstance(entry, dict) and all(
        isinstance(key, str) and isinstance(value, str) for key, value in entry.items()
    )
    if not is_text:
        raise WeightsError(f"{path.name} is damaged: its metadata is not text.")


def _check_entry(path: Path, name: str, entry: object, num_data: int) -> None:
    try:
        assert isinstance(entry, dict)
        size = _BYTES_PER_VALUE[entry["dtype"]]
        for length in entry["shape"]:
            assert isinstance(length, int)
            assert 0 <= length < 1 << 40
            size *= length
        begin, end = entry["data_offsets"]
        assert isinstance(begin, int)
        assert isinstance(end, int)
        assert 0 <= begin <= end <= num_data
        assert end - begin == size
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        printable = re.sub(r"[^\w.*-]", "?", name)[:80]
        raise WeightsError(
            f"{path.name} is damaged: the entry of {printable} is invalid."
        ) from error


def _check_coverage(path: Path, header: Mapping[str, Any], num_data: int) -> None:
    """Check that tensors follow one another without gaps, as the format asks for."""
    spans = sorted(
        tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__"
    )
    borders = [0, *(end for _, end in spans)]
    if borders[:-1] != [begin for begin, _ in spans] or borders[-1] != num_data:
        raise WeightsError(f"{path.name} is damaged: its tensors do not cover its data.")


def _check_shapes(path: Path, header: Mapping[str, Any], expected: Mapping[str, Shape]) -> None:
    names = [name for name in header if name != "__metadata__"]
    prefixes = tuple(name[:-1] for name in expected if name.endswith("*"))
    for name, shape in expected.items():
        if name.endswith("*"):
            continue
        if name not in header:
            raise WeightsError(f"{path.name} has no tensor {name}; it is not the file this needs.")
        actual = tuple(header[name]["shape"])
        fits = len(actual) == len(shape) and all(
            s is None or s == f for s, f in zip(shape, actual, strict=True)
        )
        if not fits:
            expected_text = tuple("any" if length is None else length for length in shape)
            raise WeightsError(
                f"{path.name}: {name} must have shape {expected_text}, got {actual}."
            )
    for name in names:
        if name not in expected and not (prefixes and name.startswith(prefixes)):
            printable = re.sub(r"[^\w.*-]", "?", name)[:80]
            raise WeightsError(f"{path.name} has an unexpected tensor {printable}.")
