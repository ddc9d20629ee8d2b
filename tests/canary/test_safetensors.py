"""safetensors: the file layout that our own checks read before the library does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "t.safetensors"
    tensors = {"half": torch.ones(2, 3, dtype=torch.float16), "whole": torch.arange(4)}
    save_file(tensors, file, metadata={"note": "a string"})
    return file


def test_the_header_is_eight_bytes_of_length_and_json(path: Path):
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    assert header["__metadata__"] == {"note": "a string"}
    assert header["half"]["dtype"] == "F16"
    assert header["half"]["shape"] == [2, 3]
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name[0] != "_"]
    assert 8 + length + max(ends) == len(blob)


def test_values_and_metadata_come_back(path: Path):
    assert torch.equal(load_file(path)["whole"], torch.arange(4))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"note": "a string"}
        assert file.get_slice("half").get_shape() == [2, 3]


def test_truncated_and_oversized_headers_are_refused(path: Path):
    blob = path.read_bytes()
    for bad in (blob[:-1], blob[:6], (1 << 62).to_bytes(8, "little") + blob[8:], b""):
        path.write_bytes(bad)
        with pytest.raises(SafetensorError):
            load_file(path)


def test_shared_memory_is_refused(tmp_path: Path):
    tensor = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_file({"a": tensor, "b": tensor}, tmp_path / "t.safetensors")
