"""What other programs make of a textual inversion file: decision tables, not their code.

The tables follow what is known of each loader: what it accepts, what it calls the token, and what
it trips over. Each takes the tensors of a file and the stem of its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A token as a program has it: its name, and the vectors of each encoder it fills."""

    name: str
    vectors: Mapping[str, Tensor]
    base: int | None = None


class RefusedError(Exception):
    """The program does not load the file."""


def diffusers(tensors: Tensors, *, token: str | None = None) -> Loaded:
    """A file with one key; the key is the token unless one is given."""
    if len(tensors) != 1:
        raise RefusedError("one key")
    ((key, vectors),) = tensors.items()
    return Loaded(name=token or key, vectors={"l": vectors})


def diffusers_by_encoder(tensors: Tensors, *, token: str) -> Loaded:
    """A file for two encoders, whose tensors the caller passes one by one."""
    vectors = {
        encoder: diffusers({"one": tensors[f"clip_{encoder}"]}, token=token).vectors["l"]
        for encoder in "lg"
    }
    return Loaded(name=token, vectors=vectors)


def a1111(tensors: Tensors, stem: str) -> Loaded:
    """`clip_g` and `clip_l`, or exactly one tensor of any key; another one fails an assertion."""
    if {"clip_l", "clip_g"} <= tensors.keys():
        return Loaded(name=stem, vectors={"l": tensors["clip_l"], "g": tensors["clip_g"]})
    if len(tensors) != 1:
        raise RefusedError("one tensor")
    return Loaded(name=stem, vectors={"l": next(iter(tensors.values()))})


def comfyui(tensors: Tensors, stem: str, widths: Mapping[str, int]) -> Loaded:
    """Each encoder takes its own tensor, else the first; a wrong width is skipped."""
    first = next(iter(tensors.values()))
    chosen = {encoder: tensors.get(f"clip_{encoder}", first) for encoder in widths}
    fitting = {e: rows for e, rows in chosen.items() if rows.shape[-1] == widths[e]}
    return Loaded(name=f"embedding:{stem}", vectors=fitting)


def invokeai(tensors: Tensors, stem: str) -> Loaded:
    """Fewer than ten tensors; the base is the width, which a one-key file states at `shape[0]`."""
    if len(tensors) >= 10:
        raise RefusedError("tensors")
    if {"clip_l", "clip_g"} <= tensors.keys():
        both = {"l": tensors["clip_l"], "g": tensors["clip_g"]}
        return Loaded(name=stem, vectors=both, base=tensors["clip_g"].shape[-1])
    if "emb_params" in tensors:
        rows = tensors["emb_params"]
        return Loaded(name=stem, vectors={"l": rows}, base=rows.shape[-1])
    rows = next(iter(tensors.values()))
    return Loaded(name=stem, vectors={"l": rows}, base=rows.shape[0])
