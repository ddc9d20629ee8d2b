"""Peak of memory over a piece of work."""

from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start_peak(device: torch.device) -> None:
    """Begin to measure; where the system cannot, the peak is that of the whole process."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _RESET.write_text("5", encoding="ascii")  # Linux: forget the highest resident size
    except OSError:
        return


def used_bytes(device: torch.device) -> int:
    """Return the memory in use: of the card, or resident in main memory; 0 where it is not told."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _read_status("VmRSS") or 0


def peak_bytes(device: torch.device) -> int:
    """Return the most memory in use since the start: of the card, or resident in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = _read_status("VmHWM")
    return _largest_resident_bytes() if peak is None else peak


def _read_status(key: str) -> int | None:
    """Return a number of bytes that Linux states of this process; None elsewhere."""
    try:
        lines = dict(
            line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines()
        )
        return int(lines[key].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return None


def _largest_resident_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
