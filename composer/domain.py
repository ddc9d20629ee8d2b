"""Domains learned from pictures: what makes them differ from neutral photographs, in one file."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from composer.added_words import MAX_NAME_LENGTH, AddedWord, check_name
from composer.composed import MAX_PSEUDO_TOKENS
from composer.errors import InputError
from composer.weights import (
    WeightsError,
    check_safetensors_header,
    read_safetensors,
    write_safetensors,
)

SCHEMA: Final = "duet-domain/1"
THUMBNAIL_PX: Final = 96
MAX_EXAMPLES: Final = 200
MAX_FILE_BYTES: Final = 4 << 20
_MAX_WIDTH = 8192
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Domain:
    """A domain that example pictures show.

    Attributes:
        name: What commands and texts call it; a text has it in angle brackets.
        difference: T = P - S in the joint space: examples less neutral photographs, less what
            photographs differ in among themselves.
        tokens: Pseudo-word tokens found by inversion; None where the kit's converter makes them.
        thumbnail: A small picture of the examples, RGB.
        examples: SHA-256 of the files of the examples.
        kit: Kit that it was learned with.
        text_hash: Text tower of that kit, whose token space the tokens live in.
        gallery_hash: Vision tower of that kit.
        sha256: Hash of the file that it was read from; empty without one.
    """

    name: str
    difference: Float[Tensor, " d"]
    tokens: Float[Tensor, "n w"] | None
    thumbnail: UInt8[np.ndarray, "s s 3"]
    examples: tuple[str, ...]
    kit: str
    text_hash: str
    gallery_hash: str
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
            InputError: A text cannot hold it.
        """
        check_name(self.name)

    def word(self, tokens: Float[Tensor, "n w"]) -> AddedWord:
        """Return the word that a text names the domain with."""
        return AddedWord(
            name=self.name,
            vectors=tokens.detach().float().cpu(),
            kit=self.kit,
            text_hash=self.text_hash,
            sha256=self.sha256,
        )


def check_domain_space(domain: Domain, *, kit: str, text_hash: str, gallery_hash: str) -> None:
    """Check that a domain lives in the joint space of a kit.

    Raises:
        InputError: It lives in another; the message names both kits.
    """
    if (domain.text_hash, domain.gallery_hash) != (text_hash, gallery_hash):
        raise InputError(
            f"The domain {domain.name!r} was learned with the kit {domain.kit!r} (text tower "
            f"{domain.text_hash}); the kit {kit!r} has another space (text tower {text_hash}). "
            f"Choose the kit {domain.kit!r}, or learn the domain again with this one."
        )


def write_domain(path: Path, domain: Domain) -> None:
    """Write a domain to one `.safetensors`; the file appears whole or not at all.

    Raises:
        OSError: The folder is missing or full.
    """
    tensors = {
        "difference": domain.difference.float(),
        "thumbnail": torch.from_numpy(domain.thumbnail.copy()),
    }
    if domain.tokens is not None:
        tensors["tokens"] = domain.tokens.float()
    metadata = {
        "schema": SCHEMA,
        "name": domain.name,
        "kit": domain.kit,
        "text_hash": domain.text_hash,
        "gallery_hash": domain.gallery_hash,
        "examples": json.dumps(list(domain.examples)),
    }
    write_safetensors(path, tensors, metadata)


def read_domain(path: Path, name: str | None = None) -> Domain:
    """Read what `write_domain` wrote; everything in the file is untrusted.

    Args:
        path: A `.safetensors` file.
        name: What to call the domain; None for the name in the file.

    Raises:
        WeightsError: The file is damaged, too large, or holds something else.
        InputError: The name has characters that a text cannot hold.
    """
    header = check_safetensors_header(path)
    if header.get("__metadata__", {}).get("schema") != SCHEMA:
        raise WeightsError(
            f"{path.name} is no domain; make one with: duet domains add NAME PICTURES."
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise WeightsError(
            f"{path.name} is no domain: it is larger than {MAX_FILE_BYTES >> 20} MiB."
        )
    weights = read_safetensors(path)
    try:
        return _domain_of(weights.tensors, weights.metadata, path, name)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise WeightsError(f"{path.name} is a damaged domain; learn or export it again.") from error


def _domain_of(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path, name: str | None
) -> Domain:
    """Make a domain of the contents of a file.

    Raises:
        KeyError: Something is missing.
        ValueError: Something is of another shape or kind.
    """
    difference, thumbnail, tokens = (
        tensors["difference"],
        tensors["thumbnail"],
        tensors.get("tokens"),
    )
    is_sound = (
        tensors.keys() <= {"difference", "thumbnail", "tokens"}
        and difference.ndim == 1
        and 0 < len(difference) <= _MAX_WIDTH
        and difference.is_floating_point()
        and tuple(thumbnail.shape) == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
        and thumbnail.dtype is torch.uint8
        and (tokens is None or _are_tokens(tokens))
    )
    if not is_sound:
        raise ValueError("A tensor has another shape.")
    return Domain(
        name=metadata["name"] if name is None else name,
        difference=difference.float(),
        tokens=None if tokens is None else tokens.float(),
        thumbnail=thumbnail.numpy(),
        examples=_hashes(json.loads(metadata["examples"])),
        kit=metadata["kit"][:MAX_NAME_LENGTH],
        text_hash=metadata["text_hash"][:MAX_NAME_LENGTH],
        gallery_hash=metadata["gallery_hash"][:MAX_NAME_LENGTH],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _are_tokens(tokens: Tensor) -> bool:
    return (
        tokens.ndim == 2
        and tokens.is_floating_point()
        and 0 < len(tokens) <= MAX_PSEUDO_TOKENS
        and 0 < tokens.shape[1] <= _MAX_WIDTH
    )


def _hashes(values: Any) -> tuple[str, ...]:  # noqa: ANN401  any JSON value
    if not isinstance(values, list) or not 0 < len(values) <= MAX_EXAMPLES:
        raise ValueError("The hashes of the examples are no list of them.")
    if not all(isinstance(value, str) and _HASH.fullmatch(value) for value in values):
        raise ValueError("A hash of an example is damaged.")
    return tuple(values)
