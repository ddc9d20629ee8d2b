"""The door to Mitsuba: finds a variant that runs here and moves numpy arrays in and out."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LLVM_LOCATIONS = (
    "/usr/lib/llvm-19/lib/libLLVM.so.1",
    "/usr/lib/llvm-19/lib/libLLVM.so",
    "/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1",
    "/usr/lib/aarch64-linux-gnu/libLLVM.so.19.1",
    "/usr/lib64/libLLVM.so.19.1",
    "/opt/homebrew/opt/llvm@19/lib/libLLVM.dylib",
)
LLVM_VARIABLE = "DRJIT_LIBLLVM_PATH"
NO_LLVM = (
    "LLVM 19 was not found, so pictures are made by the slower `scalar_rgb`. "
    f"Install libllvm19, or name the library in {LLVM_VARIABLE}."
)


def find_llvm() -> str | None:
    """Return the path of an LLVM library for Dr.Jit, or None.

    Where `DRJIT_LIBLLVM_PATH` is set, it alone decides: empty means that LLVM is not to be used.

    Raises:
        ValueError: If the variable names a file that does not exist.
    """
    named = os.environ.get(LLVM_VARIABLE)
    if named is None:
        return next((path for path in LLVM_LOCATIONS if Path(path).exists()), None)
    if named and not Path(named).exists():
        raise ValueError(
            f"{LLVM_VARIABLE} must name an LLVM library or be empty, but {named} does not exist."
        )
    return named or None


@lru_cache(maxsize=1)
def mitsuba() -> Any:  # noqa: ANN401
    """Return the mitsuba module with the fastest variant that runs here, set up once.

    Dr.Jit gets one thread: several processes of one thread beat one process of several.

    Raises:
        ImportError: If mitsuba is not installed.
        ValueError: If `DRJIT_LIBLLVM_PATH` names a file that does not exist.
    """
    library = find_llvm()
    if library:
        os.environ[LLVM_VARIABLE] = library
    try:
        import drjit as dr
        import mitsuba as mi
    except ImportError as error:
        raise ImportError(
            "Rendering needs Mitsuba. Install the extra: pip install duet-studio[catalogue]"
        ) from error
    mi.set_variant("llvm_ad_rgb" if library else "scalar_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    dr.set_thread_count(1)
    return mi


def write(values: Any, name: str, value: object) -> None:  # noqa: ANN401
    """Set a parameter of a traversed scene; its size may differ from what it holds.

    Assigning by `values[name]` compares the two first, which scalar arrays of different sizes
    refuse.
    """
    current, kind, *_ = values.set_dirty(name)
    mi = mitsuba()
    if kind is None:
        mi.set_property(current, value)
    else:
        mi.set_property(current, kind, value)


def write_mesh(values: Any, prefix: str, **buffers: NDArray[np.float32]) -> None:  # noqa: ANN401
    """Set the vertices of a mesh of unshared corners, 3 a face.

    Args:
        values: Parameters of a traversed scene or mesh.
        prefix: What their names begin with, such as `object.`.
        **buffers: `positions` (n, 3) and, where the mesh has them, `normals` and `texcoords`.
    """
    for name, buffer in buffers.items():
        write(values, f"{prefix}vertex_{name}", flat(buffer))
    write(values, f"{prefix}faces", np.arange(len(buffers["positions"]), dtype=np.uint32))


def flat(values: NDArray[np.generic], dtype: type = np.float32) -> NDArray[np.generic]:
    """Return values as the flat, contiguous array a Mitsuba buffer takes."""
    return np.ascontiguousarray(np.asarray(values).reshape(-1), dtype)


def look_at(origin: Sequence[float] | NDArray[np.float64], axes: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Return Mitsuba's transform of a camera at `origin` with rows right, up, backward."""
    mi = mitsuba()
    right, up, backward = axes
    # Mitsuba's camera looks along its +z, its x to the left.
    columns = np.stack([-right, up, -backward, np.asarray(origin)], 1)
    return mi.ScalarTransform4f(np.concatenate([columns, [[0, 0, 0, 1]]]).tolist())
