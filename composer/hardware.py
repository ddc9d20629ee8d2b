"""Choice of device and precision: the fastest hardware that is present, or what was named."""

from dataclasses import dataclass
from typing import Final

import torch

from composer.errors import InputError

AUTO: Final = "auto"
DTYPES: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory of a device, in bytes; None where the system does not report it."""

    total_bytes: int | None
    free_bytes: int | None


def resolve_device(name: str = AUTO) -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then MPS, then the CPU.

    Args:
        name: "auto", or a device of torch such as "cpu", "cuda", "cuda:1", "mps".

    Raises:
        InputError: There is no such device on this machine.
    """
    if name == AUTO:
        return torch.device(available_devices()[0])
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"There is no device {name!r} on this machine; choose one of: "
            f"{', '.join((AUTO, *available_devices()))}."
        ) from error
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of a name; "auto" is the fastest that the device computes natively.

    That is bf16 on a GPU with native support, fp16 on other GPUs and on MPS, fp32 on a CPU.

    Args:
        name: "auto", "fp32", "fp16" or "bf16".
        device: Where models will run.

    Raises:
        InputError: There is no such precision.
    """
    if name == AUTO:
        match device.type:
            case "cuda":
                native = torch.cuda.is_bf16_supported(including_emulation=False)
                return torch.bfloat16 if native else torch.float16
            case "mps":
                return torch.float16
            case _:
                return torch.float32
    if name not in DTYPES:
        raise InputError(f"`dtype` must be one of {', '.join((AUTO, *DTYPES))}, got {name!r}.")
    return DTYPES[name]


def available_devices() -> tuple[str, ...]:
    """Return the devices of this machine, the fastest first."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return (*gpus, *mps, "cpu")


def memory_of(device: torch.device) -> Memory:
    """Return the memory of a device."""
    match device.type:
        case "cuda":
            free, total = torch.cuda.mem_get_info(device)
            return Memory(total_bytes=total, free_bytes=free)
        case "mps":
            total = torch.mps.recommended_max_memory()
            used = torch.mps.current_allocated_memory()
            return Memory(total_bytes=total, free_bytes=total - used)
        case _:
            return _main_memory()


def _main_memory() -> Memory:
    """Return the main memory; only Linux says how much of it can be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123  no real file
            lines = dict(line.split(":", 1) for line in file)
        total, free = (int(lines[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Memory(total_bytes=None, free_bytes=None)
    return Memory(total_bytes=total, free_bytes=free)
