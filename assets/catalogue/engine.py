"""The door to Mitsuba: finds a variant that runs here and moves numpy arrays in and out."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LLVM_PLACES = (
    "/usr/lib/llvm-19/lib/libLLVM.so.1",
    "/usr/lib/llvm-19/lib/libLLVM.so",
    "/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1",
    "/usr/lib/aarch64-linux-gnu/libLLVM.so.19.1",
    "/usr/lib64/libLLVM.so.19.1",
    "/opt/homebrew/opt/llvm@19/lib/libLLVM.dylib",
)
NO_LLVM = (
    "LLVM 19 was not found, so pictures are made by the slower `scalar_rgb`. "
    "Install libllvm19, or name the library in DRJIT_LIBLLVM_PATH."
)


def find_llvm() -> str | None:
    """Returns the path of an LLVM library for Dr.Jit, or None."""
    named = os.environ.get("DRJIT_LIBLLVM_PATH")
    places = (named, *LLVM_PLACES) if named else LLVM_PLACES
    return next((place for place in places if Path(place).exists()), None)


def default_variant() -> str:
    """Returns the fastest Mitsuba variant that runs here."""
    return "llvm_ad_rgb" if find_llvm() else "scalar_rgb"


@lru_cache(maxsize=1)
def mitsuba(variant: str | None = None, threads: int = 1) -> Any:  # noqa: ANN401
    """Returns the mitsuba module, set up once for this process.

    Args:
        variant: `llvm_ad_rgb` or `scalar_rgb`; by default the fastest that runs here.
        threads: Of Dr.Jit; several processes of one thread beat one process of several.

    Raises:
        ImportError: If mitsuba is not installed.
    """
    variant = variant or default_variant()
    library = find_llvm()
    if library:
        os.environ["DRJIT_LIBLLVM_PATH"] = library
    try:
        import mitsuba as mi
    except ImportError as error:
        raise ImportError(
            "Rendering needs Mitsuba. Install the extra: pip install duet-studio[catalogue]"
        ) from error
    mi.set_variant(variant)
    mi.set_log_level(mi.LogLevel.Error)
    if variant.startswith("llvm"):
        import drjit as dr

        dr.set_thread_count(threads)
    return mi


def flat(values: NDArray[np.generic], dtype: type = np.float32) -> NDArray[np.generic]:
    """Returns values as the flat, contiguous array a Mitsuba buffer takes."""
    return np.ascontiguousarray(np.asarray(values).reshape(-1), dtype)


def look_at(origin: Sequence[float] | NDArray[np.float64], axes: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Returns Mitsuba's transform of a camera at `origin` with rows right, up, backward."""
    mi = mitsuba()
    right, up, backward = axes
    # Mitsuba's camera looks along its +z, its x to the left.
    columns = np.stack([-right, up, -backward, np.asarray(origin)], 1)
    return mi.ScalarTransform4f(np.concatenate([columns, [[0, 0, 0, 1]]]).tolist())
