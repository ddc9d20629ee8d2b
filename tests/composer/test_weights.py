import errno
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.weights import (
    WeightsError,
    check_safetensors_header,
    read_safetensors,
    refuse_pickle,
    write_safetensors,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(4)}, {"k": "v"})
    return path


def test_round_trip_with_expected_shapes(path):
    weights = read_safetensors(path, {"a": (2, None), "b": (4,)})
    assert weights.tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weights.metadata == {"k": "v"}
    assert read_safetensors(path, {"*": ()}).tensors.keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"a": (2, 3)}, "unexpected tensor b"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, "no tensor c"),
        ({"a": (3, 2), "b": (4,)}, r"a must have shape \(3, 2\), got \(2, 3\)"),
        ({"a": (6,), "b": (4,)}, r"a must have shape \(6,\)"),
    ],
)
def test_other_contents_are_refused(path, expected, message):
    with pytest.raises(WeightsError, match=message):
        read_safetensors(path, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    save_file({"a": torch.tensor([1.0, value])}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="a has values that are not finite"):
        read_safetensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.BIN", "m.pkl", "m.pth"])
def test_pickles_are_refused_with_advice(tmp_path, name):
    with pytest.raises(WeightsError, match=r"convert it to \.safetensors"):
        refuse_pickle(tmp_path / name)


def test_missing_files_and_other_kinds_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        read_safetensors(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"must be a \.safetensors"):
        read_safetensors(tmp_path / "x.txt")


def test_a_thousand_mutated_headers_give_only_our_error(path):
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    num_header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(1000):
        data = bytearray(whole)
        for index in rng.integers(0, num_header, rng.integers(1, 5)):
            data[index] = rng.integers(0, 256)
        path.write_bytes(
            bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.2 else data)
        )
        try:
            read_safetensors(path)
        except WeightsError:
            continue


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        {"dtype": "OBJECT", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]},
        ["F32"],
    ],
)
def test_entries_that_contradict_themselves_are_refused(tmp_path, entry):
    header = json.dumps({"a": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(WeightsError, match="the entry of a is invalid"):
        check_safetensors_header(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("composer.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_safetensors(path, {"a": torch.zeros(9)})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
