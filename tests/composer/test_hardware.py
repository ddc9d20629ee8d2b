"""The choice of device and precision, on machines with and without each kind of GPU."""

import os

import pytest
import torch

from composer.errors import InputError
from composer.hardware import available_devices, memory_of, resolve_device, resolve_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")


@pytest.fixture
def machine(monkeypatch):
    def build(*, gpus: int = 0, mps: bool = False, bf16: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)

    return build


@pytest.mark.parametrize(
    ("gpus", "mps", "chosen"),
    [(2, True, "cuda:0"), (1, False, "cuda:0"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(machine, gpus, mps, chosen):
    machine(gpus=gpus, mps=mps)
    assert resolve_device("auto") == torch.device(chosen)


def test_a_named_device_is_taken_as_it_is(machine):
    machine(gpus=1)
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "cuda:x"])
def test_a_missing_device_names_those_that_exist(machine, name):
    machine()
    with pytest.raises(InputError, match=r"choose one of: auto, cpu\."):
        resolve_device(name)


@pytest.mark.parametrize(
    ("device", "bf16", "dtype"),
    [
        (CUDA, True, torch.bfloat16),
        (CUDA, False, torch.float16),
        (MPS, False, torch.float16),
        (CPU, True, torch.float32),
    ],
)
def test_auto_precision_follows_the_device(machine, device, bf16, dtype):
    machine(gpus=1, mps=True, bf16=bf16)
    assert resolve_dtype("auto", device) is dtype


def test_a_named_precision_is_taken_and_an_unknown_one_refused():
    assert resolve_dtype("bf16", CPU) is torch.bfloat16
    with pytest.raises(InputError, match="auto, fp32, fp16, bf16, got 'int8'"):
        resolve_dtype("int8", CPU)


def test_devices_are_listed_fastest_first(machine):
    machine(gpus=2, mps=True)
    assert available_devices() == ("cuda:0", "cuda:1", "mps", "cpu")


def test_main_memory_is_reported_where_the_system_reports_it():
    memory = memory_of(CPU)
    if memory.total_bytes is None:
        pytest.skip("this system has no /proc/meminfo")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.total_bytes == pytest.approx(pages, rel=0.01)
    assert memory.free_bytes is not None
    assert 0 < memory.free_bytes <= memory.total_bytes
